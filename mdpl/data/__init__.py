"""Data: the embedded five synthetic sites, and the public PLUMBER2 release.

- ``five_crops_synthetic()``: folder of the synthetic Met/Flux pairs, made on first use
- ``hidden_truth()``: the parameters behind them, for tests and reports
- ``fetch_sites(...)``, ``plumber2_sites()``: download real towers
"""

from mdpl.data.fetch import fetch_sites, plumber2_sites
from mdpl.data.synthetic import five_crops_synthetic, write_synthetic
from mdpl.data.truth import hidden_truth

__all__ = ["fetch_sites", "five_crops_synthetic", "hidden_truth", "plumber2_sites", "write_synthetic"]
