"""jlsm: the land surface model MATSIRO6 in JAX, differentiable from weather to fluxes.

This page is the table of contents:

- input and output: ``load_forcing``, ``save_state``, ``load_state``; ``to_dataset`` (one site, as in result files)
- as xarray, sites side by side: ``outputs_dataset``, ``parameters_dataset``
- parameters: ``default_parameters``, ``PARAMETERS``, ``replace_parameters``, ``check_parameters``
- running: ``simulate``, ``spin_up``, ``stream``, ``stack_sites``, ``initial_state``; on many devices: ``column_mesh``,
  ``over_devices``, ``tangents_over_devices``
- derivatives: ``Checkpointed``, ``ReverseOnly``; ``value_and_sensitivity``, ``sensitivities``, ``simulate_tangents``
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jlsm._version import package_version
from jlsm.errors import InputError, RepairWarning

if TYPE_CHECKING:  # what editors and type checkers see; a test compares it with ``_HOME``
    from jlsm.forcing import Forcing as Forcing
    from jlsm.forcing import Site as Site
    from jlsm.forcing import stack_sites as stack_sites
    from jlsm.io import load_forcing as load_forcing
    from jlsm.io import load_state as load_state
    from jlsm.io import outputs_dataset as outputs_dataset
    from jlsm.io import parameters_dataset as parameters_dataset
    from jlsm.io import read_parameters as read_parameters
    from jlsm.io import save_state as save_state
    from jlsm.io import to_dataset as to_dataset
    from jlsm.io import write_dataset as write_dataset
    from jlsm.outputs import Outputs as Outputs
    from jlsm.parameters import PARAMETERS as PARAMETERS
    from jlsm.parameters import PFT_PARAMETERS as PFT_PARAMETERS
    from jlsm.parameters import Parameters as Parameters
    from jlsm.parameters import check_parameters as check_parameters
    from jlsm.parameters import default_parameters as default_parameters
    from jlsm.parameters import get_parameter as get_parameter
    from jlsm.parameters import replace_parameters as replace_parameters
    from jlsm.simulation import Checkpointed as Checkpointed
    from jlsm.simulation import ReverseOnly as ReverseOnly
    from jlsm.simulation import column_mesh as column_mesh
    from jlsm.simulation import over_devices as over_devices
    from jlsm.simulation import sensitivities as sensitivities
    from jlsm.simulation import simulate as simulate
    from jlsm.simulation import simulate_tangents as simulate_tangents
    from jlsm.simulation import spin_up as spin_up
    from jlsm.simulation import stream as stream
    from jlsm.simulation import tangents_over_devices as tangents_over_devices
    from jlsm.simulation import value_and_sensitivity as value_and_sensitivity
    from jlsm.state import State as State
    from jlsm.state import initial_state as initial_state

__version__ = package_version()

_HOME = {
    "Forcing": "forcing",
    "Site": "forcing",
    "stack_sites": "forcing",
    "load_forcing": "io",
    "load_state": "io",
    "outputs_dataset": "io",
    "parameters_dataset": "io",
    "read_parameters": "io",
    "save_state": "io",
    "to_dataset": "io",
    "write_dataset": "io",
    "Checkpointed": "simulation",
    "ReverseOnly": "simulation",
    "column_mesh": "simulation",
    "over_devices": "simulation",
    "tangents_over_devices": "simulation",
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

__all__ = ["InputError", "RepairWarning", "__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jlsm' has no attribute {name!r}")
    value = getattr(import_module(f"jlsm.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
