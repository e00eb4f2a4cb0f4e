"""Numerical tools that know nothing of land surfaces."""

from jlsm.numerics.compensated import add_compensated
from jlsm.numerics.implicit import implicit_solve
from jlsm.numerics.layers import running_total, total
from jlsm.numerics.safe import at_least, at_most, decay_mean, power, ramp, smooth_minimum
from jlsm.numerics.tridiagonal import shift, solve_tridiagonal

__all__ = [
    "add_compensated",
    "at_least",
    "at_most",
    "decay_mean",
    "implicit_solve",
    "power",
    "ramp",
    "running_total",
    "shift",
    "smooth_minimum",
    "solve_tridiagonal",
    "total",
]
