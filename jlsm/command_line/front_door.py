"""What every command shares, those of ``mdpl`` and the benchmarks too: mistakes in one line, jax's settings, progress.

Importing it does not import jax, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from jlsm._version import package_version
from jlsm.command_line.xla_flags import prefer_cpu_flags as prefer_cpu_flags
from jlsm.errors import InputError, RepairWarning, UnsettledWarning
from jlsm.loop_sizes import FORWARD_LOOP_BYTES


class Precision(StrEnum):
    """Floating-point precision of a run."""

    float32 = "float32"
    float64 = "float64"


@contextmanager
def one_line_errors(interrupted: str = "stopped") -> Iterator[None]:
    """Whatever goes wrong becomes one line on stderr; a context manager, and a decorator (``@one_line_errors()``).

    Bad input (InputError) ends the process with exit code 2, a value that is not finite (FloatingPointError) with 1,
    Ctrl-C with 130. Each repair of an input (RepairWarning) is a ``warning:`` line.

    Args:
        interrupted: what to say after Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", RepairWarning)
        warnings.simplefilter("always", UnsettledWarning)
        warnings.showwarning = _show_warning
        try:
            yield
        except InputError as error:
            _fail(f"error: {error}", 2, error)
        except FloatingPointError as error:
            _fail(f"error: {error}", 1, error)
        except KeyboardInterrupt as error:
            _fail(interrupted, 130, error)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    kind = "warning" if issubclass(category, RepairWarning | UnsettledWarning) else category.__name__
    _say(f"{kind}: {message}")


def _fail(text: str, code: int, error: BaseException) -> NoReturn:
    _say(text)
    raise SystemExit(code) from error


def _say(text: str) -> None:
    typer.echo(" ".join(text.split()), err=True)


def prepare_jax(
    precision: Precision = Precision.float32, loop_bytes: int = FORWARD_LOOP_BYTES, columns: int = 1
) -> None:
    """Choose the precision and the compiler's settings, and keep compiled code between runs.

    Args:
        loop_bytes, columns: see ``prefer_cpu_flags``; an ``XLA_FLAGS`` of the user's is left alone.

    The cache lies in ``JLSM_CACHE_DIR``, else ``$XDG_CACHE_HOME/jlsm`` or ``~/.cache/jlsm``; a cache that jax itself
    was told of (``JAX_COMPILATION_CACHE_DIR``) is left alone.
    """
    prefer_cpu_flags(loop_bytes, columns)
    import jax

    jax.config.update("jax_enable_x64", precision is Precision.float64)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("JLSM_CACHE_DIR") or Path(base) / "jlsm")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _say(f"warning: {cache}: no compilation cache ({error.strerror}): set JLSM_CACHE_DIR to a writable folder")
        return
    jax.config.update("jax_compilation_cache_dir", str(cache))


def progress_bar(console: Console) -> Progress:
    """A bar on a terminal, silence elsewhere."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    )


def version_option(program: str) -> Callable[[bool], bool]:
    """Callback of an eager ``--version`` option: prints ``program`` and the version of the package, and ends."""

    def print_version(value: bool) -> bool:
        if value:
            typer.echo(f"{program} {package_version()}")
            raise typer.Exit()
        return value

    return print_version
