"""Running the model: over a record, to a state in balance, and with derivatives."""

from jlsm.simulation.adjoint import Checkpointed, ReverseOnly
from jlsm.simulation.devices import column_mesh, over_devices, tangents_over_devices
from jlsm.simulation.equilibrium import spin_up
from jlsm.simulation.run import simulate, stream
from jlsm.simulation.sensitivity import sensitivities, simulate_tangents, value_and_sensitivity

__all__ = [
    "Checkpointed",
    "ReverseOnly",
    "column_mesh",
    "over_devices",
    "sensitivities",
    "simulate",
    "simulate_tangents",
    "spin_up",
    "stream",
    "tangents_over_devices",
    "value_and_sensitivity",
]
