"""Default values by land class: what grows (IGBP) and what it stands on (USDA texture).

Plain numbers and where they come from, nothing else: ``jlsm.parameters`` gives units, bounds and
meaning and reads these dictionaries. A class lists what is known of it; a parameter it does not
list has the default of the parameter table.

How the biomes of the sources were given to IGBP classes:

* SiB2 (Sellers et al. 1996, part II) has nine biomes: broadleaf evergreen (1), broadleaf deciduous
  (2), mixed (3), needleleaf evergreen (4), needleleaf deciduous (5), short C4 grass (6), shrubs with
  bare soil (7), tundra (8), agriculture (9). Forests, shrubs and crops map one to one.
* SiB2 has no C3 grassland, which is what most temperate towers stand on. Its leaves are those of
  SiB2's short vegetation, its temperature limits those of agriculture (as CoLM 202X does for IGBP
  grassland), its Rubisco capacity the mean of measured C3 herbs (Kattge et al. 2009).
* A savanna is trees (C3) over grass (C4, SiB2 biome 6); the C4 share is what trees leave free in
  the middle of the IGBP definition (woody savanna 30-60 % trees, savanna 10-30 %).
* Roots: the biome of Jackson et al. (1996) named beside each value.
* SiB2's vegetation cover of shrubland (0.1) together with the grid-mean LAI of a tower file would
  put all leaves on a tenth of the ground, so cover follows the IGBP definition of the class.
"""

from __future__ import annotations


def _class(
    vcmax25: float,
    heat: float,
    cold: float,
    optics: tuple[float, float, float, float],
    height: float,
    root_depth: float,
    *,
    cover: float = 1.0,
    c4: float = 0.0,
    potential: float = -200.0,
) -> dict[str, float]:
    """One row of the class table; what SiB2 holds equal for every C3 biome is filled in."""
    reflectance_vis, reflectance_nir, transmittance_vis, transmittance_nir = optics
    return {
        "vcmax25": vcmax25,
        "ball_berry_slope": 9.0,
        "ball_berry_intercept": 0.01,
        "quantum_efficiency": 0.08,
        "dark_respiration_fraction": 0.015,
        "high_temperature_limit": heat,
        "low_temperature_limit": cold,
        "c4_fraction": c4,
        "vcmax25_c4": 30.0,
        "ball_berry_slope_c4": 4.0,
        "ball_berry_intercept_c4": 0.04,
        "quantum_efficiency_c4": 0.05,
        "dark_respiration_fraction_c4": 0.025,
        "high_temperature_limit_c4": 313.0,
        "low_temperature_limit_c4": 288.0,
        "leaf_reflectance_vis": reflectance_vis,
        "leaf_reflectance_nir": reflectance_nir,
        "leaf_transmittance_vis": transmittance_vis,
        "leaf_transmittance_nir": transmittance_nir,
        "canopy_height": height,
        "vegetation_cover": cover,
        "root_depth_scale": root_depth,
        "critical_water_potential": potential,
    }


# Live leaves: reflectance visible, near infrared; transmittance visible, near infrared (SiB2 II).
_BROADLEAF = (0.100, 0.450, 0.050, 0.250)
_MIXED_LEAVES = (0.070, 0.400, 0.050, 0.150)
_NEEDLELEAF = (0.070, 0.350, 0.050, 0.100)
_HERB = (0.105, 0.580, 0.070, 0.250)
_HALF_HERB = (0.1025, 0.515, 0.060, 0.250)  # mean of broadleaf and herb, for woody savanna

# Depth above which 1 - 1/e of the roots are: -1 cm / ln(beta), beta by biome (Jackson et al. 1996).
_ROOTS_BOREAL_FOREST = 0.170  # beta 0.943
_ROOTS_CONIFEROUS_FOREST = 0.412  # beta 0.976, temperate
_ROOTS_DECIDUOUS_FOREST = 0.289  # beta 0.966, temperate
_ROOTS_MIXED_FOREST = 0.340  # beta 0.971, the middle of the two above
_ROOTS_TROPICAL_FOREST = 0.258  # beta 0.962, evergreen
_ROOTS_SHRUBS = 0.273  # beta 0.964, sclerophyllous
_ROOTS_DESERT = 0.395  # beta 0.975
_ROOTS_SAVANNA = 0.352  # beta 0.972
_ROOTS_GRASS = 0.170  # beta 0.943, temperate
_ROOTS_TUNDRA = 0.111  # beta 0.914
_ROOTS_CROPS = 0.251  # beta 0.961

