"""Sums over the leading (layer or portion) axis, spelled out as additions.

A reduction over two to nine rows is a handful of additions; a compiler that is handed a general
reduction makes a call of it that costs more than everything around it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def total(values: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """Sum over the leading axis, first row first."""
    result = values[0]
    for k in range(1, values.shape[0]):
        result = result + values[k]
    return result


def running_total(values: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Sum of each row and all before it."""
    rows = [values[0]]
    for k in range(1, values.shape[0]):
        rows.append(rows[-1] + values[k])
    return jnp.stack(rows)
