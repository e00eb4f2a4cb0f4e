"""Code about programs: what JAX traced is taken apart, simplified and run in pieces (README.md).

Nothing else in the project touches traced programs. Whoever uses this folder asks ``enabled`` first, imports from it
only then, and has another way to the same numbers.
"""

from __future__ import annotations

import functools
import os
import warnings

import jax

FIRST_VERSION, BEYOND_VERSION = (0, 8), (0, 13)
"""versions of jax whose traced programs this folder reads: from the first to before the second"""


@functools.lru_cache(maxsize=1)
def enabled() -> bool:
    """Whether this folder is used.

    It is not where ``JLSM_JAXPRS=0`` is set, nor, with one warning, with a version of jax that it does not know;
    ``JLSM_JAXPRS=1`` uses it with any version. Decided once in the life of a process.
    """
    wish = os.environ.get("JLSM_JAXPRS", "")
    if wish in ("0", "1"):
        return wish == "1"
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    if FIRST_VERSION <= version < BEYOND_VERSION:
        return True
    warnings.warn(
        f"jlsm does not know the traced programs of jax {jax.__version__}: derivatives are taken by jax alone, with "
        "the same numbers but slower (JLSM_JAXPRS=1 tries the faster way all the same, JLSM_JAXPRS=0 silences this)",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
