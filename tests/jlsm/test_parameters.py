"""The parameter table and the class tables that fill it."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from jlsm.forcing import Site
from jlsm.parameter_tables import IGBP_CLASSES, IGBP_SOURCES, SOIL_CLASSES, SOIL_SOURCES
from jlsm.parameters import (
    PARAMETERS,
    PFT_PARAMETERS,
    Parameters,
    Soil,
    Vegetation,
    check_parameter_values,
    check_parameters,
    default_parameters,
    get_parameter,
    parameter_key,
    replace_parameters,
    source_of,
)

IGBP_17 = "ENF EBF DNF DBF MF CSH OSH WSA SAV GRA WET CRO URB CNM SNO BSV WAT".split()
USDA_12 = [
    "sand", "loamy sand", "sandy loam", "silt loam", "silt", "loam",
    "sandy clay loam", "silty clay loam", "clay loam", "sandy clay", "silty clay", "clay",
]  # fmt: skip


def make_site(igbp="CRO", soil_texture="loam", canopy_height=math.nan, columns=()):
    """A site (or a stack of them, where ``columns`` is not empty) of the given classes."""

    def filled(value):
        return jnp.full(columns, value, dtype=float)

    return Site(
        latitude=filled(51.1),
        longitude=filled(10.9),
        elevation=filled(160.0),
        reference_height=filled(6.0),
        canopy_height=filled(canopy_height),
        utc_offset=filled(1.0),
        code="XX-Tst" if columns == () else ("XX-Tst",) * columns[0],
        igbp=igbp,
        soil_texture=soil_texture,
    )


# --- the table itself -------------------------------------------------------------------------


def test_the_table_holds_every_field_of_parameters_and_nothing_else():
    names = [
        f"{group}.{field}"
        for group in Parameters.__dataclass_fields__
        for field in getattr(default_parameters(make_site()), group).__dataclass_fields__
    ]
    assert names == list(PARAMETERS)


@pytest.mark.parametrize("key", PARAMETERS)
def test_every_parameter_states_unit_description_source_and_ordered_bounds(key):
    info = PARAMETERS[key]
    assert info.unit and info.description and info.source
    assert info.lower < info.upper
    assert info.lower <= info.default <= info.upper


def test_the_calibrated_plant_parameters_are_those_of_the_design():
    """PHYSICS.md names what MdPL calibrates at least."""
    named = """vcmax25 ball_berry_slope ball_berry_intercept quantum_efficiency dark_respiration_fraction
        high_temperature_limit low_temperature_limit leaf_reflectance_vis leaf_reflectance_nir
        leaf_transmittance_vis leaf_transmittance_nir leaf_drag_coefficient leaf_heat_coefficient canopy_height
        vegetation_cover canopy_water_capacity root_depth_scale critical_water_potential soil_evaporation_a1
        soil_evaporation_a2""".split()
    assert {parameter_key(name) for name in named} <= set(PFT_PARAMETERS)


# --- class values -----------------------------------------------------------------------------


def test_all_igbp_classes_and_all_usda_textures_are_there():
    assert set(IGBP_17) <= set(IGBP_CLASSES)
    assert set(USDA_12) == set(SOIL_CLASSES)
    assert IGBP_CLASSES["CVM"] == IGBP_CLASSES["CNM"]


def test_class_tables_name_real_fields_and_give_each_a_source():
    for table, sources, group in (
        (IGBP_CLASSES, IGBP_SOURCES, Vegetation),
        (SOIL_CLASSES, SOIL_SOURCES, Soil),
    ):
        for name, row in table.items():
            assert set(row) <= set(group.__dataclass_fields__), name
            assert set(row) <= set(sources), name
        assert all(sources.values())


@pytest.mark.parametrize("igbp", IGBP_CLASSES)
@pytest.mark.parametrize("texture", SOIL_CLASSES)
def test_every_class_and_texture_gives_parameters_inside_their_bounds(igbp, texture):
    params = default_parameters(make_site(igbp, texture))
    check_parameters(params)
    for leaf in jax.tree.leaves(params):
        assert leaf.shape == ()
        assert leaf.dtype == jnp.zeros(()).dtype


@pytest.mark.parametrize("igbp", IGBP_CLASSES)
def test_leaves_absorb_light_in_both_bands(igbp):
    row = IGBP_CLASSES[igbp]
    for band in ("vis", "nir"):
        assert 0 < row[f"leaf_reflectance_{band}"] + row[f"leaf_transmittance_{band}"] < 1
    assert row["low_temperature_limit"] < row["high_temperature_limit"]


def test_crops_know_their_pathway():
    fractions = [IGBP_CLASSES[name]["c4_fraction"] for name in ("CRO", "CRO_MIXED", "CRO_C4")]
    assert fractions == [0.0, 0.5, 1.0]
    params = default_parameters(make_site("CRO"), c4_fraction=0.25)
    assert params.vegetation.c4_fraction == 0.25


def test_root_depth_follows_from_the_published_beta():
    """Jackson et al. (1996): Y = 1 - beta**d, d in cm, is 1 - 1/e at the e-folding depth."""
    beta = {"CRO": 0.961, "GRA": 0.943, "ENF": 0.976, "DBF": 0.966, "EBF": 0.962, "SAV": 0.972, "CSH": 0.964,
            "BSV": 0.975, "WET": 0.914, "DNF": 0.943}  # fmt: skip
    for igbp, value in beta.items():
        assert IGBP_CLASSES[igbp]["root_depth_scale"] == pytest.approx(-0.01 / math.log(value), abs=6e-4)


@pytest.mark.parametrize("texture", SOIL_CLASSES)
def test_soil_heat_follows_from_the_porosity(texture):
    """Dry heat capacity (de Vries 1963), dry conductivity (Johansen 1975), and a plausible wet one."""
    row = SOIL_CLASSES[texture]
    solid = 1 - row["porosity"]
    assert row["heat_capacity"] == pytest.approx(solid * 2.0e6, rel=1e-3)
    bulk_density = solid * 2700
    dry = (0.135 * bulk_density + 64.7) / (2700 - 0.947 * bulk_density)
    assert row["heat_conductivity"] == pytest.approx(dry, abs=6e-4)
    wet = row["heat_conductivity"] * (1 + 6 * math.tanh(row["porosity"] / 0.25))
    assert 1.0 < wet < 2.2


def test_silt_follows_from_the_regressions_of_cosby():
    """Cosby et al. (1984) univariate regressions at 7 % sand, 6 % clay; psi in cm, K in inch per hour."""
    sand, clay, row = 7.0, 6.0, SOIL_CLASSES["silt"]
    assert row["porosity"] == pytest.approx(0.489 - 0.00126 * sand, abs=5e-4)
    assert row["clapp_hornberger_b"] == pytest.approx(2.91 + 0.159 * clay, abs=5e-3)
    assert row["saturated_potential"] == pytest.approx(-0.01 * 10 ** (1.88 - 0.0131 * sand), abs=5e-4)
    assert row["saturated_conductivity"] == pytest.approx(0.0254 / 3600 * 10 ** (-0.884 + 0.0153 * sand), rel=5e-3)


# --- sites ------------------------------------------------------------------------------------


def test_a_stack_of_sites_has_one_value_per_column():
    igbp, textures = ("CRO", "ENF", "GRA"), ("clay", "sand", "loam")
    params = default_parameters(make_site(igbp, textures, columns=(3,)))
    check_parameters(params, columns=(3,))
    for leaf in jax.tree.leaves(params):
        assert leaf.shape == (3,)
    for i in range(3):
        alone = default_parameters(make_site(igbp[i], textures[i]))
        for stacked, single in zip(jax.tree.leaves(params), jax.tree.leaves(alone), strict=True):
            assert stacked[i] == single


def test_the_canopy_height_of_the_site_replaces_that_of_the_class():
    assert default_parameters(make_site(canopy_height=0.4)).vegetation.canopy_height == pytest.approx(0.4)
    by_class = default_parameters(make_site(canopy_height=math.nan)).vegetation.canopy_height
    assert by_class == IGBP_CLASSES["CRO"]["canopy_height"]
    info = PARAMETERS["vegetation.canopy_height"]
    assert default_parameters(make_site(canopy_height=0.0)).vegetation.canopy_height == pytest.approx(info.lower)


def test_soil_texture_may_be_overridden_for_one_site_and_for_a_stack():
    assert default_parameters(make_site(), soil_texture="clay").soil.porosity == pytest.approx(0.482)
    stack = make_site(("CRO", "GRA"), ("loam", "loam"), columns=(2,))
    np.testing.assert_allclose(default_parameters(stack, soil_texture="clay").soil.porosity, [0.482, 0.482])


@pytest.mark.parametrize("site, word", [(make_site(igbp="CROPS"), "'CROPS'"), (make_site(soil_texture="mud"), "'mud'")])
def test_an_unknown_class_is_named_in_one_line(site, word):
    with pytest.raises(InputError) as error:
        default_parameters(site)
    assert word in str(error.value) and "XX-Tst" in str(error.value) and "\n" not in str(error.value)


def test_the_source_of_a_class_value_is_the_class_table():
    site = make_site()
    assert source_of("vegetation.root_depth_scale", site) == IGBP_SOURCES["root_depth_scale"]
    assert source_of("soil.heat_capacity", site) == SOIL_SOURCES["heat_capacity"]
    assert source_of("snow.density", site) == source_of("snow.density") == PARAMETERS["snow.density"].source


# --- names, checks, replacement ---------------------------------------------------------------


def test_a_name_is_found_with_and_without_its_group():
    assert parameter_key("vcmax25") == parameter_key("vegetation.vcmax25") == "vegetation.vcmax25"
    with pytest.raises(InputError, match="unknown parameter 'vcmax'"):
        parameter_key("vcmax")


def test_a_name_of_two_groups_is_ambiguous():
    with pytest.raises(InputError) as error:
        parameter_key("roughness_heat")
    assert "soil.roughness_heat" in str(error.value) and "snow.roughness_heat" in str(error.value)


def test_bad_values_are_refused_in_one_line_that_names_parameter_and_file():
    params = default_parameters(make_site())
    for value, word in ((0.9, "outside its bounds"), (jnp.nan, "nan"), (jnp.zeros(7), "shape")):
        with pytest.raises(InputError) as error:
            check_parameters(replace_parameters(params, {"porosity": value}), steps=48, file="p.toml")
        message = str(error.value)
        assert word in message and "soil.porosity" in message and message.startswith("p.toml:") and "\n" not in message


def test_one_bad_moment_of_a_time_series_is_refused():
    params = default_parameters(make_site())
    series = jnp.full(48, 0.4)
    check_parameters(replace_parameters(params, {"porosity": series}), steps=48)
    series = series.at[17].set(2.0)
    with pytest.raises(InputError, match="soil.porosity = 2 "):
        check_parameters(replace_parameters(params, {"porosity": series}), steps=48)


def test_every_bound_itself_is_allowed():
    params = default_parameters(make_site())
    for edge in ("lower", "upper"):
        check_parameters(replace_parameters(params, {key: getattr(info, edge) for key, info in PARAMETERS.items()}))


def test_replacing_changes_what_is_named_and_nothing_else():
    params = default_parameters(make_site())
    changed = replace_parameters(params, {"vcmax25": 55.0, "snow.roughness_heat": 0.002})
    assert get_parameter(changed, "vcmax25") == 55.0
    assert get_parameter(changed, "snow.roughness_heat") == pytest.approx(0.002)
    back = replace_parameters(
        changed, {"vcmax25": params.vegetation.vcmax25, "snow.roughness_heat": params.snow.roughness_heat}
    )
    assert eqx.tree_equal(back, params)


def test_replacing_is_differentiable_and_works_compiled():
    params = default_parameters(make_site())

    @jax.jit
    def loss(value):
        changed = replace_parameters(params, {"vcmax25": value})
        return changed.vegetation.vcmax25**2 + changed.soil.porosity

    gradient = jax.grad(loss)(jnp.asarray(50.0))
    assert gradient == pytest.approx(100.0)


def test_nothing_is_below_a_bound_of_zero():
    """Found by ten thousand parameter files: the tolerance for rounding is of the bound, not of the range."""
    params = default_parameters(make_site(columns=(1,)))
    for value in (-3.5e-215, -1e-9):
        with pytest.raises(InputError, match=r"snow\.dirt_ageing = -.* is outside its bounds \[0, 1\]"):
            check_parameter_values(replace_parameters(params, {"snow.dirt_ageing": jnp.asarray([value])}))
    check_parameter_values(replace_parameters(params, {"snow.dirt_ageing": jnp.asarray([1.0 + 1e-7])}))
