"""Numerical tools that know nothing of land surfaces."""

from jlsm.numerics.compensated import add_compensated
from jlsm.numerics.implicit import implicit_solve
from jlsm.numerics.safe import decay_mean, ramp, smooth_minimum
from jlsm.numerics.tridiagonal import shift, solve_tridiagonal

__all__ = ["add_compensated", "decay_mean", "implicit_solve", "ramp", "shift", "smooth_minimum", "solve_tridiagonal"]
