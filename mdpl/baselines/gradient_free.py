"""Gradient-free calibration: what the same loss reaches, at the same number of model runs, without derivatives.

The objective is the one by which ``mdpl.training`` keeps its best epoch: the loss of one continuous run over the
training record, from the spun-up state of the default parameters and one more pass over the first year with the
parameters tried, in the same unconstrained space (``mdpl.unknowns.search_space``). Every site is its own problem. One
evaluation runs the candidates of all sites side by side, as columns of one compiled model; a candidate of one site
over the training record is one model run.

``cma`` is CMA-ES (Hansen 2016, arXiv:1604.00772; package ``cma``). ``de`` is differential evolution (Storn and Price
1997, doi:10.1023/A:1008202821328; ``scipy``). It stands in for SCE-UA (Duan et al. 1992): the kept package with SCE-UA,
spotpy 1.6, asks for one candidate at a time and draws from NumPy's global generator, so it can share neither a
batch nor a seed with anything.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Float

from jlsm.errors import InputError
from mdpl.model_paths import at_columns
from mdpl.towers.intervals import interval_means
from mdpl.training.problem import Problem, Task
from mdpl.training.windows import Columns

METHODS = ("cma", "de")
WIDEST = 8.0
"""largest unconstrained number tried: sigmoid(8) is 0.03 % of the range from a bound"""
FIRST_STEP = 0.5
"""CMA-ES's first standard deviation, and the spread of differential evolution's first members"""


class HistoryRow(NamedTuple):
    """Where a search stood after some number of model runs."""

    model_run_equivalents: int
    """model runs of this site so far, the default's included"""
    site: str
    loss: float
    """lowest loss of the training record so far"""


class SearchResult(NamedTuple):
    """What a gradient-free search gives back."""

    values: Float[np.ndarray, "sites parameters"]
    """best parameter values; the exact default where nothing beat it"""
    losses: Float[np.ndarray, "sites"]
    history: list[HistoryRow]
    traces: int
    """how often the batched model was traced (1: no recompilation)"""


class RecordLoss:
    """Loss of the continuous training record for several candidates of every site at once."""

    def __init__(self, problem: Problem, task: Task, members: int):
        self.problem, self.members = problem, members
        self.group, self.space = task.group, task.space
        sites = len(task.group.towers)
        # member by member, all sites: column m * sites + s is candidate m of site s
        self.columns = np.tile(np.arange(sites), members)
        self.default = at_columns(task.default, self.columns)
        self.site = at_columns(task.runner.site, self.columns)
        state = task.runner.spin_up(task.default)
        self.start = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[..., self.columns]), state)
        self.windows = self.group.last_training_window() + 1
        self.traces = 0
        self._window = jax.jit(self._run_window)
        self._losses = jax.jit(partial(problem.losses, self.columns.size))

    def _run_window(self, params, forcing, state):
        self.traces += 1
        group, simulate = self.group, self.problem.path.simulate
        outputs, state = simulate(params, forcing, self.site, state, fields=tuple(group.observed))
        return {f: interval_means(getattr(outputs, f), group.ratio, group.offset) for f in group.observed}, state

    def __call__(
        self, values: Float[np.ndarray, "members sites parameters"], exact_start: bool = False
    ) -> Float[np.ndarray, "members sites"]:
        """Losses of bounded parameter values.

        Args:
            values: candidates.
            exact_start: start from the spun-up state itself (right for the default, whose state it is) instead of
                after one more pass over the first year.
        """
        dtype = np.result_type(self.group.series["Tair"])
        flat = jnp.asarray(values.reshape(-1, values.shape[-1]), dtype)
        params = self.space.insert(self.default, flat)
        state = self.start
        if not exact_start:
            for window in range(self.group.year):
                _, state = self._window(params, self._forcing(window), state)
        means = []
        for window in range(self.windows):
            one, state = self._window(params, self._forcing(window), state)
            means.append(one)
        # windows stand one after the other in time: [windows * intervals, columns]
        joined = {flux: jnp.concatenate([one[flux] for one in means]) for flux in means[0]}
        losses = self._losses(joined, self._targets(), jnp.arange(self.columns.size))
        return np.asarray(losses, np.float64).reshape(self.members, -1)

    def _forcing(self, window: int):
        return self.group.window_forcing(Columns(self.columns, np.full(self.columns.size, window)))

    def _targets(self):
        targets = {}
        for flux, target in self.group.targets(Columns(self.columns, np.zeros_like(self.columns))).items():
            series = {}
            for part in ("observed", "weight"):
                whole = getattr(self.group, part)[flux][:, :, : self.windows]  # [interval, site, window]
                series[part] = jnp.asarray(np.concatenate(list(np.moveaxis(whole, -1, 0)))[:, self.columns])
            targets[flux] = target._replace(**series, sigma=target.sigma[self.columns])
        return targets


