"""Which observations train and which test.

Records of three years or more: the first ``warmup_years`` only run, the last ``test_years`` (default 30 % of the
record, at least one) are held back, what lies between trains. Shorter records cannot spare whole years: after a
spin-up on their own first year, every third month (March, June, September, December) is held back and the rest
trains, so that both parts see all seasons. Neighbouring months are correlated, so scores from that split are
kinder than from held-back years.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jlsm.errors import InputError
from mdpl.towers.intervals import TimeAxis

TEST_MONTHS = (3, 6, 9, 12)
SHORTEST_FOR_YEARS = 3


class Split(NamedTuple):
    """Masks over the observed intervals."""

    train: Bool[np.ndarray, "obs_time"]
    test: Bool[np.ndarray, "obs_time"]
    words: str
    """the split in words, for reports"""
    validation: Bool[np.ndarray, "obs_time"] | None = None
    """the last years before the test, left out of training to choose the epoch; None without"""
    first_test: np.datetime64 | None = None
    """where the test years begin; None where months are held back"""

    def periods(self) -> dict[str, Bool[np.ndarray, "obs_time"]]:
        """The masks by name: train, test, and validation where there is one."""
        masks = {"train": self.train, "test": self.test}
        return masks if self.validation is None else masks | {"validation": self.validation}

    def visible(self, day: np.ndarray) -> np.ndarray:
        """Which days (since 1970-01-01) lie outside the test part."""
        date = day.astype("datetime64[D]")
        if self.first_test is not None:
            return date < self.first_test.astype("datetime64[D]")
        return ~np.isin(date.astype("datetime64[M]").astype(int) % 12 + 1, TEST_MONTHS)


def split_by_time(
    observed: TimeAxis,
    model: TimeAxis,
    *,
    warmup_years: int = 1,
    test_years: int | None = None,
    validation_years: int = 0,
    where: str = "observations",
) -> Split:
    """Divide the observed intervals that the run covers into warm-up (neither), train and test.

    Args:
        observed: time axis of the observations.
        model: time axis of the forcing.
        warmup_years: years of forcing before the first scored step (records of three years or more).
        test_years: whole years held back at the end; None takes 30 % of the record, at least one.
        validation_years: whole years before the test that are not trained on (records of three years or more).
        where: site named in errors.

    Raises:
        InputError: nothing left to train on; validation years asked of a record that is split by months.
    """
    start = np.datetime64(int(model.start[0]), "s")
    stop = np.datetime64(model.stop, "s")
    times = observed.datetimes()
    inside = (times >= start) & (observed.start + observed.length <= model.stop)
    years = _whole_years(start, stop)
    if years < SHORTEST_FOR_YEARS and test_years is None:
        if validation_years:
            raise InputError(
                f"{where}: time {start} to {stop}: validation_years = {validation_years}, but a record shorter than "
                f"{SHORTEST_FOR_YEARS} years is split by months: set validation_years = 0"
            )
        month = times.astype("datetime64[M]").astype(int) % 12 + 1
        test = inside & np.isin(month, TEST_MONTHS)
        return Split(inside & ~test, test, f"record of {years} whole year(s): months {TEST_MONTHS} test, others train")
    held_back = max(1, round(0.3 * years)) if test_years is None else test_years
    first_scored = _add_years(start, warmup_years)
    first_test = _add_years(stop, -held_back)
    first_validation = _add_years(first_test, -validation_years)
    if first_validation <= first_scored:
        held_out = f"{held_back} of test" + (f" and {validation_years} of validation" if validation_years else "")
        raise InputError(
            f"{where}: time {start} to {stop}: {warmup_years} year(s) of warm-up and {held_out} leave "
            "nothing to train on: lower test_years (or leave it out: short records are split by months)"
        )
    scored = inside & (times >= first_scored)
    train = scored & (times < first_validation)
    day = np.timedelta64(1, "D")
    words = f"train {first_scored.astype('datetime64[D]')} to {first_validation.astype('datetime64[D]') - day}"
    words += f", validation to {first_test.astype('datetime64[D]') - day}" if validation_years else ""
    validation = scored & (times >= first_validation) & (times < first_test) if validation_years else None
    return Split(train, inside & (times >= first_test), f"{words}, test after", validation, first_test)


def _add_years(time: np.datetime64, years: int) -> np.datetime64:
    month = time.astype("datetime64[M]")
    moved = month + np.timedelta64(12 * years, "M")
    # 29 February becomes 1 March, by adding the days of the month in seconds
    return moved.astype("datetime64[s]") + (time - month.astype("datetime64[s]"))


def _whole_years(start: np.datetime64, stop: np.datetime64) -> int:
    years = int((stop - start) / np.timedelta64(365, "D"))
    while years > 0 and _add_years(start, years) > stop:
        years -= 1
    return years
