"""Baselines: what a calibrated model must beat, fitted and scored with mdpl's own split and masks.

- ``empirical``: 1lin, 3km27 and an LSTM (``lstm``), which know the weather alone (``mdpl baselines``)
- ``gradient_free``: CMA-ES and differential evolution on the same loss and the same number of model runs
"""
