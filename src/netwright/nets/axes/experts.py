"""Experts: how many experts of a mixture stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..paths import within
from .base import check_options
from .width import ChannelSlice, Width


@dataclass(frozen=True)
class Experts(Width):
    """The first ``option`` experts of a mixture stay; the router scores no others.

    Args:
        modules: the experts, where each is a module of its own; they go with their tensors. Experts that lie side by
            side in the same tensors are slices.
    """

    modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, net: nn.Module, name: str, options: Iterable[int], *, router: str, experts: str) -> Experts:
        """The experts of one layer.

        Args:
            net: the network; modules are named by their paths in it.
            name: the name of the choice.
            options: numbers of experts; the last is the whole. None may be less than the router picks for a token.
            router: the module whose weight has a row for each expert.
            experts: an ``nn.ModuleList`` of experts, or a module whose tensors' first dimension is the expert.
        """
        index = ModuleIndex(net)
        held = index.module(experts)
        index.module(router)
        scores = index.tensors_of.get(router, {})
        if "weight" not in scores:
            raise NetError(f"experts {name!r}: the router {router} has no weight with a row for each expert")
        whole = index.shapes[scores["weight"]][0]
        slices = [ChannelSlice(t, 0) for t in scores.values() if index.shapes[t][:1] == (whole,)]
        modules: tuple[str, ...] = ()
        if isinstance(held, nn.ModuleList):
            modules = tuple(f"{experts}.{own}" for own in held._modules)
            sizes = {len(modules)}
            tensors = [name for path in modules for name in _own(index, path)]
            if len(set(tensors)) < len(tensors):
                raise NetError(
                    f"experts {name!r}: some of {experts} hold the same weights (merge_experts makes them), so that "
                    "which stay says nothing of what is held; cut first, merge then"
                )
        else:
            own = index.tensors_of.get(experts, {}).values()
            slices += [ChannelSlice(t, 0) for t in own]
            sizes = {(*index.shapes[t], 1)[0] for t in own}
            if not own:
                raise NetError(f"experts {name!r}: {experts} is neither an nn.ModuleList nor has it tensors of its own")
        if sizes != {whole}:
            raise NetError(f"experts {name!r}: {router} scores {whole} experts, {experts} holds {sorted(sizes)}")
        around = [p for p in {router, experts, experts.rpartition(".")[0]} if p in index.modules]
        size_attributes = tuple(
            (path, attribute)
            for path in sorted(around)
            for attribute, value in vars(index.modules[path]).items()
            if isinstance(value, int) and value == whole and "expert" in attribute
        )
        return cls(name, tuple(slices), check_options(name, options, whole), size_attributes, modules)

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i) for i, path in enumerate(self.modules) if i >= self.options[0]
        }

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        return super().affected_modules(index) - set(self.modules)

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        super().write(option, builder, index)
        for path in self.modules[int(option) :]:  # type: ignore[arg-type]
            builder.skip(path)


def _own(index: ModuleIndex, path: str) -> set[str]:
    """The tensors of a module and all in it."""
    return {name for inner, own in index.tensors_of.items() if within(inner, path) for name in own.values()}
