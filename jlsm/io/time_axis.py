"""The time axis of a tower's file: decoded to whole seconds of local standard time, and checked for regularity.

Every file goes through here, forcing and fluxes alike, so that one units string is one clock.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import cftime
import numpy as np

from jlsm.errors import InputError

_SECONDS = {
    "second": 1.0, "seconds": 1.0, "sec": 1.0, "secs": 1.0, "s": 1.0,
    "minute": 60.0, "minutes": 60.0, "min": 60.0, "mins": 60.0,
    "hour": 3600.0, "hours": 3600.0, "hr": 3600.0, "hrs": 3600.0, "h": 3600.0,
    "day": 86400.0, "days": 86400.0, "d": 86400.0,
}  # fmt: skip
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_SINCE = re.compile(
    r"\s*(?P<unit>\w+)\s+since\s+(?P<year>\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T\s]+(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.\d*)?)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?\s*",
    re.IGNORECASE,
)
_DATE = re.compile(r"^\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?)?)?$")
_FIRST, _LAST = np.datetime64("1700", "s"), np.datetime64("2200", "s")  # what 64-bit nanoseconds of readers can hold

LONGEST_STEP = 3 * 3600.0  # s; a longer mean has lost the course of the day that the model integrates


class Clock(NamedTuple):
    """What a units attribute says of time: ``hours since 1998-07-01 00:00 -06:00``."""

    origin: int
    """seconds since 1970-01-01 of the date, on the file's clock, or in UTC where there is a zone"""
    unit: float
    """s"""
    zone: float | None
    """hours ahead of UTC in which the date is written; None where the file does not say: local standard time"""


def timestamp(time: np.datetime64) -> str:
    """``2005-06-01T12:30``: the time as it appears in messages."""
    return str(time.astype("datetime64[m]"))


def read_clock(file: str, units: str, calendar: str) -> Clock:
    """The clock of a units attribute.

    Raises:
        InputError: units that are no time since a date, or a calendar without the real leap days.
    """
    if calendar.lower() not in _REAL_CALENDARS:
        raise InputError(
            f"{file}: time has calendar {calendar!r}: a tower record needs the real one; shift the record to calendar "
            f"'standard' (with 29 February in leap years)"
        )
    match = _SINCE.fullmatch(units)
    if not match or match["unit"].lower() not in _SECONDS:
        raise InputError(
            f"{file}: time has units {units!r}, which cannot be decoded: use 'seconds since YYYY-MM-DD hh:mm:ss'"
        )
    date = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    try:
        # the standard calendar is the Julian one before October 1582
        moment = cftime.datetime(*date, calendar=calendar.lower())
    except ValueError as error:
        raise InputError(f"{file}: time has units {units!r}, a date that does not exist: correct it") from error
    origin = int(cftime.date2num(moment, "seconds since 1970-01-01", calendar.lower()))
    zone = _zone_hours(match["zone"])
    return Clock(origin - round(3600 * (zone or 0.0)), _SECONDS[match["unit"].lower()], zone)


def _zone_hours(text: str | None) -> float | None:
    """Hours ahead of UTC of ``UTC``, ``Z``, ``-6``, ``+05:30`` or ``+0530``."""
    if text is None:
        return None
    if text[0] not in "+-":
        return 0.0
    digits = text[1:].replace(":", "")
    hours, minutes = (int(digits), 0) if len(digits) < 3 else (int(digits[:-2]), int(digits[-2:]))
    return (-1.0 if text[0] == "-" else 1.0) * (hours + minutes / 60.0)


