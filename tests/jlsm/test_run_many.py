"""``jlsm run`` with many Met files: one result each, in few programs; a bad file is named."""

from __future__ import annotations

from pathlib import Path

import jax
import netCDF4
import numpy as np
import pytest
import xarray as xr

from jlsm import io
from jlsm.command_line.run_file import RunOptions, run_file
from jlsm.command_line.run_many import Record, _blocks, run_many
from tests.jlsm.builders import fake_outputs, write_met
from tests.jlsm.test_cli import folder, jlsm_command, model, refused, run_unwatched  # noqa: F401  fixtures among them


def write_towers(place, lengths=(96, 48, 60)):
    place.mkdir()
    return [
        write_met(
            place / f"XX-{i}_2004_Met.nc",
            steps=steps,
            attributes={"site_code": f"XX-{i}"},
            scalars={"latitude": 40.0 + i},
        )  # fmt: skip
        for i, steps in enumerate(lengths)
    ]


def test_a_folder_has_a_result_for_each_file(model, folder):  # noqa: F811
    mets = write_towers(folder / "towers")
    result = run_unwatched("towers", "-o", "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"XX-{i}_2004_jlsm.nc" for i in range(3)]
    for i, (met, steps) in enumerate(zip(mets, (96, 48, 60), strict=True)):
        with xr.open_dataset(folder / "out" / f"XX-{i}_2004_jlsm.nc") as dataset:
            forcing, _ = io.load_forcing(met, sun_check=False)
            np.testing.assert_array_equal(dataset.Qh.values.reshape(-1), fake_outputs(forcing).Qh)
            assert dataset.attrs["site_code"] == f"XX-{i}" and dataset.latitude.item() == 40.0 + i
            assert f"XX-{i}_2004_Met.nc, spin-up of 3 years" in dataset.attrs["history"]
        assert f"XX-{i}_2004_jlsm.nc: {steps} steps" in result.stderr


def test_files_that_cannot_be_used_are_all_named_or_left_out(model, folder):  # noqa: F811
    mets = write_towers(folder / "towers")
    for met in mets[:2]:
        met.write_text("no NetCDF")
    line = refused(run_unwatched(*mets, "-o", "out"))
    assert "2 of 3 Met files cannot be used: " in line and "XX-0_2004_Met.nc" in line and "XX-1_2004_Met.nc" in line
    assert list((folder / "out").iterdir()) == []
    result = run_unwatched("towers", "-o", "out", "--skip-unusable")
    assert result.exit_code == 0 and "warning: XX-1_2004_Met.nc: left out: " in result.stderr
    assert [path.name for path in (folder / "out").iterdir()] == ["XX-2_2004_jlsm.nc"]
    mets[2].write_text("no NetCDF")
    assert "3 of 3 Met files" in refused(run_unwatched("towers", "-o", "out", "--skip-unusable"))


def test_what_is_of_one_site_is_refused_for_many(model, folder):  # noqa: F811
    mets = write_towers(folder / "towers")
    assert "--save-state is of one site" in refused(run_unwatched("towers", "--save-state", "s.nc"))
    assert "--utc-offset is of one site" in refused(run_unwatched("towers", "--utc-offset", "1"))
    (folder / "p.toml").write_text(f"vcmax25 = {[50.0] * 96}\n")
    same_length = write_met(folder / "XX-9_2004_Met.nc")
    assert "a time series is of one record" in refused(run_unwatched(mets[0], same_length, "--parameters", "p.toml"))
    (folder / "empty").mkdir()
    assert "empty: no *_Met.nc file in this folder" in refused(run_unwatched("empty"))
    write_towers(folder / "others")
    assert "have one result" in refused(run_unwatched("towers", "others"))
    (folder / "file").write_text("")
    assert "is no folder for 3 results" in refused(run_unwatched("towers", "-o", "file"))


def test_blocks_are_few_and_of_one_size():
    def records(steps, kind):
        return [Record(Path("m"), Path("r"), n, kind) for n in steps]

    blocks = _blocks(records(range(1, 71), (1800.0, 9)) + records([5], (3600.0, 5)))
    assert [len(block) for block in blocks] == [24, 24, 22, 1]
    assert [record.steps for record in blocks[0]] == list(range(70, 46, -1)), "of similar length"


@pytest.mark.slow
def test_side_by_side_is_as_alone(tmp_path, monkeypatch):
    """The model itself: records of two lengths, to the rounding of float64."""
    mets = write_towers(tmp_path / "towers", (96, 72))
    options = RunOptions(sun_check=False, spinup_years=0)
    results = {met: tmp_path / f"{met.stem}_many.nc" for met in mets}
    assert list(run_many(results, options).values()) == [96, 72]
    for met, result in results.items():
        alone = tmp_path / f"{met.stem}_alone.nc"
        run_file(met, alone, options)
        with netCDF4.Dataset(alone) as one, netCDF4.Dataset(result) as two:
            assert set(one.variables) == set(two.variables)
            for name in ("Qle", "Qh", "SoilTemp", "time", "latitude"):
                scale = np.abs(one[name][:]).max()
                np.testing.assert_allclose(two[name][:], one[name][:], rtol=0, atol=1e-9 * scale, err_msg=name)
            for name in one.ncattrs():
                assert name == "history" or one.getncattr(name) == two.getncattr(name), name
    assert jax.config.jax_enable_x64
