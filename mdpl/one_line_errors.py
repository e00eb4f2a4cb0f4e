"""How a command tells mistakes: one line on stderr and an exit code, repairs as ``warning:`` lines."""

from __future__ import annotations

import functools
import warnings

import typer

from jlsm.errors import InputError, RepairWarning


def one_line_errors(command):
    """A user's mistake prints one line on stderr and exits with code 2; Ctrl-C exits with 130."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", RepairWarning)
                warnings.showwarning = _show_warning
                return command(*args, **kwargs)
        except InputError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("stopped: a calibration goes on with --resume, a download where it was", err=True)
            raise typer.Exit(130) from error

    return wrapped


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    kind = "warning" if issubclass(category, RepairWarning) else category.__name__
    typer.echo(f"{kind}: {' '.join(str(message).split())}", err=True)


def prepare_jax() -> None:
    """As ``jlsm run`` does, with the compiler's settings for gradients."""
    from jlsm._xla import GRADIENT_LOOP_BYTES
    from jlsm.cli import Precision
    from jlsm.cli import prepare_jax as prepare

    prepare(Precision.float32, GRADIENT_LOOP_BYTES)
