"""Many calibrations.

- ``transfer``: leave one site out
"""
