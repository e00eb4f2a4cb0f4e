"""What every command shares, those of ``mdpl`` and the benchmarks too: mistakes in one line, jax's settings, progress.

Importing it does not import jax, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import threading
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

# XLA's own log asks users to file a bug where a compilation takes minutes; what it cannot do it raises. Here, not in
# ``prepare_jax``: jax sets a level of its own when it is imported, and reading the settings may import it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Precision(StrEnum):
    """Floating-point precision of a run."""

    float32 = "float32"
    float64 = "float64"


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end; like Ctrl-C, so that what holds files and checkpoints lets go of them."""

    def __init__(self, number: int):
        super().__init__()
        self.signal = signal.Signals(number)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM and SIGHUP (a batch system's time limit, a closed terminal) raise ``Terminated``; a second one kills."""

    def end(number, frame) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores SIGHUP
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def one_line_errors(interrupted: str = "stopped") -> Iterator[None]:
    """Whatever goes wrong becomes one line on stderr; a context manager, and a decorator (``@one_line_errors()``).

    Bad input (InputError) ends the process with exit code 2, a value that is not finite (FloatingPointError) with 1,
    Ctrl-C with 130, SIGTERM with 143 (SIGHUP with 129), after temporary files were removed. Each repair of an input
    (RepairWarning) is a ``warning:`` line.

    Args:
        interrupted: what to say after Ctrl-C; begins with "stopped".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", RepairWarning)
        warnings.simplefilter("always", UnsettledWarning)
        warnings.showwarning = _show_warning
        try:
            with _orderly_end():
                yield
        except InputError as error:
            _fail(f"error: {error}", 2, error)
        except FloatingPointError as error:
            _fail(f"error: {error}", 1, error)
        except Terminated as error:
            _fail(interrupted.replace("stopped", f"stopped by {error.signal.name}", 1), 128 + error.signal, error)
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
    precision: Precision = Precision.float32, loop_bytes: int = FORWARD_LOOP_BYTES, columns: int = 1, devices: int = 1
) -> None:
    """Choose the precision and the compiler's settings, and keep compiled code between runs.

    Args:
        loop_bytes, columns: see ``prefer_cpu_flags``; an ``XLA_FLAGS`` of the user's is left alone.
        devices: into so many a CPU is divided; 0: one for each of its cores.

    The cache lies in ``JLSM_CACHE_DIR``, else ``$XDG_CACHE_HOME/jlsm`` or ``~/.cache/jlsm``; a cache that jax itself
    was told of (``JAX_COMPILATION_CACHE_DIR``) is left alone.
    """
    prefer_cpu_flags(loop_bytes, columns)
    import jax

    jax.config.update("jax_enable_x64", precision is Precision.float64)
    if devices != 1:
        jax.config.update("jax_num_cpu_devices", devices or cores())
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


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
