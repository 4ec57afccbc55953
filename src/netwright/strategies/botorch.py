"""Bayesian optimisation with BoTorch (the extra ``botorch``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.candidate import Candidate
from ..core.errors import MissingExtra
from ..core.limits import Limit
from ..core.record import Record
from .base import Problem, Strategy, draw_new, initial_candidates
from .integer_encoding import keys, new_rows
from .linas import WeakSurrogates
from .ranking import ranked

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 64
"""Joint samples of the models that the acquisition is averaged over."""
PROMISING = 200
"""Candidates that are considered again after the first of a batch is chosen."""
AT_ONCE = 256
"""Candidates whose acquisition is computed together, which bounds the memory."""


@dataclass(frozen=True)
class BoTorch(Strategy):
    """BoTorch's qLogNEHVI (Ament et al. 2023; qLogNEI for one objective): Gaussian processes and noise-aware gains.

    Every objective and limit that costs a run has a Gaussian process on one-hot options; exact metrics are computed.
    The acquisition is not optimised by gradients but evaluated on a pool: random candidates, and children of the best
    known. Slow: seconds per candidate, growing with the cube of the records.

    Args:
        batch: candidates measured between two fits.
        start: candidates measured before the first fit: the ends of the space and random ones.
        pool: candidates evaluated on the acquisition for each batch.
    """

    batch: int = 8
    start: int = 20
    pool: int = 1500

    positive = ("batch", "start", "pool")

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = initial_candidates(problem, history, n)
        known = [*problem.proposed(history), *first]
        whole = [r for r in history if all(name in r.values for name in problem.metrics)]
        if len(history) >= self.start and len(whole) > 3 and len(first) < n:
            rows, guess = self._pool(problem, whole, known, rng)
            if len(rows):
                chosen = _chosen(problem, whole, guess, rows, n - len(first), int(rng.integers(2**31)))
                first += guess.encoding.candidates(rows[chosen])
                known += first
        return first + draw_new(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))

    def _pool(
        self, problem: Problem, whole: Sequence[Record], known: Sequence[Candidate], rng: np.random.Generator
    ) -> tuple[np.ndarray, WeakSurrogates]:
        """Rows of new candidates within the exact limits: a third random, the rest children of the best measured."""
        guess = WeakSurrogates(problem)
        everyone = guess.whole(self.pool, rng)
        if everyone is None:
            losses = np.array([problem.losses(r) for r in whole])
            violation = np.array([problem.violation(r.values) for r in whole])
            parents = guess.encoding.of([r.candidate for r in whole])[
                ranked(losses, violation, max(10, len(whole) // 4))
            ]
            pairs = rng.integers(len(parents), size=(2, 2 * self.pool // 3))
            children = guess.encoding.children(parents[pairs[0]], parents[pairs[1]], rng)
            everyone = np.vstack([children, guess.encoding.sample(self.pool // 3, rng)])
        rows = new_rows(everyone, keys(guess.encoding.of(known)))
        return guess.allowed(rows).rows, guess


def _chosen(
    problem: Problem, whole: Sequence[Record], guess: WeakSurrogates, rows: np.ndarray, n: int, seed: int
) -> list[int]:
    """Which of ``rows`` to measure, one after the other, each with those before it pending."""
    try:
        from botorch.models.model import ModelList
    except ImportError:
        raise MissingExtra("botorch", "botorch", "the strategy BoTorch") from None
    import torch

    names = problem.metrics
    exact = [name for name in names if name in guess.exact]
    measured = guess.encoding.of([r.candidate for r in whole])
    inputs = torch.from_numpy(np.vstack([_inputs(guess, exact, measured), _inputs(guess, exact, rows)]))
    known, pool = inputs[: len(whole)], inputs[len(whole) :]
    values = torch.tensor([[r.values[name] for name in names] for r in whole], dtype=torch.float64)
    values[:, [names.index(name) for name in exact]] = known[:, known.shape[1] - len(exact) :]
    with torch.random.fork_rng(devices=[]):  # the caller's generator is left alone
        torch.manual_seed(seed)
        columns = known.shape[1] - len(exact)
        models = [
            _computed(columns + exact.index(name)) if name in exact else _fitted(known, values[:, i], columns)
            for i, name in enumerate(names)
        ]
        gain = _acquisition(problem, names, ModelList(*models), known, values, seed)
        chosen: list[int] = []
        promising = torch.arange(len(rows))
        for _ in range(min(n, len(rows))):
            gain.set_X_pending(pool[chosen] if chosen else None)
            with torch.no_grad():
                gains = torch.cat([gain(part.unsqueeze(1)) for part in pool[promising].split(AT_ONCE)])
            gains[torch.isin(promising, torch.tensor(chosen))] = -torch.inf
            chosen.append(int(promising[gains.argmax()]))
            # What is pending takes from the others' gains and adds to none: the best of the first round suffice.
            if len(chosen) == 1:
                promising = gains.argsort(descending=True, stable=True)[: max(PROMISING, n)]
    return chosen


def _inputs(guess: WeakSurrogates, exact: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """One-hot options, then the exact metrics that are wanted, shape (n, columns)."""
    options = guess.encoder.rows(rows, np.empty((len(rows), 0))).options
    computed = guess.computed(rows)
    return np.hstack([options, *(computed[name][:, None] for name in exact)])


def _fitted(known: Tensor, values: Tensor, columns: int) -> Any:
    """A Gaussian process that reads the first ``columns``."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms.input import FilterFeatures
    from botorch.models.transforms.outcome import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(
        known,
        values.unsqueeze(1),
        input_transform=FilterFeatures(torch.arange(columns)),
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _computed(column: int) -> Any:
    """A model that knows: the metric stands in this column."""
    from botorch.models.deterministic import GenericDeterministicModel

    return GenericDeterministicModel(lambda x: x[..., column : column + 1], num_outputs=1)


def _acquisition(problem: Problem, names: Sequence[str], model: Any, known: Tensor, values: Tensor, seed: int) -> Any:
    """The gain of candidates; more is better, so that losses are turned and scaled by their range."""
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
    from botorch.acquisition.objective import GenericMCObjective
    from botorch.sampling.get_sampler import get_sampler

    places = [names.index(m.name) for m in problem.objectives]
    sign = torch.tensor([-m.loss(1.0) for m in problem.objectives], dtype=torch.float64)
    turned = values[:, places] * sign
    low, reach = turned.amin(0), (turned.amax(0) - turned.amin(0))
    reach = torch.where(reach > 0, reach, 1.0)

    def scaled(samples: Tensor, X: Tensor | None = None) -> Tensor:
        return (samples[..., places] * sign - low) / reach

    limits = [_bound(x, names.index(x.metric)) for x in problem.limits] or None
    sampler = get_sampler(model.posterior(known[:1]), torch.Size([SAMPLES]), seed=seed)
    settings: dict[str, Any] = {
        "sampler": sampler,
        "constraints": limits,
        "prune_baseline": True,
        "cache_root": False,
    }
    if len(places) == 1:
        objective = GenericMCObjective(lambda samples, X=None: scaled(samples)[..., 0])
        return qLogNoisyExpectedImprovement(model, known, objective=objective, **settings)
    reference = [-0.1] * len(places)
    return qLogNoisyExpectedHypervolumeImprovement(
        model, reference, known, objective=GenericMCMultiOutputObjective(scaled), **settings
    )


def _bound(limit: Limit, place: int) -> Any:
    """Negative where samples keep the limit."""
    sign = 1.0 if limit.op in ("<", "<=") else -1.0
    size = abs(limit.bound) or 1.0
    return lambda samples: sign * (samples[..., place] - limit.bound) / size
