"""Tables and files that jlsm convert cannot convert: one line each, nothing written."""

from __future__ import annotations

import gzip
import io
import warnings
from pathlib import Path

import numpy as np
import pytest

from jlsm.command_line.convert import ConvertOptions, tower_contents
from jlsm.errors import InputError, RepairWarning
from jlsm.io import packed
from tests.jlsm.network_tables import (
    BIF,
    DAYS,
    FIRST,
    HH,
    codes,
    convert,
    daily_table,
    members,
    refusal,
    site_file,
    stamps,
    table,
    text,
    values,
    weather,
    without_row,
    write,
    zipped,
)


def changed(name: str, row: int, value: object) -> dict[str, np.ndarray]:
    columns = table()
    columns[name] = columns[name].astype(object)
    columns[name][row] = value
    return columns


def repeated(row: int) -> dict[str, np.ndarray]:
    return {name: np.insert(cells, row, cells[row]) for name, cells in table().items()}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (lambda: changed("TA_F", 7, "warm"), "TA_F = 'warm' at 200107010330 (1 rows) is no number"),
        (lambda: changed("TA_F", 7, "true"), "TA_F = 'true' at 200107010330"),
        (lambda: changed("TA_F", 7, '"20,5"'), "save the table with decimal points"),
        (lambda: changed("TA_F", 7, "20,5"), "row 8 has more cells than the first line has names"),
        (lambda: changed("TS_F_MDS_1", 7, "soil"), ""),
        (lambda: without_row(10), "time goes from 2001-07-01T04:30 to 2001-07-01T05:30"),
        (lambda: repeated(10), "time 2001-07-01T05:00 is duplicated"),
        (lambda: changed("TIMESTAMP_START", 3, "2.00107E+11"), "a spreadsheet has rounded it"),
        (lambda: changed("TIMESTAMP_START", 3, ""), "TIMESTAMP_START is missing where there should be YYYYMMDDhhmm"),
        (lambda: changed("TIMESTAMP_START", 3, "200107321130"), "is a time that does not exist"),
        (lambda: changed("TIMESTAMP_START", 3, "200102290000"), "is a time that does not exist"),
        (lambda: changed("TIMESTAMP_END", 3, "200107010130"), "is not 30 minutes later"),
        (lambda: changed("LE_F_MDS_QC", 3, "7"), "LE_F_MDS_QC = 7 at 2001-07-01T01:30"),
        (lambda: changed("PA_F", 3, "970.0"), "Psurf = 970000 at 2001-07-01T01:30"),
        (lambda: table() | {"TA_F": weather()["Tair"]}, "Tair = "),
        (lambda: table() | {"SW_IN_F": np.roll(table()["SW_IN_F"], 16)}, "than the sun"),
        (lambda: table() | {"VPD_F": np.full(DAYS * 48, -9999.0)}, "VPD_F is missing"),
        (lambda: {name: cells[:0] for name, cells in table().items()}, "has no rows"),
        (lambda: {name: cells[:1] for name, cells in table().items()}, "at least two"),
        (lambda: {"TIMESTAMP_START": table()["TIMESTAMP_START"], "TA_ERA": table()["TA_F"]}, "has none of TA_F"),
        (lambda: {"year": codes(9), "TA_F": codes(9)}, "no column TIMESTAMP_START"),
        (lambda: {"TIMESTAMP": ["200107"], "LE_F_MDS": [1.0]}, "is a monthly table"),
        (lambda: daily_table(np.linspace(0.0, 100.0, DAYS)), "shares from 0 to 1"),
        (lambda: {n: np.delete(c, 4) for n, c in daily_table(np.ones(DAYS)).items()}, "in a daily table"),
        (lambda: {"TIMESTAMP": stamps(FIRST + np.arange(3) * np.timedelta64(1, "D"), 8), "TA_F": codes(3)}, "no value"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong(tmp_path, columns, words):
    path = write(tmp_path / HH, columns())
    if not words:  # a column that is not needed
        assert len(convert(path, tmp_path)) == 2
        return
    message = refusal(path, tmp_path)
    assert words in message and HH in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: text(table(), separator=";").encode(), "separated by semicolons"),
        (lambda: text(table(), separator="\t").encode(), "separated by tabs"),
        (lambda: text(table()).encode("utf-16"), "UTF-16"),
        (lambda: b"\x89HDF\r\n\x1a\n", "is NetCDF"),
        (lambda: b"\x00" * 100, "is no table"),
        (lambda: b"TIMESTAMP_START," * 100_000, "is no table"),
        (lambda: b"", "no column TIMESTAMP_START"),
        (lambda: b"# Site: US-XYz\n# Version: 2-5\n" + text(table()).encode(), "as AmeriFlux BASE does"),
        (lambda: text(table()).encode()[:-40], "its last row ends early"),
        (lambda: text(table()).replace(",RH,", ",TA_F,").encode(), "column TA_F occurs twice"),
        (lambda: text(table()).encode() + b'"', "cannot be read as a table"),
        (lambda: text(table()).encode() + b"200107210000" + b",1" * 99, "row 961 has more cells than the first line"),
        (lambda: gzip.compress(text(table()).encode())[:20_000], "cannot be read as a table"),
        (lambda: gzip.compress(text(table()).encode())[:-9] + b"123456789", "cannot be read as a table"),
        (lambda: io.BytesIO(b"PK\x03\x04" + bytes(range(256)) * 9).getvalue(), "cannot be read as a table"),
    ],
)  # fmt: skip
def test_files_that_are_damaged_or_something_else(tmp_path, content, words):
    path = tmp_path / HH
    path.write_bytes(content())
    assert words in refusal(path, tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_ends_of_lines_and_byte_order_marks_do_not_matter(tmp_path, end, encoding):
    path = tmp_path / HH
    path.write_text(text(table(), end=end).removesuffix(end), encoding=encoding, newline="")
    met, _ = convert(path, tmp_path)
    np.testing.assert_allclose(values(met, "Tair"), weather()["Tair"], rtol=2e-7)


def damaged_zip(path: Path) -> Path:
    content = bytearray(zipped(path, members()).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\x00" * 2000
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (damaged_zip, "cannot be read as a table"),
        (lambda path: zipped(path, {"README.txt": "nothing"}), "holds no .csv file"),
        (lambda path: zipped(path, {"a.csv": "nothing", "b.csv": "no,thing"}), "none of its 2 tables"),
        (lambda path: zipped(path, {"[Content_Types].xml": "", "xl/workbook.xml": ""}), "is a spreadsheet"),
        (lambda path: zipped(path, members() | {HH.replace("XYz", "Abc"): text(table())}), "tables of US-Abc, US-XYz"),
    ],
)
def test_zips_that_cannot_be_converted(tmp_path, archive, words):
    assert words in refusal(archive(tmp_path / "US-XYz.zip"), tmp_path)


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    """The limit holds for what a zip declares, and for what comes out."""
    content = text(table()).encode()
    monkeypatch.setattr(packed, "LARGEST_UNPACKED", 50_000)
    for name, data in ((HH + ".gz", gzip.compress(content)), (HH, content)):
        path = tmp_path / name
        path.write_bytes(data)
        assert "holds more than" in refusal(path, tmp_path)
    assert "holds more than" in refusal(zipped(tmp_path / "US-XYz.zip", members()), tmp_path)


