"""Merging: experts that are chosen for like tokens hold their weights once.

M-SMoE, the merging of MC-SMoE (Li et al. 2023, "Merge, then compress: demystify efficient SMoE with hints from its
routing policy", arXiv 2310.01334, section 3.2): the experts that are chosen most often lead a group each, others join
the leader whose scores are most like theirs, their neurons are brought into the leader's order, and a group is the mean
of its members by how often they are chosen. What the paper compresses after that, by low rank, is
:func:`netwright.to_low_rank`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..cut import ModuleIndex
from ..importance.base import given_batches
from ..paths import join
from .experts import given_to, neuron_dim, neuron_layers


@torch.no_grad()
def merge_experts(
    module: nn.Module, router: str, experts: str, count: int, batches: Iterable[Any], active: int = 1
) -> list[int]:
    """Let the experts of a mixture share their weights in ``count`` groups, in place, by what their router says.

    The router still scores every expert. Those of a group are one for it: a network with experts that are alike but for
    the order of their neurons computes what it computed, others have to be trained on.

    Args:
        module: the network, changed in place and put into evaluation mode.
        router: path of the linear layer that scores the experts.
        experts: path of the ``nn.ModuleList`` of them, feed-forward networks of one size.
        count: of the groups; fewer than there are experts.
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.
        active: how many experts are chosen for a token: those of the highest scores.

    Returns:
        For each expert the one that leads its group.

    Raises :class:`NetError` for what is no such mixture, and for numbers that it does not allow.
    """
    index = ModuleIndex(module.eval())
    held, scores = index.module(experts), index.module(router)
    if not isinstance(held, nn.ModuleList) or not isinstance(scores, nn.Linear):
        raise NetError(
            f"router= and experts= name a linear layer and an nn.ModuleList; {router} is a {type(scores).__name__}, "
            f"{experts} a {type(held).__name__}"
        )
    whole = len(held)
    if scores.out_features != whole:
        raise NetError(f"{router} scores {scores.out_features} experts, {experts} holds {whole}")
    for name, value, most in (("count", count, whole - 1), ("active", active, whole)):
        if type(value) is not int or not 1 <= value <= most:
            raise NetError(f"{name} is a number from 1 to {most} for {whole} experts, not {value!r}")
    forms = [{name: tuple(p.shape) for name, p in each.named_parameters()} for each in held]
    if any(form != forms[0] for form in forms):
        raise NetError(f"the experts of {experts} are not all of one size, so that they cannot be merged")
    found = scores(given_to(index, router, given_batches(batches, "merge_experts")))
    often = torch.zeros_like(found).scatter(1, found.topk(active, 1).indices, 1.0).sum(0)
    leaders = _leaders(found, often, count)
    for leader in dict.fromkeys(leaders):
        members = [leader, *(i for i, own in enumerate(leaders) if own == leader != i)]
        _merge([held[i] for i in members], f"{experts}.{leader}", often[members])
    return leaders


def _leaders(scores: Tensor, often: Tensor, count: int) -> list[int]:
    """For each expert the leader whose scores are most like its own."""
    own = often.argsort(descending=True, stable=True)[:count].tolist()
    columns = nn.functional.normalize((scores - scores.mean(0)).double(), dim=0)
    alike = columns.T @ columns[:, own]
    return [i if i in own else own[int(alike[i].argmax())] for i in range(len(often))]


def _merge(members: list[nn.Module], path: str, often: Tensor) -> None:
    """Let the members hold the mean of their weights by how often they are chosen, in the order of the first."""
    makes, reads = neuron_layers(members[0], path)
    share = (often + 1e-6) / (often + 1e-6).sum()
    for other in members[1:]:
        _reorder(other, makes, reads, _order(members[0], other, makes, reads))
    for name, owner in members[0].named_modules():
        for own, tensor in list(owner._parameters.items()):
            if tensor is not None:
                each = torch.stack([m.get_parameter(join(name, own)).double() for m in members])
                tensor.copy_(torch.tensordot(share.double(), each, 1))
                for other in members[1:]:
                    other.get_submodule(name)._parameters[own] = tensor


def _order(leader: nn.Module, other: nn.Module, makes: tuple[str, ...], reads: str) -> Tensor:
    """Which neuron of another stands where the leader has one that is like it, by their weights."""
    from scipy.optimize import linear_sum_assignment

    alike = sum(a @ b.T for a, b in zip(_neurons(leader, makes, reads), _neurons(other, makes, reads), strict=True))
    return torch.from_numpy(linear_sum_assignment(alike.cpu().numpy(), maximize=True)[1])  # type: ignore[union-attr]


def _neurons(expert: nn.Module, makes: tuple[str, ...], reads: str) -> list[Tensor]:
    """All weights of each neuron, a row each."""
    found = []
    for path in (*makes, reads):
        layer: Any = expert.get_submodule(path)
        found.append(layer.weight.double().movedim(neuron_dim(layer, path == reads), 0))
        if path != reads and layer.bias is not None:
            found.append(layer.bias.double()[:, None])
    return found


def _reorder(expert: nn.Module, makes: tuple[str, ...], reads: str, order: Tensor) -> None:
    for path in (*makes, reads):
        layer: Any = expert.get_submodule(path)
        layer.weight.copy_(layer.weight.index_select(neuron_dim(layer, path == reads), order))
        if path != reads and layer.bias is not None:
            layer.bias.copy_(layer.bias[order])