def gradient_free(
    problem: Problem,
    task: Task,
    method: str = "cma",
    budget: int = 45,
    seed: int = 0,
    progress: Callable[[int, dict[str, float]], None] = lambda runs, losses: None,
) -> SearchResult:
    """Search every site's parameters without derivatives.

    Args:
        problem: the model, the loss, the parameters.
        task: one group of its sites; the search starts at the default.
        method: ``cma`` or ``de``.
        budget: model runs of each site's training record, the default's included; a last generation that would not
            fit is not begun.
        seed: of the search.
        progress: told the model runs so far and the lowest losses by site.

    Raises:
        InputError: unknown method; a budget too small for one generation.
        ArithmeticError: the default itself has no finite loss.
    """
    group, space = task.group, task.space
    if method not in METHODS:
        raise InputError(f"gradient-free method {method!r}: use one of {', '.join(METHODS)}")
    sites = len(group.towers)
    members = _members(method, len(space.keys))
    if budget < members + 1:
        raise InputError(f"gradient-free budget {budget}: {method} needs {members + 1} model runs or more")
    objective = RecordLoss(problem, task, members)
    best_values = space.default.copy()
    best = objective(np.broadcast_to(space.default, (members, *space.default.shape)), exact_start=True)[0].copy()
    if not np.isfinite(best).all():
        raise ArithmeticError(f"the default has no finite loss at {group.labels[int(np.argmin(np.isfinite(best)))]}")
    start = space.start()
    searches = [_SEARCHES[method](start[s], best[s], members, seed + 1000 * s) for s in range(sites)]
    asked = [next(search) for search in searches]
    history, runs = [], 1
    while True:
        history += [HistoryRow(runs, label, float(best[s])) for s, label in enumerate(group.labels)]
        progress(runs, dict(zip(group.labels, best.tolist(), strict=True)))
        if runs + members > budget:
            break
        unknowns = np.stack(asked, axis=1)  # [members, sites, parameters]
        values = np.stack([np.asarray(space.values(jnp.asarray(one)), np.float64) for one in unknowns])
        losses = objective(values)
        runs += members
        # a candidate whose run is not finite is a bad candidate, not an answer: it loses against every finite one
        losses = np.where(np.isfinite(losses), losses, 1e6)
        for s in range(sites):
            winner = int(np.argmin(losses[:, s]))
            if losses[winner, s] < best[s]:
                best[s], best_values[s] = losses[winner, s], values[winner, s]
            asked[s] = searches[s].send(losses[:, s])
    for search in searches:
        search.close()
    return SearchResult(best_values, best, history, objective.traces)


def _members(method: str, parameters: int) -> int:
    """Candidates in a generation: CMA-ES's own rule; the same for differential evolution, for equal batches."""
    smallest = {"cma": 4, "de": 5}[method]
    return max(smallest, 4 + int(3 * np.log(parameters)))


def _cma(start: np.ndarray, loss: float, members: int, seed: int):
    """Generator: yields candidates ``[members, parameters]``, is sent their losses."""
    import cma

    with warnings.catch_warnings():
        # one parameter is a legal search here; the package advises against it
        warnings.simplefilter("ignore", UserWarning)
        options = {"seed": seed + 1, "popsize": members, "bounds": [-WIDEST, WIDEST], "verbose": -9}
        search = cma.CMAEvolutionStrategy(start, FIRST_STEP, options)
    while True:
        candidates = search.ask()
        losses = yield np.stack(candidates)
        search.tell(candidates, losses.tolist())


def _de(start: np.ndarray, loss: float, members: int, seed: int):
    """Differential evolution with scipy's settings; the first member is the default.

    scipy calls the objective; here the objective is run for all sites at once. So the search runs in a thread of its
    own and hands each generation over a queue. One thread speaks at a time and each has its own generator of random
    numbers, hence a seed repeats a search.
    """
    asked: queue.Queue = queue.Queue()
    told: queue.Queue = queue.Queue()

    def objective(columns):
        asked.put(np.array(columns.T))
        losses = told.get()
        if losses is None:
            raise _Stopped
        return losses

    def search():
        rng = np.random.default_rng(seed)
        first = np.clip(start + rng.normal(0.0, 2.0 * FIRST_STEP, (members, start.size)), -WIDEST, WIDEST)
        first[0] = start
        try:
            scipy.optimize.differential_evolution(
                objective, [(-WIDEST, WIDEST)] * start.size, rng=rng,
                init=first,  # pyright: ignore[reportArgumentType] (an array is as good as a name)
                vectorized=True, polish=False,
                updating="deferred", maxiter=10**6, tol=0.0,
            )  # fmt: skip
            asked.put(None)  # all members are equal: nothing left to try
        except _Stopped:
            pass
        except BaseException as error:  # told to the thread that waits, which raises it
            asked.put(error)

    thread = threading.Thread(target=search, name="differential evolution", daemon=True)
    thread.start()
    population = np.repeat(start[None], members, axis=0)
    try:
        while True:
            generation = asked.get()
            if isinstance(generation, BaseException):
                raise generation
            if generation is None:
                while True:
                    yield population
            population = generation
            told.put((yield population))
    finally:
        told.put(None)
        thread.join()


class _Stopped(Exception):
    """Ends a search from outside."""


_SEARCHES = {"cma": _cma, "de": _de}
