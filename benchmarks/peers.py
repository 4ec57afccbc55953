"""The strategies of other people, on the index vector and with the defaults that their own documentation gives.

Each is a function of a :class:`~ofa_bench.Session` that measures until the budget is spent. Where a peer cannot run,
it raises :class:`ImportError` with the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from ofa_bench import Session, Spent

from netwright.core.record import Record
from netwright.strategies.ranking import ranked

GENES = 45
"""Each 0, 1 or 2: 20 kernels, 20 expansions, 5 depths; those of blocks that do not exist change nothing."""
UNIT = 50
"""Population and number of random candidates that all of them start with."""


def random(session: Session) -> None:
    """Uniform random index vectors."""
    rng = np.random.default_rng(session.seed)
    while session.left:
        session.measure(session.ofa.candidate(rng.integers(0, 3, GENES)))


def pymoo_nsga2(session: Session) -> None:
    """pymoo's NSGA-II (its GA for one objective) with its operators for integers."""
    algorithm = _pymoo(session, crossover={"prob": 1.0, "eta": 3.0}, mutation={"prob": 1.0, "eta": 3.0})
    problem = _problem(session, lambda vectors: [session.measure(session.ofa.candidate(v)) for v in vectors])
    _until_spent(
        lambda: import_module("pymoo.optimize").minimize(
            problem, algorithm, ("n_gen", session.budget), seed=session.seed
        )
    )


def optuna_tpe(session: Session) -> None:
    """Optuna's TPESampler, multivariate off as by default."""
    _optuna(session, "TPESampler")


def optuna_nsga2(session: Session) -> None:
    """Optuna's NSGAIISampler."""
    _optuna(session, "NSGAIISampler")


def weaknas(session: Session) -> None:
    """WeakNAS (Wu et al. 2021), with ridge regression on the one-hot vector and fronts of predictions.

    Fifty random networks; then ten at a time, drawn evenly from the hundred that rank best of 10,000 random ones.
    """
    rng = np.random.default_rng(session.seed)
    vectors = list(rng.integers(0, 3, (min(UNIT, session.left), GENES)))
    for vector in vectors:
        session.measure(session.ofa.candidate(vector))
    Ridge = import_module("sklearn.linear_model").Ridge
    while session.left:
        losses = _losses(session, session.records)[0]
        model = Ridge(alpha=1.0).fit(_one_hot(np.array(vectors)), losses[:, 0])
        pool = rng.integers(0, 3, (10_000, GENES))
        exact = session.ofa.exact_of(pool)
        columns = [model.predict(_one_hot(pool)), *(exact[m.name] for m in session.task.objectives[1:])]
        violation = np.zeros(len(pool))
        for limit in session.task.limits:
            violation += [limit.violation(v) for v in exact[limit.metric]]
        best = ranked(np.array(columns).T, violation, 100)
        for at in rng.permutation(best)[: min(10, session.left)]:
            vectors.append(pool[at])
            session.measure(session.ofa.candidate(pool[at]))


def linas_as_shipped(session: Session) -> None:
    """DyNAS-T's LINAS loop as its description and defaults have it, faults included.

    Every objective, MACs too, is predicted by the better of ridge and support vector regression on the one-hot vector
    (its grids of 100 values each are thinned to ten); the inner search (20,000 predictions, SBX 0.9/15 and PM 0.02/20,
    rounded, which changes no gene) starts from the same random population in every round; duplicates, also of one
    network written twice, are measured again. It knows no limits: here they hold for the predictions.
    """
    vectors = np.random.default_rng(session.seed).integers(0, 3, (UNIT, GENES))
    seen = np.empty((0, GENES))
    while session.left:
        for vector in vectors[: session.left]:
            session.measure(session.ofa.candidate(vector))
        seen = np.vstack([seen, vectors])[: len(session.records)]
        if not session.left:
            return
        names = [m.name for m in session.task.objectives] + [x.metric for x in session.task.limits]
        models = {
            name: _shipped_predictor(_one_hot(seen), np.array([r.values[name] for r in session.records]))
            for name in dict.fromkeys(names)
        }

        def predicted(rows: np.ndarray, models: dict[str, Any] = models) -> list[dict[str, float]]:
            found = {name: predict(_one_hot(rows)) for name, predict in models.items()}
            return [{name: float(values[i]) for name, values in found.items()} for i in range(len(rows))]

        algorithm = _pymoo(session, crossover={"prob": 0.9, "eta": 15.0}, mutation={"prob": 0.02, "eta": 20.0})
        result = import_module("pymoo.optimize").minimize(
            _problem(session, predicted), algorithm, ("n_gen", 400), seed=session.seed
        )
        vectors = np.round(result.pop.get("X"))


