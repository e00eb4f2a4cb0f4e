"""The columns of the networks' half-hourly and hourly tables, all of them, in the order in which they are published.

FULLSET: FLUXNET2015 of IT-Ro2 (227 columns), which AmeriFlux, ICOS and the FLUXMET tables of 2025 follow; SUBSET: the
same without the parts from which ``_F`` is made and without most percentiles. Names: Pastorello et al. (2020) and
github.com/fluxnet/ONEFlux (oneflux/metadata/var_info_definitions_hh.txt). AmeriFlux BASE: the standard's names without
gap-filling; ICOS's own METEO and FLUXES tables likewise.
"""

from __future__ import annotations

PERCENTILES = ("05", "16", "25", "50", "75", "84", "95")
STAMPS = ["TIMESTAMP_START", "TIMESTAMP_END"]
DEPTHS = 3
"""of soil temperature; soil moisture has one"""


def _filled(name: str) -> list[str]:
    return [f"{name}_F_MDS", f"{name}_F_MDS_QC", f"{name}_ERA", f"{name}_F", f"{name}_F_QC"]


def _measured(name: str) -> list[str]:
    return [name, f"{name}_ERA", f"{name}_F", f"{name}_F_QC"]


def _soil() -> list[str]:
    names = [f"TS_F_MDS_{depth + 1}" for depth in range(DEPTHS)]
    return [*names, *(f"{name}_QC" for name in names), "SWC_F_MDS_1", "SWC_F_MDS_1_QC"]


def _energy(name: str, joint: bool) -> list[str]:
    spread = [f"{name}_RANDUNC", f"{name}_RANDUNC_METHOD", f"{name}_RANDUNC_N", f"{name}_CORR_JOINTUNC"]
    return [
        f"{name}_F_MDS", f"{name}_F_MDS_QC", f"{name}_CORR", f"{name}_CORR_25", f"{name}_CORR_75",
        *(spread if joint else spread[:1]),
    ]  # fmt: skip


def _carbon() -> list[str]:
    names = []
    for kind in ("REF", "USTAR50"):
        for end in ("", "_QC", "_RANDUNC", "_RANDUNC_METHOD", "_RANDUNC_N", "_JOINTUNC"):
            names += [f"NEE_{threshold}_{kind}{end}" for threshold in ("CUT", "VUT")]
    names += [f"NEE_{threshold}_MEAN{end}" for end in ("", "_QC") for threshold in ("CUT", "VUT")]
    names += ["NEE_CUT_SE", "NEE_VUT_SE"]
    names += [f"NEE_{t}_{p}{end}" for end in ("", "_QC") for t in ("CUT", "VUT") for p in PERCENTILES]
    kinds = ("REF", "USTAR50", "MEAN", "SE", *PERCENTILES)
    for method in ("NT", "DT"):
        for flux in ("RECO", "GPP"):
            names += [f"{flux}_{method}_{threshold}_{kind}" for threshold in ("VUT", "CUT") for kind in kinds]
    return [*names, "RECO_SR", "RECO_SR_N"]


FULLSET = [
    *STAMPS, *_filled("TA"), "SW_IN_POT", *_filled("SW_IN"), *_filled("LW_IN"),
    "LW_IN_JSB", "LW_IN_JSB_QC", "LW_IN_JSB_ERA", "LW_IN_JSB_F", "LW_IN_JSB_F_QC",
    *_filled("VPD"), *_measured("PA"), *_measured("P"), *_measured("WS"),
    "WD", "USTAR", "RH", "NETRAD", "PPFD_IN", "SW_OUT", "CO2_F_MDS", "CO2_F_MDS_QC", *_soil(),
    "G_F_MDS", "G_F_MDS_QC", *_energy("LE", joint=True), *_energy("H", joint=True), "EBC_CF_N", "EBC_CF_METHOD",
    "NIGHT", *_carbon(),
]  # fmt: skip
SUBSET = [
    *STAMPS, "TA_F", "TA_F_QC", "SW_IN_POT", "SW_IN_F", "SW_IN_F_QC", "LW_IN_F", "LW_IN_F_QC", "VPD_F", "VPD_F_QC",
    "PA_F", "PA_F_QC", "P_F", "P_F_QC", "WS_F", "WS_F_QC", "USTAR", "NETRAD", "PPFD_IN", "SW_OUT",
    "CO2_F_MDS", "CO2_F_MDS_QC", *_soil(), "G_F_MDS", "G_F_MDS_QC", *_energy("LE", joint=False),
    *_energy("H", joint=False), "NEE_VUT_REF", "NEE_VUT_REF_QC", "NEE_VUT_REF_RANDUNC",
    *(f"NEE_VUT_{p}{end}" for end in ("", "_QC") for p in ("25", "50", "75")),
    *(f"{flux}_{m}_VUT_{k}" for m in ("NT", "DT") for flux in ("RECO", "GPP") for k in ("REF", "25", "50", "75")),
]  # fmt: skip
AMERIFLUX_BASE = [
    *STAMPS, "CO2_1_1_1", "H2O_1_1_1", "FC", "SC", "G_1_1_1", "H", "LE", "SH", "SLE", "WD", "WS", "USTAR", "ZL", "PA",
    "RH", "TA", "VPD_PI", "SWC_1_1_1", "TS_1_1_1", "WTD", "NETRAD", "PPFD_IN", "PPFD_OUT", "SW_IN", "SW_OUT", "LW_IN",
    "LW_OUT", "P", "NEE_PI_F", "RECO_PI_F", "GPP_PI_F",
]  # fmt: skip
ICOS_FLUXES = [
    *STAMPS, "FC", "FC_SSITC_TEST", "SC_SINGLE", "NEE", "NEE_F", "H", "H_SSITC_TEST", "SH_SINGLE", "LE",
    "LE_SSITC_TEST", "SLE_SINGLE", "USTAR", "WS", "WD", "ZL", "MO_LENGTH", "FETCH_MAX", "FETCH_70", "FETCH_80",
    "FETCH_90",
]  # fmt: skip
ICOS_METEO = [
    *STAMPS, "TA", "RH", "PA", "VPD", "P", "SW_IN", "SW_OUT", "LW_IN", "LW_OUT", "NETRAD", "PPFD_IN", "PPFD_DIF",
    "G_1", "G_2", "TS_1", "TS_2", "SWC_1", "SWC_2", "WTD",
]  # fmt: skip
