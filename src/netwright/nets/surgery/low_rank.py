"""Low rank: every layer for which it pays as the product of two thinner ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from ...core.errors import NetError
from ..axes import Rank, factorise, fractions
from ..axes.rank import Factorised, pays_below, why_not
from ..cut import ModuleIndex
from ..inputs import Inputs
from ..isolation import outputs_of
from .same import called, computes, matching

SHARES = (0.25, 0.5, 0.75)
"""Of the rank from which on two layers cost as much as one."""


def to_low_rank(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    only: Iterable[str] = ("*",),
    except_: Iterable[str] = (),
    least: int = 16,
) -> tuple[str, ...]:
    """Factorise every layer for which a lower rank pays, in place (:func:`netwright.factorise`); then ``wrap(...,
    axes=["rank"])`` finds the ranks.

    The network computes what it computed. A rank ``r`` pays where ``r (in + out) < in * out`` (Cahyawijaya 2021,
    "Greenformers"; Guo et al. 2023, "PELA"). Layers whose weight something reads by itself are left as they are, and so
    are those that share their weight, or that did not run.

    Args:
        module: the network, changed in place and put into evaluation mode; train it on once it is cut.
        example_inputs: what it is called with, to see that it computes what it did.
        only: patterns of module paths; of the layers that match one, those that can be are factorised.
        except_: patterns of module paths of layers that are left as they are.
        least: the least rank that is of use: a layer that is no cheaper with that is left as it is.

    Returns:
        The paths of the layers.

    Raises :class:`NetError` for patterns that match no module, and where no layer is left to factorise.
    """
    index = ModuleIndex(module.eval())
    matched = matching(index, only, except_)
    before = outputs_of(module, example_inputs)
    ran = called(index, example_inputs)
    wanted = [path for path in matched if path in ran and _pays(index, path, least)]
    for path in wanted:
        factorise(module, path)
    done = wanted
    if not computes(module, example_inputs, before):  # something reads the weights of a layer by itself
        _put_back(index, wanted)
        done = [path for path in wanted if _alone(index, path, example_inputs, before)]
    if not done:
        raise NetError(
            "no layer was factorised: of the linear layers and ungrouped convolutions that run, and whose weights "
            f"nothing else reads, none is cheaper with a rank of {least} (r (in + out) < in * out); see only=, "
            "except_= and least="
        )
    return tuple(done)


def ranks(index: ModuleIndex, round_to: int) -> Iterator[Rank]:
    """The ranks of all factorised layers: shares of that from which on two cost as much as one, and the whole."""
    for path, pair in index.modules.items():
        if isinstance(pair, Factorised) and len(pair) == 2:
            whole = index.shapes[index.tensors_of[f"{path}.0"]["weight"]][0]
            most = int(min(pair.pays_below, whole))
            options = {o for o in fractions(most, SHARES, round_to) if o < most}
            if options:
                yield Rank.of(index.root, f"{path}.rank", path, {*options, whole})


def _pays(index: ModuleIndex, path: str, least: int) -> bool:
    """Whether a layer can be factorised and is cheaper at the least rank."""
    inside = isinstance(index.modules[path.rpartition(".")[0]], Factorised)
    if inside or why_not(index, path):
        return False
    return least < pays_below(index.shapes[index.tensors_of[path]["weight"]])


def _alone(index: ModuleIndex, path: str, example_inputs: Inputs, before: list[Tensor]) -> bool:
    factorise(index.root, path)
    if computes(index.root, example_inputs, before):
        return True
    _put_back(index, [path])
    return False


def _put_back(index: ModuleIndex, paths: Iterable[str]) -> None:
    for path in paths:
        parent, own = index.parent(path)
        parent._modules[own] = index.modules[path]
