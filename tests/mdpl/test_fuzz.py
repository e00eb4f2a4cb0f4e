"""Damaged and absurd files, at random: each is read as what it says, or refused in one line. Nothing else.

No traceback, no hang, no NaN and no absurd value comes through a door. Seeds are fixed; ``JLSM_FUZZ=10000 pytest
tests/mdpl/test_fuzz.py`` tries that many of each kind (100 otherwise).
"""

from __future__ import annotations

import functools
import os
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import METEOROLOGY, Site
from jlsm.io import load_forcing, load_state, read_parameters, save_state
from jlsm.io.checks import RULES
from jlsm.io.site_file import read_site_changes
from jlsm.parameters import BOUND_ROUNDING, PARAMETERS, default_parameters, get_parameter
from jlsm.state import initial_state
from mdpl.config import config_from_dict, load_config
from mdpl.files import read_archive, write_archive
from mdpl.towers.observations import LARGEST_FLUX, OPTIONAL, load_observations
from tests.mdpl.test_user_files import DAYS, ZERO, write_flux, write_met

LONGEST = 10.0  # s
fuzz = settings(
    max_examples=int(os.environ.get("JLSM_FUZZ", "100")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@functools.cache
def content(kind: str) -> bytes:
    """A right file, as bytes."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "file.nc"
        if kind == "met":
            write_met(path)
        else:
            write_flux(path, DAYS | ZERO)
        return path.read_bytes()


def outcome(read, path: Path):
    """What a reader returns, or None where it refuses in one line; anything else fails the test."""
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        try:
            return read(path)
        except InputError as error:
            message = str(error)
            assert "\n" not in message and len(message) <= 20_010 and message.isprintable(), repr(message)
            return None
        finally:
            path.unlink(missing_ok=True)
            assert time.perf_counter() - begin < LONGEST


def check_met(result) -> None:
    forcing, site = result
    for name in METEOROLOGY:
        values = np.asarray(getattr(forcing, name))
        assert np.isfinite(values).all(), name
        assert values.min() >= RULES[name].lower * 0.999 and values.max() <= RULES[name].upper * 1.001, name
    assert 0.0 < float(forcing.dt) <= 10800.0 and abs(float(site.latitude)) <= 90.0
    assert abs(float(site.utc_offset)) <= 14.0


def check_flux(result) -> None:
    for name, series in result.fluxes.items():
        values = series.values[series.measured]
        assert np.isfinite(series.values).all() and values.size, name
        assert name in OPTIONAL or np.abs(values).max() <= LARGEST_FLUX, name
    assert (np.diff(result.time.start) > 0).all()


# ---- bytes ----------------------------------------------------------------------------------------

edits = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert"]), st.floats(0.0, 1.0), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=12,
)


def edited(original: bytes, changes) -> bytes:
    """Bytes set, cut out or put in; the beginning, where a file's structure is, is hit more often."""
    result = bytearray(original)
    for kind, place, patch in changes:
        at = int(len(result) * place**3)
        end = at + (len(patch) if kind != "insert" else 0)
        result[at:end] = b"" if kind == "cut" else patch
    return bytes(result)


_number = iter(range(10**9))


def new_path(folder: Path, suffix: str = ".nc") -> Path:
    """A name of its own for every file: the HDF5 library remembers files that it could not open."""
    return folder / f"case{next(_number)}{suffix}"


@fuzz
@given(changes=edits)
def test_damaged_met_files(folder, changes):
    path = new_path(folder)
    path.write_bytes(edited(content("met"), changes))
    result = outcome(load_forcing, path)
    if result is not None:
        check_met(result)


@fuzz
@given(changes=edits)
def test_damaged_flux_files(folder, changes):
    path = new_path(folder)
    path.write_bytes(edited(content("flux"), changes))
    result = outcome(load_observations, path)
    if result is not None:
        check_flux(result)


@functools.cache
def saved_state(kind: str = "state.nc") -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / kind
        if kind == "state.nc":
            save_state(initial_state(jnp.asarray(285.0), jnp.asarray(0.45)), path)
        else:
            write_archive(
                path, {"epoch": 3, "best_loss": [0.5, 0.25]}, {"weights": np.arange(12.0), "steps": np.arange(3)}
            )
        return path.read_bytes()


@fuzz
@given(changes=edits)
def test_damaged_states(folder, changes):
    """A saved state comes back bit for bit, or not at all: its digest covers every field."""
    path = new_path(folder)
    path.write_bytes(edited(saved_state(), changes))
    result = outcome(load_state, path)
    if result is not None:
        right = initial_state(jnp.asarray(285.0), jnp.asarray(0.45))
        for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(right), strict=True):
            np.testing.assert_array_equal(one, other)


@fuzz
@given(changes=edits)
def test_damaged_archives(folder, changes):
    """Checkpoints, surrogates and generators are such archives: facts and arrays are as written, or refused."""
    path = new_path(folder, ".npz")
    path.write_bytes(edited(saved_state("archive.npz"), changes))
    result = outcome(lambda p: read_archive(p, "write it again"), path)
    if result is not None:
        facts, arrays = result
        assert facts == {"epoch": 3, "best_loss": [0.5, 0.25]}
        np.testing.assert_array_equal(arrays["weights"], np.arange(12.0))
        np.testing.assert_array_equal(arrays["steps"], np.arange(3))


# ---- what is inside -------------------------------------------------------------------------------

odd_numbers = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e30, -9999.0, -999.0, 1e-30, 2.0**62, 5.0, 273.15])
odd_texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "K", "W/m2", "degC", "hPa", "1", "seconds since", "hours since 2001-07-01 06", "x" * 5000,
                     "days since 2001-13-45", "seconds since 2001-07-01 00:00:00 +99:99", "minutes since 1-1-1",
                     "noleap", "Measured: 0", "fractions\nof\nlines", "0", "-6", "UTC+5:30", "%"]),
)  # fmt: skip
odd_values = st.one_of(
    odd_texts, odd_numbers, st.lists(odd_numbers, min_size=2, max_size=4), st.integers(-(2**31), 2**31 - 1)
)


