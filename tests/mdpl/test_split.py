"""Which steps train and which test."""

from __future__ import annotations

import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.towers.intervals import DAY, TimeAxis
from mdpl.towers.split import split_by_time


def days(first: str, last: str) -> TimeAxis:
    start = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 1)
    return TimeAxis(start.astype("datetime64[s]").astype(np.int64), DAY)


def ends(axis: TimeAxis, mask: np.ndarray) -> tuple[str, str]:
    times = axis.datetimes()[mask].astype("datetime64[D]")
    return str(times[0]), str(times[-1])


@pytest.mark.parametrize(
    ("last", "options", "train", "test"),
    [
        ("2010-12-31", {}, ("2002-01-01", "2007-12-31"), ("2008-01-01", "2010-12-31")),
        ("2010-12-31", {"test_years": 2}, ("2002-01-01", "2008-12-31"), ("2009-01-01", "2010-12-31")),
        ("2007-12-31", {}, ("2002-01-01", "2005-12-31"), ("2006-01-01", "2007-12-31")),
        ("2003-12-31", {}, ("2002-01-01", "2002-12-31"), ("2003-01-01", "2003-12-31")),
    ],
)
def test_last_years_are_held_back(last, options, train, test):
    axis = days("2001-01-01", last)
    split = split_by_time(axis, axis, **options)
    assert ends(axis, split.train) == train and ends(axis, split.test) == test
    assert not (split.train & split.test).any()


@pytest.mark.parametrize("last", ["2001-12-31", "2002-12-31"])
def test_short_records_are_split_by_months(last):
    axis = days("2001-01-01", last)
    split = split_by_time(axis, axis)
    month = axis.datetimes().astype("datetime64[M]").astype(int) % 12 + 1
    assert set(month[split.test]) == {3, 6, 9, 12}
    assert (split.train | split.test).all() and not (split.train & split.test).any()


def test_only_what_the_run_covers():
    split = split_by_time(days("2000-01-01", "2004-12-31"), days("2001-01-01", "2003-12-31"))
    assert split.train.sum() == 365 and split.test.sum() == 365


def test_nothing_left_to_train_on():
    axis = days("2001-01-01", "2003-12-31")
    with pytest.raises(InputError, match="leave nothing to train on"):
        split_by_time(axis, axis, test_years=2)