def decode(file: str, values: np.ndarray, clock: Clock, utc_offset: float | None) -> np.ndarray:
    """Times as ``datetime64[s]`` of local standard time.

    Args:
        values: numbers on the clock.
        utc_offset: of the site's local standard time, hours ahead of UTC; used where the clock has a zone.

    Raises:
        InputError: missing values, years that no output file can hold, a zone but no offset.
    """
    if not np.isfinite(values).all():
        at = int(np.argmax(~np.isfinite(values)))
        raise InputError(f"{file}: time is missing (NaN or fill value) at step {at}: write the missing time stamps")
    if clock.zone is not None and utc_offset is None:
        raise InputError(
            f"{file}: time is written in UTC{clock.zone:+g}, and the site's own clock is unknown: add the global "
            f"attribute utc_offset_hours, or give the offset of local standard time (--utc-offset)"
        )
    shift = 0.0 if clock.zone is None else 3600.0 * float(utc_offset or 0.0)
    seconds = clock.origin + shift + values * clock.unit
    outside = ~((seconds >= _FIRST.astype(int)) & (seconds < _LAST.astype(int)))
    if outside.any():
        at = int(np.argmax(outside))
        year = 1970 + seconds[at] / (365.2425 * 86400.0)
        raise InputError(
            f"{file}: time is in the year {year:.4g} at step {at}: years 1700 to 2199 can be run; correct its "
            f"units or values"
        )
    return np.round(seconds).astype(np.int64).astype("datetime64[s]")


def interval_starts(file: str, stamps: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Where each interval begins, from the bounds that the file has for its time stamps, ``[time, 2]``.

    Raises:
        InputError: bounds without their stamp inside, or of different lengths.
    """
    start, end = bounds[:, 0], bounds[:, 1]
    astray = (end <= start) | (stamps < start) | (stamps > end)
    if astray.any():
        at = int(np.argmax(astray))
        raise InputError(
            f"{file}: time {timestamp(stamps[at])} is not within its bounds, {timestamp(start[at])} to "
            f"{timestamp(end[at])} (step {at}): correct the bounds, or remove them"
        )
    lengths = (end - start).astype(float)
    if (lengths != lengths[0]).any():
        at = int(np.argmax(lengths != lengths[0]))
        raise InputError(
            f"{file}: time bounds are {lengths[at]:g} s apart at {timestamp(start[at])}, {lengths[0]:g} s before: "
            f"intervals must be of one length"
        )
    return start


def select(file: str, times: np.ndarray, start: str | None, stop: str | None) -> slice:
    """The steps from ``start`` (included) to ``stop`` (left out), both ISO dates or None.

    Raises:
        InputError: a date that cannot be read, or a period without time steps.
    """
    edges = []
    for name, text in (("start", start), ("stop", stop)):
        if text is None:
            edges.append(None)
            continue
        if not _DATE.match(str(text)):
            raise InputError(f"{name} {text!r} is not a date: write it as 2005-06-01 or 2005-06-01T12:00")
        try:
            edges.append(np.datetime64(str(text), "s"))
        except ValueError as error:
            raise InputError(f"{name} {text!r} is not a date: write it as 2005-06-01 or 2005-06-01T12:00") from error
    first = 0 if edges[0] is None else int(np.searchsorted(times, edges[0]))
    last = times.size if edges[1] is None else int(np.searchsorted(times, edges[1]))
    if first >= last:
        raise InputError(
            f"{file}: time has no step from start {start} to stop {stop}: the record is "
            f"{timestamp(times[0])} to {timestamp(times[-1])}"
        )
    return slice(first, last)


def check_order(file: str, times: np.ndarray) -> None:
    """Raise InputError where time stands still or runs backwards."""
    steps = np.diff(times).astype(float)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0)) + 1
        what = "is duplicated" if steps[at - 1] == 0 else f"comes after {timestamp(times[at - 1])}"
        raise InputError(
            f"{file}: time {timestamp(times[at])} {what} at step {at}: sort the record and keep each time step once"
        )


def step_length(file: str, times: np.ndarray) -> float:
    """The length of the time step, s, of a record without gaps.

    Raises:
        InputError: fewer than two steps, a gap or change of step, or a step longer than three hours.
    """
    if times.size < 2:
        raise InputError(f"{file}: time has {times.size} step(s): at least two are needed to know the step's length")
    steps = np.diff(times).astype(float)
    usual = float(np.median(steps))
    if (steps != usual).any():
        at = int(np.argmax(steps != usual))
        raise InputError(
            f"{file}: time goes from {timestamp(times[at])} to {timestamp(times[at + 1])}, a step of {steps[at]:g} s "
            f"where {usual:g} s is usual: fill the gap, or choose a period without it (start, stop)"
        )
    if usual > LONGEST_STEP:
        raise InputError(
            f"{file}: time has steps of {usual:g} s from {timestamp(times[0])} on: the model needs steps of at most "
            f"{LONGEST_STEP:g} s; disaggregate the forcing"
        )
    return usual
