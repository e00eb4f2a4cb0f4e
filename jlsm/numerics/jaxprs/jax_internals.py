"""All that this folder uses of jax outside its documented functions. Where a new jax breaks the folder, it is here.

- The classes of traced programs: ``Literal``, ``Primitive`` and ``Tracer`` below.
- Their attributes: ``jaxpr.invars``, ``constvars``, ``outvars``, ``eqns``; ``equation.primitive``, ``invars``,
  ``outvars``, ``params``; ``variable.aval`` (with ``shape`` and ``dtype``), ``literal.val``; ``primitive.name``,
  ``bind``, ``multiple_results``; ``closed_jaxpr.jaxpr``, ``consts``.
- ``manual_axis_type.varying`` of ``jax.typeof(x)`` (``vma`` in jax 0.8), and ``jax.lax.pcast`` (``pvary``).
- The names of operations and of their settings: the constants and functions below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import AbstractValue, Tracer
from jax.extend.core import Literal, Primitive
from jaxtyping import Array

__all__ = ["Literal", "Primitive", "Tracer"]

VIEWS = ("slice", "reshape", "squeeze")
"""operations that only say where a value lies in another"""
SIGNS = {"add": (1.0, 1.0), "add_any": (1.0, 1.0), "sub": (1.0, -1.0)}
"""signs of both inputs of a sum"""
NEGATION, PRODUCT, QUOTIENT, CHOICE = "neg", "mul", "div", "select_n"

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call")


def called_program(name: str, settings: dict[str, Any]) -> Any | None:
    """The (closed) program that an operation calls; None where it calls none, or calls it in a way of its own."""
    if name not in _CALLS:
        return None
    return settings["jaxpr"] if "jaxpr" in settings else settings["call_jaxpr"]


def linear_solver(name: str, settings: dict[str, Any], inputs: list[Any]) -> tuple[Any, list[Any]] | None:
    """(the program that solves a linear system, what it is called with); None for any other operation."""
    if name != "custom_linear_solve":
        return None
    lengths = settings["const_lengths"]
    first = lengths.matvec + lengths.vecmat
    constants = inputs[first : first + lengths.solve]
    right = inputs[first + lengths.solve + lengths.transpose_solve :]
    return settings["jaxprs"].solve, [*constants, *right]


def is_same_type(name: str, settings: dict[str, Any], dtype) -> bool:
    """Whether an operation converts to the type that its input has already."""
    return name == "convert_element_type" and settings["new_dtype"] == dtype


Axes = frozenset[str]
"""axes of a mesh of devices"""


def axes_of(x: Any) -> Axes:
    """Along which axes a value (or a type) varies from device to device, inside ``jax.shard_map``."""
    kind: Any = x if isinstance(x, AbstractValue) else jax.typeof(x)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying
    return kind.vma  # jax 0.8


def zeros_of(kind: Any) -> Array:
    """Zeros of a type."""
    return varying(jnp.zeros(kind.shape, kind.dtype), axes_of(kind))


def varying(x: Array, axes: Axes) -> Array:
    """The value as one that varies along these axes, whether or not it does."""
    missing = tuple(axes - axes_of(x))
    if not missing:
        return x
    lax: Any = jax.lax
    return lax.pcast(x, missing, to="varying") if hasattr(lax, "pcast") else lax.pvary(x, missing)


def _slice(settings, x):
    strides = settings["strides"]
    return jax.lax.slice(
        x,
        (*settings["start_indices"], 0),
        (*settings["limit_indices"], x.shape[-1]),
        None if strides is None else (*strides, 1),
    )


def _broadcast(settings, x):
    shape = settings["shape"]
    return jax.lax.broadcast_in_dim(x, (*shape, x.shape[-1]), (*settings["broadcast_dimensions"], len(shape)))


WITH_LANES: dict[str, Callable[..., Array]] = {
    "slice": _slice,
    "broadcast_in_dim": _broadcast,
    "squeeze": lambda settings, x: jax.lax.squeeze(x, settings["dimensions"]),
    "concatenate": lambda settings, *xs: jax.lax.concatenate(xs, settings["dimension"]),
    "stack": lambda settings, *xs: jnp.stack(xs, settings["axis"]),
}
"""operations that move values, as functions of (settings, *inputs) with one more axis at the end: what occurs in a time
step, without the detour of ``jax.vmap`` over the first axis"""
