"""Compiler settings of the command lines on a CPU (the library sets none, see docs/speed.md)."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

MANY_COLUMNS = 64
"""so many side by side run fastest with all of LLVM's optimisations, fewer with its first level"""


def prefer_cpu_flags(loop_bytes: int, columns: int = 1) -> None:
    """Set ``XLA_FLAGS`` for this process, unless the user has set it or jax may run on something else than a CPU.

    Call before jax is used. (LLVM's first level would be that of a GPU's code too.)

    Args:
        loop_bytes: loops that touch less memory than this are compiled as one function.
        columns: how many a run has side by side, about; derivatives want 1 whatever their number.
    """
    if "XLA_FLAGS" in os.environ or _accelerated():
        return
    flags = [f"--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold={loop_bytes}"]
    if columns < MANY_COLUMNS:
        flags.append("--xla_backend_optimization_level=1")
    if _wide_vectors():
        flags.append("--xla_cpu_prefer_vector_width=512")
    os.environ["XLA_FLAGS"] = " ".join(flags)


def _accelerated() -> bool:
    """Whether jax has a plugin for GPUs or TPUs and is not told to stay on the CPU."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return False
    return bool(entry_points(group="jax_plugins")) or find_spec("libtpu") is not None


def _wide_vectors() -> bool:
    """Whether the processor has registers of 512 bits (known on Linux only)."""
    try:
        return " avx512f " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
