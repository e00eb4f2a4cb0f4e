"""The clocks of the 170 sites of PLUMBER2, for files that do not say theirs.

Hours of local standard time ahead of UTC, from the table of sites that CTSM runs PLUMBER2 with; Australia's are its
states' legal standard times, because that table has whole hours and daylight saving there. The whole hours nearest to
longitude / 15 differ at many of them.
"""

from __future__ import annotations

import functools

_SITES_BY_OFFSET = {
    -9: "US-Prr",
    -8: "US-Blo US-Me2 US-Me4 US-Me6 US-Myb US-Ton US-Tw4 US-Twt US-Var",
    -7: "US-Aud US-Cop US-FPe US-GLE US-NR1 US-SRG US-SRM US-Whs US-Wkg",
    -6: (
        "CA-NS1 CA-NS2 CA-NS4 CA-NS5 CA-NS6 CA-NS7 CA-SF1 CA-SF2 CA-SF3 US-AR1 US-AR2 US-ARM US-Bkg US-Bo1 "
        "US-Goo US-Los US-MOz US-Ne1 US-Ne2 US-Ne3 US-PFa US-Syv US-WCr"
    ),
    -5: "CA-Qcu CA-Qfo US-Bar US-Ha1 US-Ho1 US-KS2 US-MMS US-SP1 US-SP2 US-SP3 US-UMB",
    -4: "BR-Sa3",
    -3: "AR-SLu GF-Guy",
    0: "DK-ZaH IE-Ca1 IE-Dri PT-Esp PT-Mi1 PT-Mi2 UK-Gri UK-Ham UK-PL3",
    1: (
        "AT-Neu BE-Bra BE-Lon BE-Vie CH-Cha CH-Dav CH-Fru CH-Oe1 CZ-wet DE-Bay DE-Geb DE-Gri DE-Hai DE-Kli "
        "DE-Meh DE-Obe DE-Seh DE-SfN DE-Tha DE-Wet DK-Fou DK-Lva DK-Ris DK-Sor ES-ES1 ES-ES2 ES-LMa ES-LgS "
        "ES-VDA FR-Fon FR-Gri FR-Hes FR-LBr FR-Lq1 FR-Lq2 FR-Pue HU-Bug IT-Amp IT-BCi IT-CA1 IT-CA2 IT-CA3 "
        "IT-Col IT-Cpz IT-Isp IT-LMa IT-Lav IT-MBo IT-Mal IT-Noe IT-Non IT-PT1 IT-Ren IT-Ro1 IT-Ro2 IT-SR2 "
        "IT-SRo NL-Ca1 NL-Hor NL-Loo PL-wet SE-Deg"
    ),
    2: "BW-Ma1 FI-Hyy FI-Kaa FI-Lom FI-Sod ZA-Kru ZM-Mon",
    3: "RU-Fyo SD-Dem",
    7: "ID-Pag RU-Zot",
    8: "AU-GWW AU-Gin CN-Cha CN-Cng CN-Dan CN-Din CN-Du2 CN-HaM CN-Qia",
    9: "JP-SMF",
    9.5: "AU-ASM AU-Cpr AU-DaP AU-DaS AU-Dry AU-How AU-Lit AU-Stp AU-TTE",
    10: "AU-Cow AU-Ctr AU-Cum AU-Emr AU-Otw AU-Rig AU-Rob AU-Sam AU-Tum AU-Whr AU-Wrr AU-Ync",
    11: "RU-Che",
}


@functools.cache
def _offsets() -> dict[str, float]:
    return {code: float(offset) for offset, codes in _SITES_BY_OFFSET.items() for code in codes.split()}


def plumber2_utc_offset(code: str) -> float | None:
    """Local standard time minus UTC, hours, of a PLUMBER2 site; None for any other code."""
    return _offsets().get(code)
