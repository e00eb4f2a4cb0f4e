"""The time axis of a NetCDF file: decoded to whole seconds of local standard time, and checked for regularity."""

from __future__ import annotations

import re

import numpy as np

from jlsm.errors import InputError

_SECONDS = {
    "second": 1.0, "seconds": 1.0, "sec": 1.0, "secs": 1.0, "s": 1.0,
    "minute": 60.0, "minutes": 60.0, "min": 60.0, "mins": 60.0,
    "hour": 3600.0, "hours": 3600.0, "hr": 3600.0, "hrs": 3600.0, "h": 3600.0,
    "day": 86400.0, "days": 86400.0, "d": 86400.0,
}  # fmt: skip
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_SINCE = re.compile(r"^\s*(\w+)\s+since\s+(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[T\s]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?)?")
_DATE = re.compile(r"^\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?)?)?$")

LONGEST_STEP = 3 * 3600.0  # s; a longer mean has lost the course of the day that the model integrates


def timestamp(time: np.datetime64) -> str:
    """``2005-06-01T12:30``: the time as it appears in messages."""
    return str(time.astype("datetime64[m]"))


def decode(file: str, values: np.ndarray, units: str, calendar: str) -> np.ndarray:
    """Times as ``datetime64[s]``.

    Raises:
        InputError: units that are no time since a date, or a calendar without the real leap days.
    """
    if calendar.lower() not in _REAL_CALENDARS:
        raise InputError(
            f"{file}: time has calendar {calendar!r}: a tower record needs the real one; shift the record to calendar "
            f"'standard' (with 29 February in leap years)"
        )
    match = _SINCE.match(units)
    if not match or match[1].lower() not in _SECONDS:
        raise InputError(
            f"{file}: time has units {units!r}, which cannot be decoded: use 'seconds since YYYY-MM-DD hh:mm:ss'"
        )
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[1:])
    try:
        origin = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}", "s")
    except ValueError as error:
        raise InputError(f"{file}: time has units {units!r}, a date that does not exist: correct it") from error
    if not np.isfinite(values).all():
        at = int(np.argmax(~np.isfinite(values)))
        raise InputError(f"{file}: time is missing (NaN or fill value) at step {at}: write the missing time stamps")
    return origin + np.round(values * _SECONDS[match[1].lower()]).astype("timedelta64[s]")


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
