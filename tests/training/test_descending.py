"""The curriculum from large to small."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import small, tiny

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.training.sampling import SAMPLINGS
from netwright.training.steps import Step


def drawn(net: nw.SuperNet, step: int, count: int = 200) -> set[nw.Candidate]:
    sampling, rng = SAMPLINGS.make("descending,until=0.5"), np.random.default_rng(0)
    return {sampling.sample(net, rng, Step(step, 101), {}) for _ in range(count)}


def test_it_begins_with_the_largest_alone_and_ends_with_all() -> None:
    net = tiny()
    assert drawn(net, 0) == {net.largest}
    assert drawn(net, 50) == drawn(net, 100) == {net.largest, net.smallest}


def test_what_is_drawn_grows() -> None:
    net = small()
    sets = [drawn(net, step, 400) for step in (0, 20, 30, 50)]
    assert [len(each) for each in sets] == sorted(len(each) for each in sets)
    assert sets[0] == {net.largest} and net.smallest not in sets[1] and len(sets[3]) > 50
    assert all(net.space.candidate(dict(one)) == one for each in sets for one in each)


def test_an_option_is_as_likely_as_another_in_the_end() -> None:
    net, rng, sampling = tiny(), np.random.default_rng(0), nw.sampling.Descending(0.5)
    found = [sampling.sample(net, rng, Step(100, 101), {}) for _ in range(400)]
    assert 150 < sum(candidate == net.largest for candidate in found) < 250


@pytest.mark.parametrize("until", [0.0, 1.5])
def test_until_is_a_share(until: float) -> None:
    with pytest.raises(RecipeError, match="until is a share of the training, above 0 and up to 1"):
        SAMPLINGS.make(f"descending,until={until}")
