"""Files in and out: PLUMBER2 forcing, ALMA/CF results, saved states, parameter files.

This is the door; each kind of file has its own module behind it.
"""

from jlsm.files import check_writable
from jlsm.io.datasets import outputs_dataset, parameters_dataset
from jlsm.io.met import load_forcing, load_site
from jlsm.io.parameter_file import read_parameters, write_parameters
from jlsm.io.result import OutputWriter, members_dataset, to_dataset, write_dataset
from jlsm.io.state_file import load_state, save_state

__all__ = [
    "OutputWriter",
    "check_writable",
    "load_forcing",
    "load_site",
    "load_state",
    "members_dataset",
    "outputs_dataset",
    "parameters_dataset",
    "read_parameters",
    "save_state",
    "to_dataset",
    "write_dataset",
    "write_parameters",
]