_CROPLAND = _class(100.0, 308.0, 281.0, _HERB, 1.0, _ROOTS_CROPS)
_MOSAIC = _class(89.0, 308.0, 281.0, _HERB, 1.0, _ROOTS_CROPS)

IGBP_CLASSES: dict[str, dict[str, float]] = {
    "ENF": _class(60.0, 303.0, 278.0, _NEEDLELEAF, 17.0, _ROOTS_CONIFEROUS_FOREST),
    "EBF": _class(100.0, 313.0, 288.0, _BROADLEAF, 35.0, _ROOTS_TROPICAL_FOREST),
    "DNF": _class(100.0, 303.0, 278.0, _NEEDLELEAF, 17.0, _ROOTS_BOREAL_FOREST),
    "DBF": _class(100.0, 311.0, 283.0, _BROADLEAF, 20.0, _ROOTS_DECIDUOUS_FOREST),
    "MF": _class(80.0, 307.0, 281.0, _MIXED_LEAVES, 20.0, _ROOTS_MIXED_FOREST),
    "CSH": _class(60.0, 313.0, 283.0, _BROADLEAF, 0.5, _ROOTS_SHRUBS, cover=0.8, potential=-300.0),
    "OSH": _class(60.0, 313.0, 283.0, _BROADLEAF, 0.5, _ROOTS_DESERT, cover=0.35, potential=-300.0),
    "WSA": _class(60.0, 313.0, 288.0, _HALF_HERB, 5.0, _ROOTS_SAVANNA, c4=0.55),
    "SAV": _class(60.0, 313.0, 288.0, _HERB, 1.0, _ROOTS_SAVANNA, c4=0.8),
    "GRA": _class(78.0, 308.0, 281.0, _HERB, 0.5, _ROOTS_GRASS),
    "WET": _class(78.0, 308.0, 281.0, _HERB, 1.0, _ROOTS_TUNDRA),
    "CRO": _CROPLAND,
    "URB": _class(78.0, 308.0, 281.0, _HERB, 0.5, _ROOTS_GRASS, cover=0.3),
    "CNM": _MOSAIC,
    "SNO": _class(60.0, 303.0, 278.0, _HERB, 0.1, _ROOTS_TUNDRA, cover=0.05),
    "BSV": _class(60.0, 313.0, 283.0, _BROADLEAF, 0.5, _ROOTS_DESERT, cover=0.1, potential=-300.0),
    "WAT": _class(78.0, 308.0, 281.0, _HERB, 0.5, _ROOTS_GRASS, cover=0.05),
    # Names beside the seventeen: another short name of the mosaic, and cropland whose plants are known.
    "CVM": _MOSAIC,
    "CRO_C4": {**_CROPLAND, "c4_fraction": 1.0},
    "CRO_MIXED": {**_CROPLAND, "c4_fraction": 0.5},
}
"""Vegetation values by IGBP short name: ``{class: {field of Vegetation: value}}``.

ENF, EBF, DNF, DBF, MF: needleleaf and broadleaf, evergreen, deciduous and mixed forest. CSH, OSH:
closed and open shrubland. WSA, SAV: woody savanna, savanna. GRA: grassland. WET: wetland.
CRO: C3 cropland. URB: the vegetation of built-up land. CNM (also CVM): cropland and natural
vegetation. SNO, BSV, WAT: the sparse plants of ice, barren land and shores. CRO_C4: maize and its
like. CRO_MIXED: a rotation of C3 and C4 crops, half of each.
"""

_SIB2 = "Sellers et al. (1996) SiB2 part II, by biome"
_SIB2_C4 = "Sellers et al. (1996) SiB2 part II, C4 grass"

