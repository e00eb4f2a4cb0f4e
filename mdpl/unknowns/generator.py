"""g_z: one small network that reads a site's weather X and attributes A and writes its parameters' offsets.

    X [time, features] -> encoder -> mean over time --+
                                                      +-> trunk -> head -> offsets [unknowns]
    A [attributes]    -> dense ----------------------+

The head starts at zero, so before the first step every offset is exactly 0: the default model (Tsai et al. 2021,
doi:10.1038/s41467-021-26107-z, for the idea of learning x, A -> parameters through a model). The encoder is a GRU,
an LSTM, a temporal convolution (Bai et al. 2018) or a transformer (Vaswani et al. 2017), all of the same width.
A trained generator is stored with what is needed to apply it at a site it never saw (``load_generator``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jlsm.errors import InputError
from jlsm.forcing import Forcing
from jlsm.parameters import Parameters
from mdpl.files import read_archive, write_archive
from mdpl.files.mark import check_recorded
from mdpl.towers.features import ATTRIBUTE_SCALES, IGBP, SERIES_SCALES, TEXTURES, Features, site_features
from mdpl.towers.load import Tower
from mdpl.towers.split import Split
from mdpl.unknowns.search_space import search_space
from mdpl.unknowns.time_varying import UnknownsLayout

ENCODERS = ("gru", "lstm", "tcn", "transformer")
GENERATOR_FILE = "generator.npz"
HEADS, LEVELS = 4, 4
Weights = dict[str, Array]
"""weights by name"""


class Recurrent(nnx.Module):
    """GRU or LSTM over the series, forwards."""

    def __init__(self, cell: type, inputs: int, hidden: int, rngs: nnx.Rngs):
        self.cell = cell(inputs, hidden, rngs=rngs)
        self.hidden = hidden

    def __call__(self, series: Float[Array, "time features"], mask: Bool[Array, "time"]) -> Float[Array, "time hidden"]:
        zeros = jnp.zeros(self.hidden, series.dtype)
        carry: Any = (zeros, zeros) if isinstance(self.cell, nnx.LSTMCell) else zeros
        return jax.lax.scan(self.cell, carry, series)[1]


class Convolution(nnx.Module):
    """Causal convolutions of dilation 1, 2, 4, 8 with residuals: each period sees the 30 before it."""

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs):
        self.embed = nnx.Linear(inputs, hidden, rngs=rngs)
        self.levels = nnx.List(
            [
                nnx.Conv(hidden, hidden, (3,), kernel_dilation=2**level, padding="CAUSAL", rngs=rngs)
                for level in range(LEVELS)
            ]
        )

    def __call__(self, series: Float[Array, "time features"], mask: Bool[Array, "time"]) -> Float[Array, "time hidden"]:
        hidden_series = self.embed(series)
        for level in self.levels:
            hidden_series = hidden_series + nnx.gelu(level(hidden_series))
        return hidden_series


class Transformer(nnx.Module):
    """Two pre-normalised blocks of attention over all periods; the season in X is their place in time."""

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs):
        self.embed = nnx.Linear(inputs, hidden, rngs=rngs)
        self.attend = nnx.List([nnx.MultiHeadAttention(HEADS, hidden, decode=False, rngs=rngs) for _ in range(2)])
        self.norms = nnx.List([nnx.LayerNorm(hidden, rngs=rngs) for _ in range(4)])
        self.mix = nnx.List([nnx.Linear(hidden, hidden, rngs=rngs) for _ in range(2)])

    def __call__(self, series: Float[Array, "time features"], mask: Bool[Array, "time"]) -> Float[Array, "time hidden"]:
        hidden_series = self.embed(series)
        for i in range(2):
            hidden_series = hidden_series + self.attend[i](self.norms[2 * i](hidden_series), mask=mask[None, None, :])
            hidden_series = hidden_series + nnx.gelu(self.mix[i](self.norms[2 * i + 1](hidden_series)))
        return hidden_series


class Generator(nnx.Module):
    """g_z of one site; ``apply_generator`` maps it over sites."""

    def __init__(self, encoder: str, attributes: int, unknowns: int, hidden: int, rngs: nnx.Rngs):
        inputs = len(SERIES_SCALES)
        cells = {"gru": nnx.GRUCell, "lstm": nnx.LSTMCell}
        if encoder in cells:
            self.encoder = Recurrent(cells[encoder], inputs, hidden, rngs)
        else:
            self.encoder = {"tcn": Convolution, "transformer": Transformer}[encoder](inputs, hidden, rngs)
        self.attributes = nnx.Linear(attributes, hidden, rngs=rngs)
        self.trunk = nnx.Linear(2 * hidden, hidden, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.head = nnx.Linear(hidden, unknowns, kernel_init=zeros, bias_init=zeros, rngs=rngs)

    def __call__(
        self, series: Float[Array, "time features"], mask: Bool[Array, "time"], attributes: Float[Array, "attributes"]
    ) -> Float[Array, "unknowns"]:
        encoded = jnp.where(mask[:, None], self.encoder(series, mask), 0.0)
        mean = encoded.sum(axis=0) / jnp.maximum(mask.sum(), 1)
        joined = jnp.concatenate([jnp.tanh(mean), jnp.tanh(self.attributes(attributes))])
        return self.head(jnp.tanh(self.trunk(joined)))


class GeneratorShape(NamedTuple):
    """What fixes the network apart from its weights."""

    encoder: str
    hidden: int
    layout: UnknownsLayout
    days: int
    """length of a period of X"""
    attributes: int = len(ATTRIBUTE_SCALES) + len(IGBP) + len(TEXTURES)

    def module(self, seed: int) -> Generator:
        """A fresh network."""
        return Generator(self.encoder, self.attributes, self.layout.size, self.hidden, nnx.Rngs(seed))


class PureGenerator:
    """The network as a pure function of its weights (a dict of arrays)."""

    def __init__(self, shape: GeneratorShape, seed: int = 0):
        self.shape = shape
        self._graph, parameters, self._rest = nnx.split(shape.module(seed), nnx.Param, ...)
        named, self._tree = jax.tree_util.tree_flatten_with_path(parameters)
        self._names = [jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
                       for path, _ in named]  # fmt: skip
        self._first = [np.asarray(leaf) for _, leaf in named]

    def initial(self) -> Weights:
        """The weights before training (from the seed)."""
        return {name: jnp.asarray(leaf) for name, leaf in zip(self._names, self._first, strict=True)}

    def __call__(self, weights: Weights, seen: Features) -> Float[Array, "sites unknowns"]:
        """Offsets of all sites."""
        parameters = jax.tree.unflatten(self._tree, [weights[name] for name in self._names])
        dtype = next(iter(weights.values())).dtype
        series, mask, attributes = jnp.asarray(seen.series, dtype), seen.mask, jnp.asarray(seen.attributes, dtype)

        def one(series, mask, attributes):
            return nnx.merge(self._graph, parameters, self._rest)(series, mask, attributes)

        return jax.vmap(one)(series, jnp.asarray(mask), attributes)


class TrainedGenerator(NamedTuple):
    """A generator with its trained weights."""

    network: PureGenerator
    weights: Weights

    def unknowns(self, towers: list[Tower], splits: list[Split | None], days: int | None = None) -> np.ndarray:
        """Offsets and coefficients ``[sites, unknowns]`` of any towers (``splits`` None: all their weather is seen)."""
        return np.asarray(self.network(self.weights, site_features(towers, splits, days or self.network.shape.days)))

    def parameters(self, params: Parameters, unknowns: np.ndarray, forcing: Forcing) -> Parameters:
        """``params`` (``[sites]`` default parameters) with the generated values, time series where declared so."""
        layout = self.network.shape.layout
        space = search_space(layout.keys, params, len(unknowns), drop=False)
        return layout.insert(params, space, jnp.asarray(unknowns), np.arange(len(unknowns)), forcing)


def save_generator(path: Path, network: PureGenerator, weights: Weights) -> None:
    """Write weights and shape to an ``.npz`` file."""
    encoder, hidden, layout, days, attributes = network.shape
    shape = {"encoder": encoder, "hidden": hidden, "days": days, "attributes": attributes, "layout": layout._asdict()}
    write_archive(path, shape, weights)


def load_generator(run_directory: str | Path) -> TrainedGenerator:
    """The generator that a run with ``learner = "network"`` left.

    Raises:
        InputError: no such file, unreadable, not as the run of this directory left it, or from another version's
            features.
    """
    path = Path(run_directory) / GENERATOR_FILE
    absent = "give a finished run directory with learner = 'network'"
    shape, weights = read_archive(path, "train again" if path.is_file() else absent)
    check_recorded(path.parent, [GENERATOR_FILE])
    try:
        layout: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in shape.pop("layout").items()}
        network = PureGenerator(GeneratorShape(layout=UnknownsLayout(**layout), **shape))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable generator ({type(error).__name__}): train again") from error
    fresh = network.initial()
    same = fresh.keys() == weights.keys() and all(fresh[name].shape == weights[name].shape for name in fresh)
    if not same or shape["attributes"] != GeneratorShape._field_defaults["attributes"]:
        raise InputError(f"{path}: written by another version of mdpl (features differ): train again")
    return TrainedGenerator(network, {name: jnp.asarray(leaf) for name, leaf in weights.items()})
