"""How far a model is from what was measured.

- ``losses``: differentiable, what is minimised
- ``metrics``, ``evaluation``: scores that are reported
"""