IGBP_SOURCES: dict[str, str] = {
    "vcmax25": f"{_SIB2}; C3 grass, wetland 78: Kattge et al. (2009) herbs; CNM: mean of crop and grass",
    "ball_berry_slope": _SIB2,
    "ball_berry_intercept": _SIB2,
    "quantum_efficiency": _SIB2,
    "dark_respiration_fraction": _SIB2,
    "high_temperature_limit": f"{_SIB2}; C3 grass and wetland as agriculture, savanna as broadleaf evergreen",
    "low_temperature_limit": f"{_SIB2}; C3 grass and wetland as agriculture, savanna as broadleaf evergreen",
    "c4_fraction": "0 except savanna: share without trees in the IGBP definition, assumed C4 grass; CRO_*: by name",
    "vcmax25_c4": _SIB2_C4,
    "ball_berry_slope_c4": _SIB2_C4,
    "ball_berry_intercept_c4": _SIB2_C4,
    "quantum_efficiency_c4": _SIB2_C4,
    "dark_respiration_fraction_c4": _SIB2_C4,
    "high_temperature_limit_c4": _SIB2_C4,
    "low_temperature_limit_c4": _SIB2_C4,
    "leaf_reflectance_vis": f"{_SIB2}, live leaves; woody savanna: mean of broadleaf and grass",
    "leaf_reflectance_nir": f"{_SIB2}, live leaves; woody savanna: mean of broadleaf and grass",
    "leaf_transmittance_vis": f"{_SIB2}, live leaves; woody savanna: mean of broadleaf and grass",
    "leaf_transmittance_nir": f"{_SIB2}, live leaves; woody savanna: mean of broadleaf and grass",
    "canopy_height": f"{_SIB2}; assumed: C3 grass and its like 0.5 m, woody savanna 5 m, plants on ice 0.1 m",
    "vegetation_cover": "1, SiB2; shrubland: middle of the IGBP definition; URB, SNO, BSV, WAT: assumed sparse",
    "root_depth_scale": "Jackson et al. (1996): beta by biome, depth = -1 cm / ln(beta)",
    "critical_water_potential": _SIB2,
}
"""Source of the class values: ``{field of Vegetation: text}``."""


def _texture(
    porosity: float, conductivity: float, potential: float, b: float, heat_capacity: float, heat_conductivity: float
) -> dict[str, float]:
    """One row of the texture table."""
    return {
        "porosity": porosity,
        "saturated_conductivity": conductivity,
        "saturated_potential": potential,
        "clapp_hornberger_b": b,
        "heat_capacity": heat_capacity,
        "heat_conductivity": heat_conductivity,
    }


SOIL_CLASSES: dict[str, dict[str, float]] = {
    "sand": _texture(0.395, 1.76e-4, -0.121, 4.05, 1.210e6, 0.247),
    "loamy sand": _texture(0.410, 1.563e-4, -0.090, 4.38, 1.180e6, 0.235),
    "sandy loam": _texture(0.435, 3.467e-5, -0.218, 4.90, 1.130e6, 0.216),
    "silt loam": _texture(0.485, 7.20e-6, -0.786, 5.30, 1.030e6, 0.182),
    # Clapp and Hornberger had no silt: Cosby et al. (1984) regressions at 7 % sand and 6 % clay.
    "silt": _texture(0.480, 1.18e-6, -0.614, 3.86, 1.040e6, 0.186),
    "loam": _texture(0.451, 6.95e-6, -0.478, 5.39, 1.098e6, 0.204),
    "sandy clay loam": _texture(0.420, 6.30e-6, -0.299, 7.12, 1.160e6, 0.227),
    "silty clay loam": _texture(0.477, 1.70e-6, -0.356, 7.75, 1.046e6, 0.187),
    "clay loam": _texture(0.476, 2.45e-6, -0.630, 8.52, 1.048e6, 0.188),
    "sandy clay": _texture(0.426, 2.167e-6, -0.153, 10.4, 1.148e6, 0.222),
    "silty clay": _texture(0.492, 1.033e-6, -0.490, 10.4, 1.016e6, 0.178),
    "clay": _texture(0.482, 1.283e-6, -0.405, 11.4, 1.036e6, 0.184),
}
"""Soil values by USDA texture: ``{texture: {field of Soil: value}}``.

Heat conductivity is that of the dry soil: with MATSIRO's moisture law, 1 + 6 tanh(w / 0.25) times
it, the saturated textures lie between 1.2 and 1.6 W m-1 K-1.
"""

_HYDRAULIC = "Clapp & Hornberger (1978) table 2; silt: Cosby et al. (1984) regression at 7 % sand, 6 % clay"

SOIL_SOURCES: dict[str, str] = {
    "porosity": _HYDRAULIC,
    "saturated_conductivity": _HYDRAULIC,
    "saturated_potential": _HYDRAULIC,
    "clapp_hornberger_b": _HYDRAULIC,
    "heat_capacity": "de Vries (1963): mineral 2.0e6 J m-3 K-1 times (1 - porosity)",
    "heat_conductivity": "Johansen (1975): dry soil of bulk density 2700 kg m-3 times (1 - porosity)",
}
"""Source of the texture values: ``{field of Soil: text}``."""
