"""The door through which libraries read files of others: whatever they raise becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jlsm.errors import InputError


@contextmanager
def in_one_line(name: str, form: str) -> Iterator[None]:
    """Whatever a library raises while a file is read becomes one line that names it; the cause stays chained to it.

    Args:
        name: of the file.
        form: what it should be: ``NetCDF``, ``a table``.

    Raises:
        InputError: the block raised anything but an InputError or a warning.
    """
    try:
        yield
    except (InputError, Warning):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file: check the path") from error
    except PermissionError as error:
        raise InputError(f"{name}: may not be read: change its permissions") from error
    except Exception as error:  # a damaged file can make a library raise anything, and only files are read in the block
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name}: cannot be read as {form} (truncated, damaged or another format): get the file again "
            f"({type(error).__name__}: {reason[:200]})"
        ) from error
