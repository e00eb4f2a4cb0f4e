"""What all tests share: float64, one folder of compiled code, the real towers' data.

The physics is tested in float64, where a tolerance means something; tests of float32 cast their
inputs (``tests.jlsm.columns.as_float32``). Most tests of the whole model use one shape, 96 steps of
32 columns, so that they share what was compiled: examples stand side by side as columns.

Compiling is most of what the tests cost, so the compiler is told not to optimise: a run of the model compiles in 7 s
instead of 25 and takes 0.09 s instead of 0.03. ``XLA_FLAGS= pytest`` tests what users run, as ``.ci/long`` does.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import jax
import pytest

QUICK_COMPILER = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")
"""jax 0.12 has no emitters to choose from and no flag for it"""


def accepted(flag: str) -> bool:
    """Whether this jaxlib takes this flag: a process stops at one that it does not know."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flag}, capture_output=True).returncode == 0


# Commands run inside these processes choose compiler flags where the user has none (jlsm.command_line.xla_flags). They
# would come too late here and yet reach the processes that tests start, whose numbers then differ in the last bit:
# tests have one.
# Set before the workers of xdist start, so that this asks once.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(filter(accepted, QUICK_COMPILER))
# Tracing makes millions of objects that stay: looking through all of them again and again for garbage, as Python does
# by default after every 700 new ones, is 7 % of what a gradient takes to trace and compile (perf).
gc.freeze()
gc.set_threshold(100_000, 20, 100)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)  # for tests of runs on several; all others use the first
# a failure must be found again by the next run, and compiling has no deadline
hypothesis.settings.register_profile("jlsm", deadline=None, derandomize=True, max_examples=25)
# .ci/long: other examples every time, and more of them
hypothesis.settings.register_profile("long", deadline=None, max_examples=500, print_blob=True)
hypothesis.settings.load_profile("jlsm")

DATA = Path(os.environ.get("MDPL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_configure(config):
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Compiled programs are let go after each file of tests; what the next one shares comes from the folder.

    Each lies in memory maps of its own, of which Linux allows a process 65,530 (vm.max_map_count): a worker that kept
    them all went past that near the end of the suite and died in the compiler, with ten gigabytes in its memory.
    """
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def double_precision():
    """float64 again after every test: a command run in this process chooses its own precision."""
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real towers (``MDPL_DATA``, or ``../shared/data`` beside the repository)."""
    if not any(DATA.glob("plumber2*/*_Met.nc")):
        pytest.skip(f"no real towers in {DATA}: set MDPL_DATA to the folder that holds plumber2/")
    return DATA
