"""Who is best of many: fronts stay together, and crowding tells members of one front apart, as in pymoo."""

from __future__ import annotations

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from netwright.core.front import nondominated
from netwright.strategies.ranking import crowding, ranked

points = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, (n, 2), elements=st.integers(0, 5).map(float)),
        arrays(np.float64, n, elements=st.sampled_from([0.0, 0.0, 0.5, 2.0])),
    )
)


@given(points, st.integers(1, 14))
def test_ranking_holds_fronts_together_and_the_infeasible_last(case: tuple[np.ndarray, np.ndarray], n: int) -> None:
    losses, violation = case
    order = ranked(losses, violation, n)
    assert len(set(order.tolist())) == len(order) == min(n, len(losses))
    assert np.all(np.diff(violation[order][violation[order] > 0]) >= 0)
    feasible = np.flatnonzero(violation <= 0)
    within = min(len(order), len(feasible))
    assert not violation[order[:within]].any()
    front = set(feasible[nondominated(losses[feasible])].tolist()) if len(feasible) else set()
    assert set(order[: min(within, len(front))].tolist()) <= front


def test_crowding_is_the_scaled_gap_between_neighbours() -> None:
    front = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 2.0], [4.0, 0.0]])
    assert crowding(front).tolist() == [np.inf, 3 / 4 + 2 / 4, 3 / 4 + 3 / 4, np.inf]


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 40, 90, 150])
def test_who_is_taken_ranks_as_who_pymoo_takes(objectives: int, n: int) -> None:
    """Between ends of a front, which are infinitely far from others, and at no other place, the choice is free."""
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    losses = np.random.default_rng(objectives).random((120, objectives))
    fronts = moocore.pareto_rank(losses)
    apart = np.empty(len(losses))
    for front in set(fronts.tolist()):
        apart[fronts == front] = crowding(losses[fronts == front]) / objectives
    order = ranked(losses, np.zeros(len(losses)), n)
    kept = RankAndCrowding()._do(
        None, Population.new("F", losses), n_survive=min(n, 120), random_state=np.random.default_rng(0)
    )
    theirs = sorted(zip(kept.get("rank").tolist(), (-kept.get("crowding")).tolist(), strict=True))
    assert np.allclose(np.stack([fronts[order], -apart[order]], axis=1), theirs)