def put_attribute(holder, name: str, value) -> None:
    """An attribute of any kind; what the library itself cannot write is no case."""
    try:
        holder.setncattr(name, value.replace("\x00", "") if isinstance(value, str) else np.asarray(value))
    except (TypeError, ValueError, RuntimeError, AttributeError, UnicodeEncodeError, OverflowError):
        pass


def spoil(path: Path, changes) -> None:
    """Change attributes and values of a file, by numbers that choose among what it has."""
    with netCDF4.Dataset(path, "a") as file:
        file.set_auto_maskandscale(False)
        names = list(file.variables)
        for which, where, attribute, value in changes:
            variable = file.variables[names[which % len(names)]]
            if where == "attribute":
                put_attribute(variable, attribute, value)
            elif where == "global":
                put_attribute(file, attribute, value)
            elif where == "text":
                put_attribute(file, "utc_offset_hours" if which % 2 else "QC_flag_descriptions", value)
            elif variable.dtype != str and isinstance(value, float):
                if where == "all":
                    variable[...] = np.full(variable.shape, value)
                elif variable.shape:
                    variable[(which % variable.shape[0],)] = value


changes_inside = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["attribute", "global", "text", "all", "one"]),
        st.sampled_from(["units", "calendar", "bounds", "scale_factor", "add_offset", "missing_value", "valid_min",
                         "flag_meanings", "flag_values", "site_code", "IGBP_veg_short", "soil_texture", "time_step",
                         "utc_offset_hours", "time_zone", "latitude"]),
        odd_values,
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@fuzz
@given(changes=changes_inside)
def test_met_files_with_absurd_content(folder, changes):
    path = new_path(folder)
    path.write_bytes(content("met"))
    spoil(path, changes)
    result = outcome(load_forcing, path)
    if result is not None:
        check_met(result)


@fuzz
@given(changes=changes_inside)
def test_flux_files_with_absurd_content(folder, changes):
    path = new_path(folder)
    path.write_bytes(content("flux"))
    spoil(path, changes)
    result = outcome(load_observations, path)
    if result is not None:
        check_flux(result)


def test_a_small_file_that_declares_two_thousand_million_steps(tmp_path):
    path = tmp_path / "m.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", 2_000_000_000)
        for name in ("time", "Tair", "Psurf", "SWdown", "LWdown", "Wind", "Precip", "Qair", "Qle"):
            variable = file.createVariable(name, "f4", ("time",), zlib=True, chunksizes=(100_000,), fill_value=-9999.0)
            variable.units = "seconds since 2001-01-01" if name == "time" else "K"
        for name in ("latitude", "longitude", "reference_height"):
            file.setncattr(name, 5.0)
        file.IGBP_veg_short = "CRO"
    for read in (load_forcing, load_observations):
        with pytest.raises(InputError, match="declares 2000000000 values"):
            read(path)


# ---- TOML -----------------------------------------------------------------------------------------

_scalars = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(lambda x: {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(repr(x), repr(x))),
    st.sampled_from(["true", '""', '"loam"', '"12"', "[]", "[[1.0]]", "2001-01-01", '"\\u0000"', "{a = 1}"]),
    st.text(st.characters(codec="utf-8", exclude_characters='"\\\n\r'), max_size=12).map(lambda t: f'"{t}"'),
)
_names = st.one_of(
    st.sampled_from([*PARAMETERS, "vcmax25", "epochs", "learning_rate", "sites", "data", "path", "loss", "lai_monthly",
                     "latitude", "utc_offset_hours", "soil_texture", "igbp", "bounds", "x" * 300]),
    st.text("abcxyz._-", min_size=1, max_size=20),
)  # fmt: skip
toml_texts = st.one_of(
    st.lists(st.tuples(_names, _scalars), max_size=5).map(lambda rows: "\n".join(f"{n} = {v}" for n, v in rows)),
    st.text(max_size=200),
    st.integers(1, 600).map(lambda depth: "a = " + "[" * depth + "]" * depth),
    st.integers(1, 600).map(lambda depth: ".".join("a" * depth) + " = 1"),
)


def site() -> Site:
    return Site(*(jnp.asarray(number) for number in (50.0, 10.0, 0.0, 10.0, 1.0, 1.0)))


@fuzz
@given(text=toml_texts)
def test_toml_files(folder, text):
    defaults = default_parameters(site())

    for read in (lambda path: read_parameters(path, defaults), read_site_changes, load_config):
        path = new_path(folder, ".toml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        result = outcome(read, path)
        if hasattr(result, "soil"):
            for key, info in PARAMETERS.items():
                values = np.asarray(get_parameter(result, key))
                low, high = info.lower - BOUND_ROUNDING * abs(info.lower), info.upper + BOUND_ROUNDING * abs(info.upper)
                assert np.isfinite(values).all() and (values >= low).all() and (values <= high).all(), key


@pytest.mark.parametrize("text", [r'data = "\u0000"', r'sites = ["\u0000"]', r"[loss]" + "\n" + r'"\u0000" = 1.0'])
def test_null_characters_in_texts(tmp_path, text):
    """Found by ten thousand examples: the system refuses such a path, deep inside."""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InputError, match="a text holds a null character"):
        load_config(tmp_path / "config.toml")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_settings_that_are_no_numbers(value):
    with pytest.raises(InputError, match="learning_rate"):
        config_from_dict({"learning_rate": value})
