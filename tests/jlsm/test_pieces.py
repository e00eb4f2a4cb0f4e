"""A time loop evaluated in pieces, against ``jax.lax.scan``, and what it is made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

from jlsm.numerics.jaxprs import pieces
from jlsm.numerics.jaxprs.cutting import cuts, places_for
from jlsm.numerics.jaxprs.operations import Computed
from jlsm.numerics.jaxprs.packing import pack_tree
from jlsm.numerics.jaxprs.pieces import scan_in_pieces

ON = jnp.asarray(True)
BETWEEN = jnp.linspace(-1.0, 2.0, 5)


def long_step(carry, row):
    """Calls, several results of one operation, results that are inputs, constants and dead ends, a loop, a branch."""
    x, count = carry["x"], carry["count"]
    fixed = jnp.tanh(jnp.exp(BETWEEN))  # the same in every step
    for k in range(20):
        x = jnp.sin(x) + 0.1 * k * jnp.maximum(x, row["y"]) * fixed
    unused = jnp.exp(x)  # noqa: F841
    largest, where = jax.lax.top_k(x, 2)
    turned = jax.lax.fori_loop(0, 3, lambda _, v: v * 1.5 - fixed, x)
    chosen = jax.lax.cond(row["y"][0] > 0.5, lambda: turned, lambda: x)
    new = {"x": 0.5 * jnp.tanh(x) + carry["same"], "count": count + 1, "same": carry["same"]}
    return new, ({"x": x, "two": (largest, where), "same": row["y"], "fixed": jnp.arange(3)}, (chosen, x > 0.0), ())


CARRY = {"x": BETWEEN, "count": jnp.asarray(2), "same": jnp.full(5, 0.1)}
ROWS = {"y": jnp.sin(jnp.arange(30.0)).reshape(6, 5)}


def close(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
        assert a.dtype == b.dtype


def unpacked(once, carry, rows, step=long_step, **options):
    end, outputs = scan_in_pieces(step, carry, rows, once, **options)
    return end, tuple(packed.unpack() for packed in outputs)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("small", "loop", "piece"),
    [(10**9, 300, 1), (1000, 300, 7), (10**9, 300, 1000), (0, 1, 1), (0, 20, 1), (0, 999, 1)],
)
def test_it_gives_what_the_scan_gives(monkeypatch, small, loop, piece, reverse):
    monkeypatch.setattr(pieces, "LOOP_BYTES", small)
    monkeypatch.setattr(pieces, "LOOP", loop)
    monkeypatch.setattr(pieces, "PIECE", piece)
    found = jax.jit(lambda *a: unpacked(*a, reverse=reverse))(ON, CARRY, ROWS)
    close(found, jax.lax.scan(long_step, CARRY, ROWS, reverse=reverse))


@pytest.mark.parametrize("small", [10**9, 0])
def test_what_is_not_finite_stays(monkeypatch, small):
    monkeypatch.setattr(pieces, "LOOP_BYTES", small)

    def step(x, row):
        return jnp.log(x), (2.0 * jnp.log(x) + row,)

    end, (outputs,) = unpacked(ON, jnp.asarray([-1.0, 0.0, 1.0]), jnp.zeros(2), step=step)
    np.testing.assert_array_equal(end, [np.nan, np.nan, -np.inf])
    np.testing.assert_array_equal(outputs[0], [np.nan, -np.inf, 0.0])


def test_the_step_is_cut(monkeypatch):
    """Loops and branches: what keeps the compiler from merging the pieces."""
    monkeypatch.setattr(pieces, "LOOP_BYTES", 3000)
    monkeypatch.setattr(pieces, "PIECE", 10)
    text = jax.jit(lambda *a: unpacked(*a)).lower(ON, CARRY, ROWS).as_text()
    assert 5 <= text.count("stablehlo.while") <= 30
    assert 10 <= text.count("stablehlo.case") <= 50


@pytest.mark.parametrize(("platform", "same"), [("cuda", True), ("tpu", True), ("cpu", False)])
def test_elsewhere_it_is_the_plain_scan(platform, same):
    """No loops but its own on a GPU: each would wait for the host."""

    def loops(function):
        text = export.export(jax.jit(function), platforms=[platform])(ON, CARRY, ROWS).mlir_module()
        return text.count("stablehlo.while")

    plain = loops(lambda _, carry, rows: jax.lax.scan(long_step, carry, rows))
    assert (loops(unpacked) == plain) == same


@pytest.mark.parametrize(("small", "before"), [(10**9, 1), (0, 0)])
def test_small_loops_leave_what_stays_the_same_to_be_evaluated_before(monkeypatch, small, before):
    monkeypatch.setattr(pieces, "LOOP_BYTES", small)

    def whole(weight):
        return unpacked(ON, CARRY, ROWS, step=lambda carry, row: (carry, (jnp.tanh(weight) * row["y"],)))

    assert str(jax.make_jaxpr(whole)(BETWEEN)).split("scan[")[0].count("= tanh") == before


def test_places_are_taken_again():
    values = [Computed(jax.typeof(jnp.ones(3))) for _ in range(40)]
    last = {value: number + 1 for number, value in enumerate(values)}
    which, places = places_for([[value] for value in values], list(range(40)), last)
    assert 2 <= len(places) <= 3
    alive = [(number, number + 1, which[number][0]) for number in range(40)]
    assert not any(a[2] == b[2] and a[0] < b[0] <= a[1] for a in alive for b in alive)


@given(
    weights=st.lists(st.floats(0.0, 3.0), max_size=60),
    crossed=st.lists(st.integers(0, 9), min_size=70, max_size=70),
    begin=st.integers(0, 5),
)
@settings(deadline=None)
def test_cuts_cover_everything_once(weights, crossed, begin):
    borders = cuts(weights, crossed, begin)
    assert [n for first, stop in borders for n in range(first, stop)] == list(range(begin, begin + len(weights)))
    for first, stop in borders[:-1]:
        own = weights[first - begin : stop - begin]
        assert sum(own) >= 0.5
        assert sum(own[:-1]) < 1.5


def test_packing_keeps_types_order_and_axes_in_front():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": (jnp.asarray([True, False]), jnp.arange(2)), "c": jnp.ones((2, 1))}
    close(pack_tree(tree).unpack(), tree)
    assert len(pack_tree(tree).arrays) == 3
    close(pack_tree(tree, leading=1).unpack(), tree)
    assert [x.shape for x in pack_tree(tree, leading=1).arrays] == [(2, 4), (2, 1), (2, 1)]
    close(jax.tree.map(lambda x: x[1], pack_tree(tree, leading=1)).unpack(), jax.tree.map(lambda x: x[1], tree))
    assert pack_tree(()).unpack() == ()