PIECES = (
    b"\x00",
    b'"',
    b",",
    b"\n",
    b"\r",
    b";",
    b"\xff\xfe",
    b"\xc3",
    b"nan",
    b"inf",
    b"1e999",
    b"9" * 30,
    b"true",
    b"text",
)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes changed, lost, doubled or put in."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place, length = rng.integers(len(data)), int(rng.choice([1, 8, 100, 5000]))
        kind = rng.integers(5)
        if kind == 0:
            data[place] = rng.integers(256)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = PIECES[rng.integers(len(PIECES))]
        elif kind == 3:
            data[place : place + length] = rng.bytes(min(length, 100))
        else:
            data[place:place] = data[place : place + length]
    return bytes(data) or b" "


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_in_one_line_or_harmless(tmp_path, seed):
    rng = np.random.default_rng(seed)
    half = {name: cells[: 6 * 48] for name, cells in table().items()}
    content = text(half).encode()
    daily = "FLX_US-XYz_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv"
    zipped(tmp_path / "a.zip", members() | {"folder/AMF_US-XYz_FLUXNET_FLUXMET_HH_2001-2001_v1.3_r1.csv": content})
    files = {HH: content, f"{HH}.gz": gzip.compress(content), "US-XYz.zip": (tmp_path / "a.zip").read_bytes()}
    files |= {"bif.csv": BIF.encode(), daily: text(daily_table(np.linspace(0.0, 1.0, DAYS))).encode()}
    whole, site = write(tmp_path / "whole.csv", half), site_file(tmp_path)
    outcomes = []
    for _ in range(60):
        name = list(files)[rng.integers(len(files))]
        path = tmp_path / name
        path.write_bytes(mutated(files[name], rng))
        options = ConvertOptions(bif=(path,)) if name == "bif.csv" else ConvertOptions(site=site)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RepairWarning)
            try:
                results = tower_contents(whole if name == "bif.csv" else path, options)
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 2000
                outcomes.append("refused")
                continue
        for result in results.values():
            assert not any(np.isinf(series.values).any() for series in result.series.values())
        outcomes.append("read")
    assert {"read", "refused"} == set(outcomes)
