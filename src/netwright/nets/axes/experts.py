"""Experts: how many experts of a mixture stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import Anatomy, Draft
from .base import check_options
from .width import Slot, Width


@dataclass(frozen=True)
class Experts(Width):
    """The first ``option`` experts of a mixture stay; the router scores no others.

    Args:
        modules: the experts, where each is a module of its own; they go with their tensors. Experts that lie side by
            side in the same tensors are slots.
    """

    modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, net: nn.Module, name: str, options: Iterable[int], *, router: str, experts: str) -> Experts:
        """The experts of one layer.

        Args:
            net: the network; modules are named by their paths in it.
            name: of the choice.
            options: numbers of experts; the last is the whole. None may be less than the router picks for a token.
            router: the module whose weight has a row for each expert.
            experts: an ``nn.ModuleList`` of experts, or a module whose tensors' first dimension is the expert.
        """
        anatomy = Anatomy(net)
        held = anatomy.module(experts)
        anatomy.module(router)
        scores = anatomy.tensors_of.get(router, {})
        if "weight" not in scores:
            raise NetError(f"experts {name!r}: the router {router} has no weight with a row for each expert")
        whole = anatomy.shapes[scores["weight"]][0]
        slots = [Slot(t, 0) for t in scores.values() if anatomy.shapes[t][:1] == (whole,)]
        modules: tuple[str, ...] = ()
        if isinstance(held, nn.ModuleList):
            modules = tuple(f"{experts}.{own}" for own in held._modules)
            sizes = {len(modules)}
        else:
            own = anatomy.tensors_of.get(experts, {}).values()
            slots += [Slot(t, 0) for t in own]
            sizes = {(*anatomy.shapes[t], 1)[0] for t in own}
            if not own:
                raise NetError(f"experts {name!r}: {experts} is neither an nn.ModuleList nor has it tensors of its own")
        if sizes != {whole}:
            raise NetError(f"experts {name!r}: {router} scores {whole} experts, {experts} holds {sorted(sizes)}")
        around = [p for p in {router, experts, experts.rpartition(".")[0]} if p in anatomy.modules]
        counts = tuple(
            (path, attribute)
            for path in sorted(around)
            for attribute, value in vars(anatomy.modules[path]).items()
            if isinstance(value, int) and value == whole and "expert" in attribute
        )
        return cls(name, tuple(slots), check_options(name, options, whole), counts, modules)

    def hides(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i) for i, path in enumerate(self.modules) if i >= self.options[0]
        }

    def places(self, anatomy: Anatomy) -> set[str]:
        return super().places(anatomy) - set(self.modules)

    def write(self, option: Option, draft: Draft, anatomy: Anatomy) -> None:
        super().write(option, draft, anatomy)
        for path in self.modules[int(option) :]:  # type: ignore[arg-type]
            draft.skip(path)
