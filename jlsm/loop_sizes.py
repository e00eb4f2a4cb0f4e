"""Sizes that both the compiler's settings and the code that is compiled go by."""

FORWARD_LOOP_BYTES = 1_000_000_000
"""whole time loops become one function: right for runs, minutes of compilation for reverse mode"""
GRADIENT_LOOP_BYTES = 600_000
"""the loops of a step (``numerics/jaxprs/pieces.py`` makes them half as large; the solver) become one function each,
long or wide time loops do not"""
