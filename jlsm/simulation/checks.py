"""What a run checks of its arguments, once, before anything is compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.errors import InputError
from jlsm.forcing import Forcing, Site
from jlsm.parameters import PARAMETERS, Parameters, check_parameter_values, get_parameter

Tree = TypeVar("Tree")
Door = TypeVar("Door", bound=Callable[..., Any])


def checked(run: Door) -> Door:
    """A function of parameters, forcing, site and more that checks these three before it starts.

    ``inspect.unwrap`` gives it without: for who has checked them, or keeps them in bounds itself.
    """

    @functools.wraps(run)
    def door(params: Parameters, forcing: Forcing, site: Site, *others: Any, **options: Any) -> Any:
        params, forcing, site = in_one_precision((params, forcing, site), forcing)
        check_arguments(params, forcing, site)
        return run(params, forcing, site, *others, **options)

    return cast(Door, door)


def check_arguments(params: Parameters, forcing: Forcing, site: Site) -> None:
    """Raise InputError for series of different lengths and for parameters that contradict their tables.

    Values that are being traced are left alone; shapes never are.
    """
    steps, columns = forcing.steps, np.shape(forcing.Tair)[1:]
    for name in forcing.series():
        shape = np.shape(getattr(forcing, name))
        if not shape or shape[0] != steps:
            length = shape[0] if shape else "no"
            raise InputError(f"forcing: {name} has {length} steps, the forcing {steps} (Tair): give one value per step")
        if shape[1:] != columns:
            raise InputError(f"forcing: {name} has columns of shape {shape[1:]}, Tair {columns}: give both the same")
    for key in PARAMETERS:
        shape = np.shape(get_parameter(params, key))
        if len(shape) > len(columns) and shape[0] != steps:
            raise InputError(f"parameter {key} has {shape[0]} steps, the forcing {steps}: give one value per step")
    check_parameter_values(params, sites=(site.code,) if isinstance(site.code, str) else tuple(site.code))


def in_one_precision(tree: Tree, forcing: Forcing) -> Tree:
    """Plain numbers and weakly typed arrays (``jnp.asarray(2.0)``) as arrays of the forcing's precision.

    To ``jax.jit`` they are another type than the array that a file gives: the model would be compiled again for them.
    """
    precision = jnp.result_type(forcing.Tair)

    def strong(leaf):
        if isinstance(leaf, jax.Array | np.ndarray) and not getattr(leaf, "weak_type", False):
            return leaf
        kind = jnp.result_type(leaf)
        return jnp.asarray(leaf, precision if jnp.issubdtype(kind, jnp.floating) else kind)

    return jax.tree.map(strong, tree)
