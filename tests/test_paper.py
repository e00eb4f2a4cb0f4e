"""Every module and function that docs/paper.md names exists, and every step of the method is named."""

import importlib
import pathlib
import re

import pytest

PAGE = (pathlib.Path(__file__).resolve().parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`((?:jlsm|mdpl)(?:\.\w+)+)`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_names_exists(name):
    parts, found = name.split("."), None
    for depth in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError as error:
            if not name.startswith(str(error.name)):
                raise  # the module is there, something it needs is not
            continue
        break
    for part in parts[depth:]:
        found = getattr(found, part)
    assert found is not None


def test_no_dotted_name_escapes_the_check():
    assert len(NAMES) >= 40
    written = set(re.findall(r"\b((?:jlsm|mdpl)\.[a-z_]+[\w.]*)", PAGE))
    assert {name.rstrip(".") for name in written} == set(NAMES), "write each name in full between backticks"


def test_the_number_of_parameters():
    from jlsm.parameters import PFT_PARAMETERS

    assert f"| {len(PFT_PARAMETERS)} by default" in PAGE


def test_what_could_not_be_read_is_said():
    assert "not* readable" in PAGE and "**unknown**" in PAGE
