"""Every strategy of the package keeps the contract, and the contract finds those that do not."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from netwright.core.candidate import Candidate
from netwright.core.errors import NetwrightError
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.aging_evolution import AgingEvolution
from netwright.strategies.base import Problem, Strategy, of_each
from netwright.strategies.cmaes import CmaEs
from netwright.strategies.evolution import Nsga2
from netwright.strategies.guided import Guided
from netwright.strategies.linas import ConcurrentNas, Linas
from netwright.strategies.local_search import LocalSearch
from netwright.strategies.moea import AgeMoea, CTaea, Ga, MoeaD, Nsga3, UNsga3
from netwright.strategies.random import Random
from netwright.strategies.weaknas import WeakNas
from netwright.testing import check_strategy

MAKES: dict[Callable[[], Strategy], tuple[int, ...]] = {
    Random: (1, 2, 3, 4),
    lambda: Nsga2(population=8): (1, 2, 3, 4),
    lambda: Guided(start=6, population=12, generations=2, local_search_rounds=2): (1, 2, 3, 4),
    lambda: Linas(batch=14, generations=2): (1, 2, 3, 4),
    lambda: ConcurrentNas(batch=8, generations=2): (1, 2, 3, 4),
    lambda: WeakNas(batch=6, start=14, pool=200, best=30): (1, 2, 3, 4),
    lambda: LocalSearch(batch=4, start=6): (1, 2, 3, 4),
    lambda: AgingEvolution(population=8, sample=3): (1, 2, 3, 4),
    lambda: UNsga3(population=8): (1, 2, 3, 4),
    lambda: Nsga3(population=8): (2, 3, 4),
    lambda: AgeMoea(population=8): (2, 3, 4),
    lambda: MoeaD(population=8): (2, 3, 4),
    lambda: CTaea(population=8): (2, 3, 4),
    lambda: Ga(population=8): (1,),
    lambda: CmaEs(population=8): (1,),
}


@pytest.mark.parametrize(
    "make, objectives",
    [
        pytest.param(make, n, id=name, marks=pytest.mark.slow if name == "ConcurrentNas" else ())  # as Linas, its base
        for make, n in MAKES.items()
        for name in [type(make()).__name__]
    ],
)
def test_keeps_the_contract(make: Callable[[], Strategy], objectives: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        check_strategy(make, objectives)


# -- the contract finds what is wrong ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong(Random):
    """Random search with one thing wrong."""

    how: str = ""
    memory: list[int] = field(default_factory=list)

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        if self.how == "keeps something":
            self.memory.append(1)
            history = [*history[len(self.memory) :]]
        if self.how == "looks at global dice":
            problem = Problem(**vars(problem) | {"seed": int(np.random.randint(1000))})
        if self.how == "asks for what is pending":
            problem = Problem(**vars(problem) | {"pending": ()})
        if self.how == "asks for what is beyond the limits":
            problem = Problem(**vars(problem) | {"limits": ()})
        if self.how == "fears infeasible records" and any(r.status == "infeasible" for r in history):
            return []
        if self.how == "takes warm records for known":
            problem = Problem(
                **vars(problem) | {"pending": (*problem.pending, *(r.candidate for r in problem.warm_start))}
            )
        if self.how == "forgets the seed":
            problem = Problem(**vars(problem) | {"seed": 0})
        asked = super().ask(problem, history, n)
        if self.how == "gives up":
            return asked if len(history) < 15 else []
        if self.how == "repeats itself":
            return asked and [*asked[:-1], asked[0]]
        if self.how == "asks for what is known" and history:
            return [history[0].candidate, *asked[1:]]
        if self.how == "asks for too many":
            return super().ask(problem, history, n + 1)
        if self.how == "is not canonical":
            return [Candidate({**c, "k2": 3}) if "depth" in c else c for c in asked]
        return asked


@pytest.mark.parametrize(
    "how, complaint",
    [
        ("keeps something", "the same"),
        ("looks at global dice", "global generator"),
        ("asks for what is pending", "pending was asked for again"),
        ("asks for what is beyond the limits", "breaks a limit"),
        ("fears infeasible records", "0 were asked for"),
        ("takes warm records for known", "warm records"),
        ("forgets the seed", "another seed"),
        ("gives up", "0 were asked for|must propose|another seed"),
        ("repeats itself", "twice"),
        ("asks for what is known", "again"),
        ("asks for too many", "are wanted"),
        ("is not canonical", "not in the space"),
    ],
)
def test_the_contract_finds_what_is_wrong(how: str, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint) as error:
        check_strategy(lambda: Wrong(how=how))
    assert isinstance(error.value, AssertionError | NetwrightError)


def test_the_contract_wants_an_error_for_what_is_not_supported() -> None:
    with pytest.raises(AssertionError, match="1 objectives are not supported"):
        check_strategy(Random, objectives=(2, 3, 4))


def test_importing_strategies_and_contracts_is_light() -> None:
    names = "guided, linas, weaknas, moea, cmaes, local_search, aging_evolution"
    code = (
        f"from netwright.strategies import {names}\nfrom netwright.testing import check_strategy\nimport sys\n"
        "print([m for m in ('torch', 'sklearn', 'pymoo', 'scipy', 'cma', 'moocore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- as they are set by default --------------------------------------------------------------------------------------


def measured(candidate: Candidate) -> Record:
    found = [float(v) for v in candidate.values()]  # type: ignore[arg-type]
    return Record(candidate, {"quality": Measurement(float(np.sqrt(found).sum())), "cost": Measurement(sum(found))})


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(candidate.values()))}  # type: ignore[arg-type]


OBJECTIVES = (Metric("quality", direction="max"), Metric("cost", exact=True))
EAGER = (Random(), Nsga2(), Guided(), LocalSearch(), AgingEvolution(), WeakNas())
Work = Callable[[Callable[[], object]], int]
each_eager = pytest.mark.parametrize("strategy", EAGER, ids=lambda s: type(s).__name__)


@each_eager
def test_the_last_of_some_hundred_is_found_one_at_a_time(strategy: Strategy, work: Work) -> None:
    space = Space([Choice("a", tuple(range(30))), Choice("b", tuple(range(30)))])
    everyone = list(space.enumerate())
    missing = everyone[7]
    history = [measured(c) for c in everyone if c != missing]
    problem = Problem(space, OBJECTIVES, (), of_each(cost))
    found: list[Candidate] = []
    assert work(lambda: found.extend(strategy.ask(problem, history, 1))) < 6_000_000
    assert found == [missing]


@each_eager
def test_a_narrow_limit_that_is_used_up_is_given_up_quickly(strategy: Strategy, work: Work) -> None:
    space = Space([Choice(f"k{i:02}", (1, 2, 3, 4)) for i in range(30)])
    limit = Limit("cost", "<=", 30.5)  # kept by the smallest alone
    rng = np.random.default_rng(0)
    history = [measured(c) for c in (space.smallest, space.largest, *(space.sample(rng) for _ in range(48)))]
    problem = Problem(space, OBJECTIVES, (limit,), of_each(cost))
    found: list[Candidate] = []
    assert work(lambda: found.extend(strategy.ask(problem, history, 8))) < 6_000_000
    assert found == []
