"""The file that a benchmark writes: JSON with the key ``benchmark``, whole, and in the place of no other file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jlsm.errors import InputError
from jlsm.files import check_writable, whole_file


def result_file(path: str) -> str:
    """The type of ``--output``: a JSON file to write. One that no benchmark wrote is refused before anything runs."""
    try:
        if path:
            check_writable(path, _is_result, "result of a benchmark")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def pictured_result_file(path: str) -> str:
    """As ``result_file``, where a table (.md) and a figure (.png) are written beside it."""
    result_file(path)
    beside = [str(other) for ending in (".md", ".png") if (other := Path(path).with_suffix(ending)).exists()]
    if path and beside and not Path(path).exists():
        raise argparse.ArgumentTypeError(f"{beside[0]}: is there already, and no {path}: choose another path")
    return path


def _is_result(path: Path) -> bool:
    try:
        return "benchmark" in json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        return False


def write_json(path: str | Path, content: dict) -> None:
    """The result of a benchmark (it has the key ``benchmark``); whole, or as it was before."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1))
