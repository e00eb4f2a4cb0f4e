"""The door for TOML files: whatever is wrong with one becomes one line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jlsm.errors import InputError

LARGEST_TOML = 50_000_000  # bytes; parameters with a value per half hour of decades are the longest


def read_toml(path: str | os.PathLike, what: str, example: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: the file.
        what: what the file is, for messages: ``parameter file``.
        example: a right line, for messages.

    Raises:
        InputError: no such file, not readable, too large, not TOML.
    """
    file = os.fspath(path)
    try:
        if os.path.getsize(file) > LARGEST_TOML:
            raise InputError(f"{file}: has more than {LARGEST_TOML // 1_000_000} MB: give a {what}")
        content = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
        if any("\0" in text for text in _texts(content)):  # no path, no name: the system refuses it much later
            raise ValueError("a text holds a null character")
        return content
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file: check the path of the {what}") from error
    except RecursionError as error:
        raise InputError(f"{file}: is nested too deeply for a {what}: write lines like {example}") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:  # not TOML, not UTF-8, a null byte in the path, a number beyond all digits
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: is not valid TOML ({reason}): write lines like {example}") from error


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value that TOML can hold, names of keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
