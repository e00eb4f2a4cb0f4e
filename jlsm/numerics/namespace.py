"""NumPy for NumPy, JAX for JAX: formulas that read files and run in the model alike."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Numbers = TypeVar("Numbers")
"""JAX's arrays or NumPy's: a function gives what it is given"""


def namespace_of(*values) -> Any:
    """``jax.numpy`` where one of the values is JAX's (traced or not), else ``numpy``: double precision stays double."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np
