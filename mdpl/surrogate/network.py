"""The multi-task surrogate: a network that answers like the land surface model, much faster.

A slow cell (GRU) steps once a day and carries what the soil would: it hears the finished day's summary, the parameters
and the site. A pointwise decoder gives every half hour's fluxes from the weather now, its recent past, and the slow
state at the start of the day: no input lies in the future. Parameters and slow state act on the decoder as gains and
offsets of its layers, worked out once a day, so that a half hour costs two small layers and the heads.
A day is 24 h from the first step of a run ("midnight" below, wherever the clock stands), and a run is whole days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jlsm.constants import SOIL_LAYER_THICKNESS
from jlsm.errors import InputError
from jlsm.files import digest
from jlsm.forcing import Forcing, Site
from jlsm.outputs import Outputs, output_fields
from jlsm.parameters import PARAMETERS, Parameters
from mdpl.files import read_archive, write_archive
from mdpl.model_paths import ModelPath
from mdpl.surrogate import inputs
from mdpl.towers.intervals import DAY

FORMAT = 2
MEMORY_ITEMS = 2 * len(SOIL_LAYER_THICKNESS) + 1  # the model's stores the slow state accounts for: see surrogate_data
ROWS_AT_ONCE = 2048  # site-steps the decoder takes together: its layers then stay in a core's cache


@dataclass(frozen=True)
class Sizes:
    """Widths of the network."""

    hidden: int = 64
    embedding: int = 48
    context: int = 96
    trunk: tuple[int, int] = (64, 48)
    head: int = 8


class SurrogateState(NamedTuple):
    """What a run hands to the next; columns trail."""

    hidden: Float[Array, "hidden ..."]
    """slow state at the last midnight"""
    past: Float[Array, "past ..."]
    """exponential means of the weather there"""
    leaf_water: Float[Array, "1 ..."]
    """water on leaves there, kg m-2"""


def _bend(x: Array) -> Array:
    """A ramp with a rounded corner (a parabola between -1 and 1): smooth once, and no roots or exponentials."""
    return jnp.maximum(x - 1.0, 0.0) + 0.25 * jnp.square(jnp.clip(x, -1.0, 1.0) + 1.0)


class SurrogateNetwork(nnx.Module):
    """Shared trunk, one head per flux; answers in standard deviations of the flux."""

    def __init__(self, keys: tuple[str, ...], fluxes: tuple[str, ...], sizes: Sizes, seed: int = 0):
        rngs = nnx.Rngs(seed)
        first, second = sizes.trunk
        self.hidden, self.fluxes = sizes.hidden, len(fluxes)
        self.embed_in = nnx.Linear(3 * len(keys) + inputs.ATTRIBUTES, sizes.context, rngs=rngs)
        self.embed_out = nnx.Linear(sizes.context, sizes.embedding, rngs=rngs)
        self.cell = nnx.GRUCell(inputs.SUMMARY + sizes.embedding, sizes.hidden, rngs=rngs)
        self.context_in = nnx.Linear(sizes.hidden + sizes.embedding, sizes.context, rngs=rngs)
        self.context_out = nnx.Linear(sizes.context, 2 * (first + second), rngs=rngs)
        self.trunk_in = nnx.Linear(inputs.FEATURES, first, rngs=rngs)
        self.trunk_out = nnx.Linear(first, second, rngs=rngs)
        # the heads of all fluxes side by side: one multiplication instead of several thin ones
        self.heads_in = nnx.Linear(second, self.fluxes * sizes.head, rngs=rngs)
        self.heads_out = nnx.Param(
            jax.random.normal(rngs.params(), (self.fluxes, sizes.head), jnp.float32) / sizes.head**0.5
        )
        self.heads_offset = nnx.Param(jnp.zeros(self.fluxes, jnp.float32))
        self.memory_out = nnx.Linear(sizes.hidden, MEMORY_ITEMS, rngs=rngs)
        self.widths = (first, first, second, second)

    def embed(self, shares: Array, attributes: Array) -> Array:
        """Parameters ``[days or 1, columns, parameters]`` and attributes ``[columns, :]``, embedded."""
        attributes = jnp.broadcast_to(attributes, (*shares.shape[:-1], attributes.shape[-1]))
        joined = jnp.concatenate([inputs.parameter_features(shares), attributes], axis=-1)
        return jnp.tanh(self.embed_out(_bend(self.embed_in(joined))))

    def remember(self, hidden: Array, summary: Array, embedded: Array, valid: Array | None = None):
        """The slow state ``[days, columns, hidden]`` at the start of each day, and after the last."""
        embedded = jnp.broadcast_to(embedded, (*summary.shape[:2], embedded.shape[-1]))
        heard = jnp.concatenate([summary, embedded], axis=-1)

        def one_day(state, now):
            heard, valid = now
            new = self.cell(state, heard)[0]
            return (new if valid is None else jnp.where(valid[:, None], new, state)), state

        end, starts = jax.lax.scan(one_day, hidden, (heard, valid))
        return starts, end

    def recall(self, hidden: Array) -> Array:
        """Soil water, soil heat and snow ``[..., items]`` as the slow state has them, standardised; training only."""
        return self.memory_out(hidden)

    def decode(self, features: Array, hidden: Array, embedded: Array) -> Array:
        """Fluxes ``[days, fluxes, steps, columns]`` of days whose slow state at midnight is ``hidden``.

        Args:
            features: ``[days, features, steps, columns]``.
            hidden: ``[days, columns, hidden]``.
        """
        embedded = jnp.broadcast_to(embedded, (*hidden.shape[:2], embedded.shape[-1]))
        context = _bend(self.context_in(jnp.concatenate([hidden, embedded], axis=-1)))
        parts = jnp.split(self.context_out(context)[:, None], np.cumsum(self.widths)[:-1], axis=-1)
        # the heads' last weights as one block-diagonal matrix: thin sums are slow
        last = jax.scipy.linalg.block_diag(*self.heads_out[...][..., None])

        def steps(features: Array) -> Array:
            features = jnp.moveaxis(features, 1, -1)  # products are fastest with a row per half hour and column
            x = _bend(self.trunk_in(features) * (1.0 + parts[0]) + parts[1])
            x = _bend(self.trunk_out(x) * (1.0 + parts[2]) + parts[3])
            return jnp.moveaxis(_bend(self.heads_in(x)) @ last + self.heads_offset[...], -1, 1)

        days, _, count, columns = features.shape
        pieces = next(
            n
            for n in range(1, count + 1)
            if count % n == 0 and (n == count or days * count * columns <= n * ROWS_AT_ONCE)
        )
        if days > 1 or pieces == 1:
            return steps(features)
        # one day of many columns: some steps at a time
        rows = jnp.moveaxis(features.reshape(1, -1, pieces, count // pieces, columns), 2, 0)
        return jnp.moveaxis(jax.lax.map(steps, rows), 0, 2).reshape(1, -1, count, columns)


@dataclass(frozen=True, eq=False)  # compared by identity: compiled code belongs to one surrogate
class Surrogate:
    """A network with what turns its answers into fluxes."""

    network: Network
    keys: tuple[str, ...]
    fluxes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: Sizes
    card: dict

    @property
    def identity(self) -> str:
        """SHA-256 of all that its answers depend on."""
        return digest(self._facts(), self._weights())

    def _facts(self) -> dict[str, Any]:
        bounds = [(PARAMETERS[key].lower, PARAMETERS[key].upper) for key in self.keys]
        return {"format": FORMAT, "keys": self.keys, "fluxes": self.fluxes, "mean": self.mean, "std": self.std,
                "bounds": bounds, "sizes": asdict(self.sizes)}  # fmt: skip

    def _weights(self) -> dict[str, np.ndarray]:
        leaves = jax.tree.leaves(nnx.state(self.network, nnx.Param))
        return {f"w{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}

    def start(self, columns: int, dtype) -> SurrogateState:
        """The state before anything was heard, ``[:, columns]``."""
        past = len(inputs.MEMORY) * inputs.REMEMBERED
        return SurrogateState(*(jnp.zeros((rows, columns), dtype) for rows in (self.sizes.hidden, past, 1)))

    def simulate(
        self,
        params: Parameters,
        forcing: Forcing,
        site: Site,
        state: SurrogateState,
        fields: tuple[str, ...] | None = None,
    ) -> tuple[Outputs, SurrogateState]:
        """Fluxes over whole days, as ``jlsm.simulate`` gives them: pure and differentiable.

        Args:
            params: as for jlsm; those in ``keys`` act, others only as site attributes. A time series enters by its
                daily means.
            forcing: ``[time]`` or ``[time, columns]``, half-hourly or hourly, whole days.
            state: from ``spin_up`` or an earlier run.
            fields: outputs wanted; the surrogate gives its ``fluxes`` and None for all others.

        Raises:
            InputError: not whole days, or another time step.
        """
        options, site = _steps_per_day(forcing), site.numeric()
        if len(options) == 1:
            return self._simulate(params, forcing, site, state, fields, options[0])
        # under jit the step is a number like any other: both clocks are compiled, one runs
        return jax.lax.cond(
            jnp.max(forcing.dt) < 2700.0,
            lambda: self._simulate(params, forcing, site, state, fields, 48),
            lambda: self._simulate(params, forcing, site, state, fields, 24),
        )

    @partial(jax.jit, static_argnames=("self", "fields", "per_day"))
    def _simulate(self, params, forcing, site, state, fields, per_day):
        shape = forcing.Tair.shape[1:]
        columns, days = int(np.prod(shape)), forcing.steps // per_day
        now, air = inputs.scaled_weather(forcing, site, per_day), inputs.drying_weather(forcing, per_day)
        hidden, past, leaf_water = (leaf.reshape(leaf.shape[0], columns) for leaf in state)
        embedded = self.network.embed(
            inputs.parameter_shares(params, self.keys, shape, per_day),
            inputs.site_attributes(params, site, columns),
        )
        # weather may come in single precision while parameters are in double: the wider one carries on
        traits = inputs.leaf_traits(params, shape, per_day)
        dtype = jnp.result_type(now, hidden, past, embedded, traits, leaf_water)
        now, hidden, past, air, leaf_water = (part.astype(dtype) for part in (now, hidden, past, air, leaf_water))
        valid = None if forcing.valid is None else forcing.valid.reshape(days, per_day, columns).all(axis=1)
        wet, leaf_water = inputs.wet_leaves(inputs.leaves(air, traits), leaf_water[0])
        starts, end = self.network.remember(hidden.T, inputs.day_summary(now, air, wet), embedded, valid)
        midnights, past = inputs.past_at_midnight(now, past)
        embedded = jnp.broadcast_to(embedded, (days, *embedded.shape[1:]))

        @jax.checkpoint
        def decode(part):
            now, midnight, wet, start, embedded = part
            return self.network.decode(inputs.decoder_inputs(now, midnight, wet), start, embedded)

        together = max(
            d for d in range(1, days + 1) if days % d == 0 and (d == 1 or d * per_day * columns <= ROWS_AT_ONCE)
        )
        rows = jax.tree.map(
            lambda leaf: leaf.reshape(days // together, together, *leaf.shape[1:]),
            (now, midnights, wet, starts, embedded),
        )
        answers = jax.lax.map(decode, rows).reshape(days, len(self.fluxes), per_day, columns)
        values = dict.fromkeys(output_fields())
        for i, flux in enumerate(self.fluxes):
            if fields is None or flux in fields:
                values[flux] = answers[:, i].reshape(forcing.steps, *shape) * self.std[i] + self.mean[i]
        back = SurrogateState(*(leaf.reshape(-1, *shape) for leaf in (end.T, past, leaf_water)))
        return Outputs(**values), back

    def spin_up(
        self,
        params: Parameters,
        forcing: Forcing,
        site: Site,
        years: float | int = 3,
        state=None,
        simulate: Callable[..., tuple[Outputs, SurrogateState]] | None = None,
    ):
        """State after the record's first year (all of it, if shorter), again and again, for about ``years`` years."""
        per_day = _steps_per_day(forcing)[0]
        shape = forcing.Tair.shape[1:]
        days = min(365, forcing.steps // per_day)
        first = forcing.window(0, days * per_day)
        if state is None:
            state = self.start(int(np.prod(shape)), forcing.Tair.dtype)
            state = SurrogateState(*(leaf.reshape(-1, *shape) for leaf in state))
        params = jax.tree.map(lambda v: v[: first.steps] if jnp.ndim(v) > len(shape) else v, params)
        for _ in range(int(-(-years * 365 // days))):
            state = (simulate or self.simulate)(params, first, site, state, fields=())[1]
        return state

    def save(self, path: str | Path) -> None:
        """Weights, scales and card in one ``.npz`` file; whole or not at all."""
        write_archive(Path(path), self._facts() | {"card": self.card}, self._weights())


def _steps_per_day(forcing: Forcing) -> tuple[int, ...]:
    """Steps in 24 h; both possibilities where the step is traced and the record fits either."""
    fitting = tuple(n for n in (48, 24) if forcing.steps % n == 0)
    try:
        lengths = set(np.ravel(np.asarray(forcing.dt)).tolist())
    except jax.errors.TracerArrayConversionError:  # a traced step has no value yet
        lengths = None
    if lengths is not None:
        if len(lengths) != 1 or not lengths <= {1800.0, 3600.0}:
            raise InputError(
                f"surrogate: time step {sorted(lengths)} s: it runs at 1800 s or at 3600 s, one for all sites"
            )
        fitting = tuple(n for n in fitting if DAY / n in lengths)
    if not fitting:
        raise InputError(f"surrogate: {forcing.steps} steps are not whole days: give a window of whole days")
    return fitting


REMEDY = "delete it and train again"


def load_surrogate(path: str | Path) -> Surrogate:
    """A saved surrogate. Raises InputError: no such file, not a surrogate, damaged, or of other parameter bounds."""
    path = Path(path)
    facts, arrays = read_archive(path, "train a surrogate first" if not path.is_file() else REMEDY)
    try:
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, not {FORMAT}")
        sizes = Sizes(**(facts["sizes"] | {"trunk": tuple(facts["sizes"]["trunk"])}))
        keys, fluxes = tuple(facts["keys"]), tuple(facts["fluxes"])
        if [tuple(bound) for bound in facts["bounds"]] != [(PARAMETERS[k].lower, PARAMETERS[k].upper) for k in keys]:
            raise ValueError("the parameters' bounds have changed since it was trained")
        network = SurrogateNetwork(keys, fluxes, sizes)
        expected, structure = jax.tree.flatten(nnx.state(network, nnx.Param))
        leaves = [arrays[f"w{i}"] for i in range(len(arrays))]
        if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in expected]:
            raise ValueError("weights of other shapes")
        nnx.update(network, jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves]))
        mean, std = tuple(facts["mean"]), tuple(facts["std"])
        return Surrogate(network, keys, fluxes, mean, std, sizes, facts["card"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a usable surrogate ({error}): {REMEDY}") from error


def surrogate_path(surrogate: Surrogate) -> ModelPath:
    """The model path through a trained surrogate.

    Its windows are whole days, half-hourly or hourly; outputs it does not give are None.
    """
    return ModelPath(surrogate.simulate, surrogate.spin_up, identity=surrogate.identity)


def with_card(surrogate: Surrogate, card: dict) -> Surrogate:
    """The same surrogate with another card."""
    return replace(surrogate, card=card)
