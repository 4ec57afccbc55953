"""Bayesian optimisation with BoTorch: runs where the extra is installed, and says so where it is not."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from netwright.core.candidate import Candidate
from netwright.core.errors import MissingExtra
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies import botorch as module
from netwright.strategies.base import Problem, of_each
from netwright.strategies.botorch import BoTorch

QUALITY, COST = Metric("quality", direction="max"), Metric("cost", exact=True)
SPACE = Space([Choice("d", (1, 2)), *(Choice(f"w{i}", (1, 2, 3), {"d": 2} if i > 3 else None) for i in range(8))])

needs_botorch = pytest.mark.skipif(find_spec("botorch") is None, reason="the extra 'botorch' is not installed")


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(v for name, v in candidate.items() if isinstance(v, int) and name != "d"))}


def history() -> list[Record]:
    """The wide are better, with one block that counts for more."""
    rng = np.random.default_rng(0)
    found = []
    for candidate in dict.fromkeys([SPACE.smallest, SPACE.largest, *(SPACE.sample(rng) for _ in range(22))]):
        quality = np.sqrt(cost(candidate)["cost"]) + 2.0 * (candidate["w0"] == 3)
        found.append(Record(candidate, {"quality": Measurement(quality), "cost": Measurement(cost(candidate)["cost"])}))
    return found


@needs_botorch
@pytest.mark.parametrize(
    "objectives, limits",
    [
        ((QUALITY,), ()),
        ((QUALITY, COST), ()),
        ((QUALITY, COST), (Limit("cost", "<=", 14.0),)),
        ((QUALITY,), (Limit("cost", "<=", 14.0), Limit("quality", ">=", 3.0))),
    ],
)
def test_what_it_asks_is_new_allowed_good_and_repeatable(
    objectives: tuple[Metric, ...], limits: tuple[Limit, ...]
) -> None:
    problem = Problem(SPACE, objectives, limits, of_each(cost))
    strategy = BoTorch(batch=4, start=10, pool=150)
    asked = strategy.ask(problem, history(), 4)
    assert len(set(asked)) == len(asked) == 4
    assert not {r.candidate for r in history()} & set(asked)
    assert all(problem.allows(c) for c in asked)
    assert sum(c["w0"] == 3 for c in asked) >= 3, "the block that counts was learnt"
    assert strategy.ask(problem, history(), 4) == asked


def test_what_is_being_measured_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models are left out, so that this runs without the extra: everything that may be taken is."""
    monkeypatch.setattr(module, "_chosen", lambda problem, whole, guess, rows, n, seed: range(len(rows)))
    space = Space([Choice("w0", (1, 2, 3)), Choice("w1", (1, 2, 3, 4))])
    everyone = list(space.enumerate())
    known, pending = everyone[1:6], (everyone[0], *everyone[6:9])
    values = {"quality": Measurement(1.0), "cost": Measurement(2.0)}
    problem = Problem(space, (QUALITY, COST), (), of_each(cost), pending=pending)
    asked = BoTorch(start=5).ask(problem, [Record(c, values) for c in known], 12)
    assert set(asked) == set(everyone[9:]) and len(asked) == 3


@pytest.mark.skipif(find_spec("botorch") is not None, reason="the extra 'botorch' is installed")
def test_a_missing_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"the strategy BoTorch needs .*netwright\[botorch\]"):
        BoTorch(start=10).ask(Problem(SPACE, (QUALITY, COST), (), of_each(cost)), history(), 2)
