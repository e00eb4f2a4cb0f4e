"""``jlsm run --members``: every parameter set of a table at one site, in one result."""

from __future__ import annotations

import dataclasses

import netCDF4
import numpy as np
import pytest
import xarray as xr

from jlsm import io
from jlsm.command_line import run_members as door
from jlsm.command_line.run_file import RunOptions, run_file
from jlsm.command_line.run_members import run_members
from jlsm.errors import InputError
from jlsm.io.member_table import read_members
from tests.jlsm.builders import fake_outputs, write_met
from tests.jlsm.test_cli import folder, jlsm_command, model, refused, run_unwatched  # noqa: F401  fixtures among them

TABLE = "member,vcmax25,soil.porosity\nlow,40,0.42\nhigh, 80 ,0.45\nlast,60,0.4\n"


def test_a_table_of_members(tmp_path):
    (tmp_path / "p.csv").write_text(TABLE)
    names, values = read_members(tmp_path / "p.csv")
    assert names == ("low", "high", "last")
    assert {key: list(column) for key, column in values.items()} == {
        "vegetation.vcmax25": [40.0, 80.0, 60.0], "soil.porosity": [0.42, 0.45, 0.4]
    }  # fmt: skip
    (tmp_path / "p.csv").write_text("vcmax25\n40\n50\n")
    assert read_members(tmp_path / "p.csv")[0] == ("0", "1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no member"),
        ("vcmax25\n", "has no member"),
        ("vcmx25\n1\n", "did you mean vcmax25"),
        ("vcmax25,vegetation.vcmax25\n1,2\n", "column vegetation.vcmax25 is there twice"),
        ("member\na\n", "has no parameter"),
        ("member,vcmax25\na,1\na,2\n", "member 'a' is there twice"),
        ("vcmax25\nmuch\n", "line 2: vegetation.vcmax25 = 'much': is no number"),
        ("vcmax25\n1\nnan\n", "line 3: vegetation.vcmax25 = nan: is not finite"),
        ("vcmax25,soil.porosity\n1\n", "line 2 has 1 cells, the first line 2"),
        ("vcmax25\n\x00\n", "p.csv: "),
    ],
)
def test_mistakes_in_a_table(tmp_path, text, words):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match="p.csv") as error:
        read_members(tmp_path / "p.csv")
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def ensemble(model, monkeypatch):  # noqa: F811
    """The stand-in, which takes the length of a piece by its place."""
    monkeypatch.setattr(door, "simulation", model)


def test_members_are_a_dimension_of_one_result(ensemble, folder):  # noqa: F811
    met = write_met(folder / "XX-Tst_2004_Met.nc")
    (folder / "p.csv").write_text(TABLE)
    result = run_unwatched(met.name, "--members", "p.csv", "--spinup-years", "0")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(folder / "XX-Tst_2004_jlsm.nc") as dataset:
        forcing, _ = io.load_forcing(met, sun_check=False)
        assert dataset.Qh.dims == ("time", "member", "y", "x") and dataset.Qh.shape == (96, 3, 1, 1)
        assert dataset.SoilTemp.dims == ("time", "member", "soil_layer", "y", "x")
        for i in range(3):
            np.testing.assert_array_equal(dataset.Qh.values[:, i, 0, 0], fake_outputs(forcing).Qh)
        np.testing.assert_allclose(dataset.parameter_vegetation_vcmax25, [40.0, 80.0, 60.0])
        assert list(dataset.member_name.values) == ["low", "high", "last"]
        assert dataset.member.attrs["standard_name"] == "realization"
        assert "parameter_soil_porosity" not in dataset.attrs
        assert "parameter_vegetation_root_depth_scale" in dataset.attrs
        assert "--members p.csv" in dataset.attrs["history"]


def test_mistakes_on_the_command_line(ensemble, folder):  # noqa: F811
    met = write_met(folder / "XX-Tst_2004_Met.nc")
    (folder / "p.csv").write_text("member,vcmax25\nfine,40\nwild,-1\n")
    assert "p.csv: member wild: " in refused(run_unwatched(met.name, "--members", "p.csv"))
    assert "is of one Met file" in refused(run_unwatched(met.name, "--members", "p.csv", "--save-state", "s.nc"))
    assert "would overwrite this input" in refused(run_unwatched(met.name, "--members", "p.csv", "-o", "p.csv"))
    (folder / "p.toml").write_text(f"vcmax25 = {[50.0] * 96}\n")
    (folder / "p.csv").write_text("vcmax25\n40\n")
    line = refused(run_unwatched(met.name, "--members", "p.csv", "--parameters", "p.toml"))
    assert "a time series cannot go with --members" in line
    assert not (folder / "XX-Tst_2004_jlsm.nc").exists()


@pytest.mark.slow
def test_a_member_is_as_a_run_with_its_parameters(tmp_path, monkeypatch):
    """The model itself, in pieces of a day, to the rounding of float64."""
    monkeypatch.setattr(door, "LONGEST_PIECE", 48)
    met = write_met(tmp_path / "XX-Tst_2004_Met.nc", steps=72)
    (tmp_path / "p.csv").write_text("vcmax25,soil.porosity\n40,0.42\n80,0.45\n")
    (tmp_path / "p.toml").write_text("vcmax25 = 80.0\n[soil]\nporosity = 0.45\n")
    options = RunOptions(sun_check=False, spinup_years=1)
    run_members(met, tmp_path / "p.csv", tmp_path / "many.nc", options)
    run_file(met, tmp_path / "one.nc", dataclasses.replace(options, parameters=tmp_path / "p.toml"))
    with netCDF4.Dataset(tmp_path / "one.nc") as one, netCDF4.Dataset(tmp_path / "many.nc") as many:
        for name in ("Qle", "Qh", "SoilTemp", "SoilMoist"):
            scale = np.abs(one[name][:]).max()
            np.testing.assert_allclose(many[name][:, 1], one[name][:], rtol=0, atol=1e-9 * scale, err_msg=name)
        assert np.abs(many["Qle"][:, 0] - many["Qle"][:, 1]).max() > 1e-3
