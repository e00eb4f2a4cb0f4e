"""What is seen when parameters, states, weather or results are printed: a line per field, not a page of arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

SHOWN = 4
"""texts of a stack of sites that are written out"""


def quantity(units: str, lower: float | None = None, upper: float | None = None, **options: Any) -> Any:
    """A field of an ``equinox.Module`` with its unit ("-" is a pure number) and the range that is believed.

    ``options`` are those of ``dataclasses.field``.
    """
    return dataclasses.field(metadata={"units": units, "lower": lower, "upper": upper}, **options)


def units_of(field: dataclasses.Field) -> str:
    """The unit in a field's metadata; empty where it has none."""
    return field.metadata.get("units") or field.metadata.get("unit") or ""


def field_table(tree: Any) -> str:
    """Name, values (or their range), unit, type and shape of every field of a dataclass; groups are indented.

    Values that are being traced, or that are shapes alone, show their type and shape.
    """
    return "\n".join([type(tree).__name__, *_aligned(_rows(tree, "  "))])


def _rows(tree: Any, indent: str) -> list[tuple[str, ...]]:
    rows = []
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name, None)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            rows += [(indent + field.name,), *_rows(value, indent + "  ")]
        else:
            rows.append((indent + field.name, summary(value), units_of(field), _kind(value)))
    return rows


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max((len(row[k]) for row in rows if len(row) > k), default=0) for k in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _kind(value: Any) -> str:
    return f"{value.dtype}[{','.join(map(str, value.shape))}]" if _is_array(value) else ""


def summary(value: Any) -> str:
    """A number, the range of an array, or a short text."""
    if isinstance(value, tuple) and len(value) > SHOWN:
        return f"{', '.join(map(str, value[:SHOWN]))}, ... ({len(value)})"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "()"
    if not _is_array(value):
        return f"{value:.6g}" if isinstance(value, float) else str(value) or "''"
    import jax

    if isinstance(value, jax.ShapeDtypeStruct):
        return "..."
    try:
        return _range(np.asarray(value))
    except jax.errors.TracerArrayConversionError:
        return "traced"
    except RuntimeError:  # on other hosts' devices, or donated
        return "elsewhere"


def _range(numbers: np.ndarray) -> str:
    if numbers.dtype.kind not in "biuf":
        return str(numbers.dtype)
    if numbers.dtype.kind == "b":
        return f"{int(numbers.sum())} of {numbers.size} True"
    finite = numbers[np.isfinite(numbers)]
    missing = numbers.size - finite.size
    if not finite.size:
        return f"{missing} not finite" if missing else "empty"
    low, high = (f"{float(end):.6g}" for end in (finite.min(), finite.max()))
    values = low if low == high else f"{low} .. {high}"
    return f"{values} ({missing} not finite)" if missing else values