def _losses(session: Session, found: list[Record] | list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Losses (n, objectives) and violation over the limits (n,) of records or of named values."""
    values = [x.values if isinstance(x, Record) else x for x in found]
    losses = [[m.loss(v[m.name]) for m in session.task.objectives] for v in values]
    return np.array(losses), np.array([session.problem.violation(v) for v in values])


def _until_spent(search: Callable[[], Any]) -> None:
    try:
        search()
    except Spent:
        return


def _problem(session: Session, look: Callable[[np.ndarray], Any]) -> Any:
    """For pymoo; ``look`` makes records or values of index vectors."""

    class Indices(import_module("pymoo.core.problem").Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            limits = len(session.task.limits)
            super().__init__(
                n_var=GENES, n_obj=len(session.task.objectives), n_ieq_constr=limits, xl=0, xu=2, vtype=int
            )

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"], beyond = _losses(session, look(x))
            if session.task.limits:
                out["G"] = beyond[:, None]

    return Indices()


def _pymoo(session: Session, crossover: dict[str, float], mutation: dict[str, float]) -> Any:
    one = len(session.task.objectives) == 1
    algorithm = import_module(f"pymoo.algorithms.{'soo.nonconvex.ga' if one else 'moo.nsga2'}")
    rounding = import_module("pymoo.operators.repair.rounding").RoundingRepair
    return getattr(algorithm, "GA" if one else "NSGA2")(
        pop_size=UNIT,
        sampling=import_module("pymoo.operators.sampling.rnd").IntegerRandomSampling(),
        crossover=import_module("pymoo.operators.crossover.sbx").SBX(**crossover, vtype=float, repair=rounding()),
        mutation=import_module("pymoo.operators.mutation.pm").PM(**mutation, vtype=float, repair=rounding()),
        eliminate_duplicates=True,
    )


def _optuna(session: Session, sampler: str) -> None:
    optuna = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    settings: dict[str, Any] = {"seed": session.seed}
    if session.task.limits:
        settings["constraints_func"] = lambda trial: trial.user_attrs["beyond"]
    directions = ["minimize"] * len(session.task.objectives)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(**settings), directions=directions)
    while session.left:
        trial = study.ask()
        vector = [trial.suggest_int(f"x{i:02}", 0, 2) for i in range(GENES)]
        losses, beyond = _losses(session, [session.measure(session.ofa.candidate(vector))])
        trial.set_user_attr("beyond", [float(beyond[0])])
        study.tell(trial, losses[0].tolist())


def _one_hot(vectors: np.ndarray) -> np.ndarray:
    return (vectors[:, :, None] == np.arange(3)).reshape(len(vectors), -1).astype(np.float64)


def _shipped_predictor(features: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    Ridge, SVR = import_module("sklearn.linear_model").Ridge, import_module("sklearn.svm").SVR
    search = import_module("sklearn.model_selection").GridSearchCV
    scale = 10 ** (np.floor(np.log10(np.abs(values).max())) - 1)
    kinds = [
        (Ridge(), {"alpha": np.arange(1.0, 10.1, 1.0)}),
        (SVR(gamma="auto", epsilon=0.0, max_iter=1_000_000), {"C": np.arange(10.0, 101.0, 10.0)}),
    ]
    fitted = [
        search(model, grid, scoring="neg_mean_absolute_percentage_error").fit(features, values / scale)
        for model, grid in kinds
    ]
    best = max(fitted, key=lambda s: s.best_score_).best_estimator_
    return lambda rows: best.predict(rows) * scale
