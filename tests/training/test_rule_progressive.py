"""Progressive shrinking: what is drawn in which phase, and from whom it learns."""

from __future__ import annotations

import pytest
import torch
from small_nets import blobs, loader, small, state, tiny
from spying import spied
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.training.answers import Answer
from netwright.training.keeping import kept_answer
from netwright.training.kinds import kinds_of
from netwright.training.rules import Progressive

PART = blobs(6)
BATCH = PART.inputs, PART.targets
STEPS = 60


def three(seed: int = 0) -> nw.SuperNet:
    """Three options of each kind."""
    torch.manual_seed(seed)
    return inverted_residual(
        1, 3, 4, widths=((2, 4, 6), (3, 6, 9)), depths=((1, 2, 3), (1,)), expands=(1, 2, 3), kernels=(1, 3, 5)
    )


def drawn_in_phases(rule: Progressive, net: nw.SuperNet) -> list[dict[str, int]]:
    """Of every step, how many options of a choice of each kind have been drawn so far."""
    kinds, found = kinds_of(net), []
    seen: dict[str, set[object]] = {choice.name: set() for choice in net.space}
    for lesson in spied(rule, net, BATCH, STEPS):
        for candidate in lesson.everyone:
            for name, option in candidate.items():
                seen[name].add(option)
        found.append({kind: max(len(seen[n]) for n in seen if kinds[n] == kind) for kind in set(kinds.values())})
    return found


def test_kernels_then_depths_then_widths_from_large_to_small() -> None:
    net = three()
    assert {*kinds_of(net).values()} == {"kernel", "depth", "width"}
    found = drawn_in_phases(Progressive(random=4), net)
    first = {(kind, n): next(i for i, each in enumerate(found) if each[kind] >= n) for kind in found[0] for n in (2, 3)}
    assert first["kernel", 2] >= 0.3 * (STEPS - 1), "the largest alone at first"
    order = [first["kernel", 3], first["depth", 2], first["depth", 3], first["width", 2], first["width", 3]]
    assert order == sorted(order) and len(set(order)) == len(order)
    assert first["depth", 2] - first["kernel", 2] > 8, "each has its time"


def test_what_opens_first_is_the_larger_half_and_in_the_end_all_is_open() -> None:
    net = three()
    shares = [Progressive().opened(net, share) for share in (0.0, 0.31, 0.52, 0.6, 0.76, 0.9)]
    assert [{k: v for k, v in each.items() if k != "free"} for each in shares] == [
        {}, {"kernel": 1}, {"kernel": 1, "depth": 0.5}, {"kernel": 1, "depth": 1},
        {"kernel": 1, "depth": 1, "width": 0.5}, {"kernel": 1, "depth": 1, "width": 1},
    ]  # fmt: skip
    assert Progressive(start=0).opened(net, 0.0)["kernel"] == 1, "of weights that come trained"


def test_a_space_of_one_kind_has_its_phases_alone() -> None:
    net = tiny()
    assert Progressive().opened(net, 0.29) == {"free": 1.0}
    assert Progressive().opened(net, 0.31) == {"free": 1.0, "width": 0.5}
    assert Progressive().opened(net, 0.5) == {"free": 1.0, "width": 1.0}


def test_menus_are_drawn_from_the_beginning_and_what_lies_in_them_is_whole() -> None:
    inner = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    model = nn.Sequential(nn.Flatten(), nw.oneof(small=nn.Linear(16, 3), large=inner))
    menu = nw.OneOf.of(model, "1")
    width = nw.Width.tie(model, "hidden", (4, 8), out_of=["1.large.0"], into=["1.large.2"])
    net = nw.SuperNet(model, [menu, width], torch.zeros(1, 1, 4, 4))
    lessons = spied(Progressive(start=1.0), net, BATCH, 12)
    drawn = [c for lesson in lessons for c in lesson.everyone]
    assert {c["1.option"] for c in drawn} == {"small", "large"}
    assert {c["hidden"] for c in drawn if "hidden" in c} == {8}


def test_sub_networks_learn_from_the_largest_as_the_first_phase_left_it() -> None:
    net, kept = three(), dict[str, Tensor]()
    given = spied(Progressive(start=0.2, random=1), net, BATCH, 10, state=kept)
    assert kept.keys() == {f"progressive.{name}" for name in net.module.state_dict()}
    with torch.no_grad():
        wanted = net.module.eval()(BATCH[0])
        for p in net.module.parameters():
            p.add_(torch.randn_like(p))
    moved = state(net.module)
    net.module.train()
    spied(Progressive(start=0.2, random=1), net, BATCH, 10, state=kept)
    torch.testing.assert_close(kept_answer(net, given[-1], "progressive").outputs, wanted)
    assert all(torch.equal(p, moved[name]) for name, p in net.module.named_parameters()), "its weights are there again"


def test_a_given_teacher_is_the_teacher() -> None:
    net = small()
    scores = torch.tensor([3.0, 0.0, -1.0])
    given = spied(
        Progressive(start=0.0, random=1), net, BATCH, 1, teacher=lambda x, watched=(): Answer(scores.expand(len(x), 3))
    )
    got = {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}
    assert not given[0].state
    net.module.zero_grad()
    with net.active(given[0].everyone[0]) as module:
        out = module(BATCH[0])
        imitated = F.cross_entropy(out, scores.softmax(0).expand(6, 3))
        ((F.cross_entropy(out, BATCH[1]) + imitated) / 2).backward()
    for k, p in net.module.named_parameters():
        torch.testing.assert_close(got.get(k), p.grad)


def test_settings_are_checked() -> None:
    with pytest.raises(RecipeError, match="start is a share"):
        nw.train(small(), loader(), epochs=1, rule="progressive,start=2")
    with pytest.raises(RecipeError, match="1 or more"):
        nw.train(small(), loader(), epochs=1, rule="progressive,random=0")
