"""Which steps of an observed flux were measured: what a file's quality flags say, in the words of who wrote them.

Three kinds are in use. Codes, of which PLUMBER2's 0 is "measured" and OzFlux's 0 and 10 are; codes with their meaning
beside them (``flag_meanings``, ``QC_flag_descriptions``); and in the daily files of FLUXNET the share of the day that
was measured or filled well, of which 1 is the best (``flag_kind = "share measured"`` says so beyond doubt).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jlsm.errors import InputError
from jlsm.io.names import SHARE_KIND

LOWEST_SHARE = 0.75
"""of a day that must be measured or filled well for its mean to count, where flags are shares: assumed"""


_DENIAL = re.compile(r"\b(?:not|no|non|un|never)[\s_-]*(?:measured|observ|original|good|ok)")
_DOUBT = re.compile(
    r"gap|fill|missing|bad|poor|suspect|doubt|question|reject|remov|invalid|fail|error|spike|outlier|out_of|out of|"
    r"interpol|model|estimat|simulat|reanalys|replac|synthe|low[\s_-]*qual"
)
"""in a meaning that says measured too: ``bad_observation``, ``interpolated_from_measurements``"""
MOST_DAILY_CODE = 10
"""of a daily file without words; what is larger may be per cent"""


class Flags(NamedTuple):
    """The flags of one variable."""

    name: str
    """of the flag variable, e.g. ``Qle_qc``"""
    values: Float[np.ndarray, "time"]
    """as in the file, NaN where missing"""
    meanings: dict[int, str]
    """what the file says of each code; empty where it says nothing"""
    ozflux: bool = False
    """the file is of an OzFlux tower"""
    kind: str = ""
    """the attribute ``flag_kind``: ``share measured`` where the file says that its flags are shares"""


def parse_meanings(text: str, values: object = None) -> dict[int, str]:
    """The codes of a text: CF's ``flag_meanings`` beside ``flag_values``, ``Measured: 0, ...`` or ``0 measured, ...``.

    Example:
        >>> parse_meanings("Measured: 0, Good-quality gapfilling: 1")
        {0: 'measured', 1: 'good-quality gapfilling'}
    """
    words = text.strip().lower()
    if not words:
        return {}
    if values is not None and not re.search(r"\d", words):
        codes = [int(code) for code in np.atleast_1d(np.asarray(values, dtype=float))]
        return dict(zip(codes, words.split(), strict=False))
    if re.match(r"\d", words):
        pairs = re.findall(r"(\d+)\s*[:=-]?\s*([^\d]+)", words)
        return {int(code): label.strip(" ,;.\n") for code, label in pairs}
    meanings = {}
    for label, codes in re.findall(r"([^\d:=]+)[:=\s]\s*(\d+(?:\s*(?:,|and|or|&)\s*\d+)*)", words):
        meanings |= {int(code): label.strip(" ,;.\n") for code in re.findall(r"\d+", codes)}
    return meanings


def measured_codes(flags: Flags) -> set[int]:
    """The codes that mean measured.

    Raises:
        InputError: the file says what each code means, and none of them is measured.
    """
    if not flags.meanings:
        return {0, 10} if flags.ozflux else {0}
    measured = {code for code, words in flags.meanings.items() if _says_measured(words)}
    if not measured:
        meanings = ", ".join(f"{code} {words}" for code, words in sorted(flags.meanings.items()))
        raise InputError(f"{flags.name}: no code means measured ({meanings[:200]}): correct flag_meanings")
    return measured


def _says_measured(words: str) -> bool:
    """Whether a meaning is that of a measurement: ``measured``, ``observed``, ``original data``, ``good``, ``ok``."""
    if _DENIAL.search(words) or _DOUBT.search(words):
        return False
    return bool(re.search(r"measure|observ|original|\bgood|\bok\b|^pass", words))


def measured_steps(flags: Flags, *, daily: bool) -> tuple[Bool[np.ndarray, "time"], str]:
    """Which steps count as measured, and the rule in words.

    Raises:
        InputError: flags that are neither codes nor shares; a daily file whose flags 0 and 1 may be either.
    """
    present = np.isfinite(flags.values)
    values = flags.values[present]
    counts = Counter(values.tolist())
    if SHARE_KIND in flags.kind.lower() or (values != np.round(values)).any():
        if values.size and (values.min() < 0.0 or values.max() > 1.0):
            raise InputError(
                f"{flags.name}: values from {values.min():g} to {values.max():g} are neither codes nor shares of a "
                f"measured interval: correct them"
            )
        return present & (flags.values >= LOWEST_SHARE), f"a share measured of at least {LOWEST_SHARE:g}"
    if daily and not flags.meanings and 1.0 in counts and not set(counts) - {0.0, 1.0}:
        raise InputError(
            f"{flags.name}: {counts[0.0]} days with 0 and {counts[1.0]} with 1 may be codes (0 is measured) or shares "
            f"(1 is measured): say which by an attribute, flag_meanings = 'measured: 0' or flag_kind = '{SHARE_KIND}'"
        )
    if daily and not flags.meanings and not flags.ozflux and values.size and values.max() > MOST_DAILY_CODE:
        raise InputError(
            f"{flags.name}: values from {values.min():g} to {values.max():g} may be codes (0 is measured) or per cent "
            f"(100 is measured): divide per cent by 100, or say by flag_meanings = 'measured: 0' that they are codes"
        )
    codes = measured_codes(flags)
    rule = " or ".join(str(code) for code in sorted(codes))
    return present & np.isin(flags.values, sorted(codes)), f"{flags.name.split(': ')[-1]} {rule}"
