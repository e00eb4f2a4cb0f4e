"""Files in and out: PLUMBER2 forcing, ALMA/CF results, saved states, parameter files.

This is the door; each kind of file has its own module behind it.
"""

from jlsm._datasets import outputs_dataset, parameters_dataset
from jlsm._parameter_file import read_parameters, write_parameters
from jlsm._read import load_forcing, load_site
from jlsm._state_file import load_state, save_state
from jlsm._write import OutputWriter, check_writable, to_dataset, write_dataset

__all__ = [
    "OutputWriter",
    "check_writable",
    "load_forcing",
    "load_site",
    "load_state",
    "outputs_dataset",
    "parameters_dataset",
    "read_parameters",
    "save_state",
    "to_dataset",
    "write_dataset",
    "write_parameters",
]
