"""jlsm: the land surface model MATSIRO6 in JAX, differentiable from weather to fluxes.

This page is the table of contents:

- input and output: ``load_forcing``, ``to_dataset``, ``save_state``, ``load_state``
- parameters: ``default_parameters``, ``PARAMETERS``, ``replace_parameters``, ``check_parameters``
- running: ``simulate``, ``spin_up``, ``stream``, ``stack_sites``, ``initial_state``
- derivatives: ``value_and_sensitivity``, ``sensitivities``, ``simulate_tangents``
"""

from importlib import import_module
from typing import Any

from jlsm._version import package_version
from jlsm.errors import InputError, RepairWarning

__version__ = package_version()

_HOME = {
    "Forcing": "forcing",
    "Site": "forcing",
    "stack_sites": "forcing",
    "load_forcing": "io",
    "load_state": "io",
    "read_parameters": "io",
    "save_state": "io",
    "to_dataset": "io",
    "write_dataset": "io",
    "Checkpointed": "simulation",
    "ReverseOnly": "simulation",
    "simulate": "simulation",
    "spin_up": "simulation",
    "stream": "simulation",
    "Outputs": "outputs",
    "PARAMETERS": "parameters",
    "PFT_PARAMETERS": "parameters",
    "Parameters": "parameters",
    "check_parameters": "parameters",
    "default_parameters": "parameters",
    "get_parameter": "parameters",
    "replace_parameters": "parameters",
    "sensitivities": "simulation",
    "simulate_tangents": "simulation",
    "value_and_sensitivity": "simulation",
    "State": "state",
    "initial_state": "state",
}
"""Where each public name lives: they are imported when first used, so ``jlsm --help`` need not wait for jax."""

__all__ = ["InputError", "RepairWarning", "__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jlsm' has no attribute {name!r}")
    value = getattr(import_module(f"jlsm.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
