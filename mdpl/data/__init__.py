"""Data: the embedded five synthetic sites, and the public PLUMBER2 release.

- ``five_crops_synthetic()``: folder of the synthetic Met/Flux pairs, made on first use
- ``write_synthetic(folder)``: the same, into a folder of one's own
- ``hidden_truth()``: the parameters behind them, for tests and reports
- ``plumber2_sites()``, ``fetch_sites(codes)``: list and download real towers
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; a test compares it with the table below
    from mdpl.data.fetch import fetch_sites as fetch_sites
    from mdpl.data.fetch import plumber2_sites as plumber2_sites
    from mdpl.data.synthetic import five_crops_synthetic as five_crops_synthetic
    from mdpl.data.synthetic import write_synthetic as write_synthetic
    from mdpl.data.truth import hidden_truth as hidden_truth

_HOME = {
    "fetch_sites": "fetch",
    "five_crops_synthetic": "synthetic",
    "hidden_truth": "truth",
    "plumber2_sites": "fetch",
    "write_synthetic": "synthetic",
}
"""Where each public name lives: imported when first used, so that ``mdpl --help`` need not wait."""

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mdpl.data' has no attribute {name!r}")
    return getattr(import_module(f"mdpl.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
