"""Towers that jlsm convert made, as mdpl reads them: measured steps, shares, uncertainty; gzipped files."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from jlsm.io import load_forcing, packed
from mdpl.towers.flags import Flags, measured_steps
from mdpl.towers.load import find_site_files, load_towers
from mdpl.towers.observations import load_observations
from tests.jlsm.network_tables import (
    DAYS,
    FIRST,
    HH,
    RECORD,
    codes,
    convert,
    daily_table,
    members,
    table,
    text,
    values,
    weather,
    write,
    zipped,
)


def test_the_pair_is_read_back(tmp_path):
    met, flux = convert(write(tmp_path / HH, table()), tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RepairWarning)
        (tower,) = load_towers(find_site_files(tmp_path / "out"))
    assert [str(one.message).split(": ")[1] for one in caught] == ["LAI is absent"], "everything else is in the pair"
    assert tower.label == "US-XYz" and tower.site.igbp == "CRO" and float(tower.site.utc_offset) == -6
    np.testing.assert_allclose(tower.forcing.Qair, weather()["Qair"], rtol=2e-3, atol=1e-6)
    assert tower.forcing.steps == DAYS * 48 and int(tower.forcing.second_of_day[0]) == 0
    observed = tower.observations
    expected = codes(DAYS * 48) == 0
    for name in ("Qle", "Qh", "Qg", "NEE", "GPP", "Qle_cor", "Qh_cor"):
        assert observed.fluxes[name].measured.tolist() == expected.tolist(), name
    assert observed.fluxes["Rnet"].measured.all()
    np.testing.assert_array_equal(observed.fluxes["Qle"].uncertainty, np.float32(table()["LE_RANDUNC"]))
    assert observed.fluxes["Rnet"].uncertainty is None


@pytest.mark.parametrize("shares", [np.linspace(0.0, 1.0, DAYS), (np.arange(DAYS) % 3 > 0).astype(float)])
def test_a_daily_table_gives_shares(tmp_path, shares, capsys):
    path = write(tmp_path / "FLX_US-XYz_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily_table(shares))
    (flux,) = convert(path, tmp_path)
    assert flux.name == "US-XYz_2001-2001_FLUXNET2015_Flux.nc"
    observed = load_observations(flux)
    assert observed.step == "daily" and observed.time.datetimes()[0] == FIRST
    for name in ("Qle", "Qle_cor", "Rnet", "NEE"):
        assert observed.fluxes[name].measured.tolist() == (shares >= 0.75).tolist(), name
    carbon = daily_table(shares)["NEE_VUT_REF"] * 1e6 / 12.011 / 86400.0
    np.testing.assert_allclose(values(flux, "NEE"), carbon, rtol=1e-6)


def test_shares_that_say_so_are_never_ambiguous():
    flags = Flags("Qle_qc", np.array([0.0, 1.0, 1.0, np.nan]), {}, kind="share measured")
    assert measured_steps(flags, daily=True)[0].tolist() == [False, True, True, False]
    with pytest.raises(InputError, match="flag_kind"):
        measured_steps(flags._replace(kind=""), daily=True)
    with pytest.raises(InputError, match="neither codes nor shares"):
        measured_steps(flags._replace(values=np.array([0.0, 2.0])), daily=True)


def test_flags_without_a_value_are_announced(tmp_path):
    """As in real tables of towers whose energy fluxes were not processed; what was measured cannot be known then."""
    columns = table() | {"LE_F_MDS_QC": np.full(DAYS * 48, -9999)}
    with pytest.warns(RepairWarning, match="LE_F_MDS_QC has no value: Qle is written, and nothing of it counts"):
        _, flux = convert(write(tmp_path / HH, columns), tmp_path)
    observed = load_observations(flux)
    assert "Qle" not in observed.fluxes and "Qh" in observed.fluxes


@pytest.mark.parametrize("name", [HH, HH + ".gz", "US-XYz.zip"])
@pytest.mark.parametrize("read", [load_forcing, load_observations])
def test_readers_of_netcdf_point_to_the_command(tmp_path, name, read):
    path = tmp_path / name
    content = text(table()).encode()
    if name.endswith("zip"):
        zipped(path, members())
    else:
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=f"'jlsm convert {name}' makes a Met and a Flux file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_gzipped_netcdf(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    plain = dict(zip(("Met", "Flux"), convert(write(tmp_path / HH, table()), tmp_path), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        (before,) = load_towers(find_site_files(folder))
        for kind, path in plain.items():
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            (pair,) = find_site_files(folder, ("US-XYz",))
            assert pair.record == RECORD and (pair.met.name.endswith(".gz"), pair.flux.name.endswith(".gz")) == (
                True,
                kind == "Flux",
            )
            (tower,) = load_towers([pair])
            np.testing.assert_array_equal(tower.forcing.Tair, before.forcing.Tair)
            np.testing.assert_array_equal(
                tower.observations.fluxes["Qle"].values, before.observations.fluxes["Qle"].values
            )
    met = folder / f"{RECORD}_Met.nc.gz"
    met.write_bytes(met.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        load_forcing(met)
    met.write_bytes(gzip.compress(b"\x89HDF" + b"\x00" * 1_000_000))
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        load_forcing(met)
    monkeypatch.setattr(packed, "LARGEST_UNPACKED", 50_000)
    with pytest.raises(InputError, match="holds more than"):
        load_forcing(met)
