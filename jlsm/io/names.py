"""Other names for what a tower's file holds: ALMA's own, CABLE's, Urban-PLUMBER's, and vegetation classes in words.

The first name of each row is the one that PLUMBER2 uses.
"""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {
    "Tair": ("Tair",),
    "Qair": ("Qair",),
    "Psurf": ("Psurf", "PSurf"),
    "SWdown": ("SWdown",),
    "LWdown": ("LWdown",),
    "Wind": ("Wind",),
    "Precip": ("Precip",),
    "CO2air": ("CO2air", "CO2"),
    "RH": ("RH",),
    "VPD": ("VPD",),
    "LAI": ("LAI",),
    "LAI_alternative": ("LAI_alternative",),
    "latitude": ("latitude", "nav_lat", "lat"),
    "longitude": ("longitude", "nav_lon", "lon"),
    "elevation": ("elevation", "altitude", "ground_height"),
    "reference_height": ("reference_height", "za", "measurement_height_above_ground", "measurement_height"),
    "canopy_height": ("canopy_height", "hc"),
}

SHARE_KIND = "share measured"
"""the attribute ``flag_kind`` of flags that are shares of an interval, 1 being the best"""

IGBP_BY_NUMBER = (
    "WAT", "ENF", "EBF", "DNF", "DBF", "MF", "CSH", "OSH", "WSA", "SAV", "GRA", "WET", "CRO", "URB", "CNM", "SNO",
    "BSV", "WAT",
)  # fmt: skip
"""The classes 0 to 17 of MODIS MCD12 and of USGS's IGBP-DIS (where water is 0, or 17)."""

_ALIASES = {"CVM": "CNM", "BAR": "BSV", "DES": "BSV", "ICE": "SNO", "BRL": "BSV", "CROPS": "CRO"}
_IGBP_WORDS = {
    "evergreen needleleaf": "ENF", "evergreen broadleaf": "EBF", "deciduous needleleaf": "DNF",
    "deciduous broadleaf": "DBF", "mixed forest": "MF", "closed shrub": "CSH", "open shrub": "OSH",
    "woody savanna": "WSA", "savanna": "SAV", "grassland": "GRA", "wetland": "WET",
    "natural vegetation mosaic": "CNM", "mosaic": "CNM", "cropland": "CRO", "crop": "CRO", "urban": "URB",
    "built-up": "URB", "snow": "SNO", "barren": "BSV", "water": "WAT",
}  # fmt: skip


def igbp_class(text: str) -> str:
    """The short form of an IGBP class written as number (``12``), name (``Croplands``) or short form in any case.

    What is none of these comes back in capitals, for ``default_parameters`` to refuse.

    Example:
        >>> igbp_class("12"), igbp_class("Croplands"), igbp_class("cro")
        ('CRO', 'CRO', 'CRO')
    """
    word = text.strip()
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if number.is_integer() and 0 <= number < len(IGBP_BY_NUMBER):
        return IGBP_BY_NUMBER[int(number)]
    for phrase, code in _IGBP_WORDS.items():
        if phrase in word.lower().replace("_", " "):
            return code
    return _ALIASES.get(word.upper(), word.upper())
