"""Flux towers: read once, then seen by all.

- ``load``: Met/Flux pairs in a folder; ``observations``: measured fluxes
- ``intervals``: from model steps to observed intervals; ``split``: train, validation, test
- ``features``: what a generator sees of a site
"""
