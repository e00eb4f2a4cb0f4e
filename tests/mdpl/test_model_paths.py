"""The land surface model as a path of a training."""

from __future__ import annotations

import pytest

from jlsm import InputError, replace_parameters, spin_up
from jlsm.parameters import default_parameters
from mdpl.model_paths import lsm_path
from tests.mdpl.fakes import make_forcing, make_site


def test_a_search_may_pass_where_a_user_is_asked_to_think_again():
    """Within bounds but against a relation: a user's run is refused, a training goes on."""
    forcing, site = make_forcing(days=2), make_site()
    values = {"snow.roughness_heat": 3e-3, "snow.roughness_momentum": 1e-3}
    params = replace_parameters(default_parameters(site), values)
    with pytest.raises(InputError, match=r"snow\.roughness_heat = 0\.003 is larger than snow\.roughness_momentum"):
        spin_up(params, forcing, site, years=0)
    assert lsm_path().spin_up(params, forcing, site, years=0).snow_mass.shape == ()
