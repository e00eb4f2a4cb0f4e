"""Physical constants shared by every process (SI units).

Values follow CODATA/WMO usage; the latent heats are constants, as in MATSIRO6,
so that energy budgets close to round-off.
"""

STEFAN_BOLTZMANN = 5.670374e-8  # W m-2 K-4
VON_KARMAN = 0.4  # -
GRAVITY = 9.80665  # m s-2
GAS_CONSTANT = 8.314463  # J mol-1 K-1
GAS_CONSTANT_DRY_AIR = 287.04  # J kg-1 K-1
GAS_CONSTANT_VAPOUR = 461.5  # J kg-1 K-1
VAPOUR_TO_AIR_MASS = 0.62198  # -, molar mass of water over that of dry air
HEAT_CAPACITY_AIR = 1004.6  # J kg-1 K-1 at constant pressure
HEAT_CAPACITY_WATER = 4188.0  # J kg-1 K-1
HEAT_CAPACITY_ICE = 2106.0  # J kg-1 K-1
LATENT_HEAT_VAPORISATION = 2.501e6  # J kg-1
LATENT_HEAT_FUSION = 3.337e5  # J kg-1
LATENT_HEAT_SUBLIMATION = LATENT_HEAT_VAPORISATION + LATENT_HEAT_FUSION  # J kg-1
WATER_DENSITY = 1000.0  # kg m-3
FREEZING_POINT = 273.15  # K
DAY = 86400  # s
SOLAR_CONSTANT = 1361.0  # W m-2, Kopp & Lean (2011)
REFERENCE_POTENTIAL_TEMPERATURE = 300.0  # K, in the Obukhov length (MATSIRO6, ch. Turbulence)

SOIL_LAYER_THICKNESS = (0.05, 0.2, 0.75, 1.0, 2.0, 10.0)  # m (MATSIRO6 default)
SNOW_LAYERS = 3
SURFACE_PORTIONS = 2  # 0: snow-free, 1: snow-covered
