"""What networks give for a batch: their outputs, and what chosen modules within them gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from ..nets.inputs import Inputs, call, each_tensor, fresh


@dataclass(frozen=True)
class Answer:
    """What a network gave for a batch.

    Args:
        outputs: of the network, of any structure.
        features: the outputs of modules within it that were watched, by their names in the network; those that did not
            run are not there.
    """

    outputs: Any
    features: Mapping[str, Any] = field(default_factory=dict)

    def detached(self) -> Answer:
        """The same without a graph: to be learned from."""
        features = {name: each_tensor(value, Tensor.detach) for name, value in self.features.items()}
        return Answer(each_tensor(self.outputs, Tensor.detach), features)


class Teacher(Protocol):
    """Gives the answer that others learn from, detached from any graph."""

    def __call__(self, inputs: Inputs, watched: Sequence[str] = ()) -> Answer:
        """The answer to inputs, with the outputs of the watched modules."""


def answer_of(module: nn.Module, inputs: Inputs, watched: Sequence[str] = ()) -> Answer:
    """What a network gives for inputs, with the outputs of the watched modules."""
    with watching(module, watched) as features:
        return Answer(call(module, fresh(inputs)), features)


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The last outputs of these modules within a network, by name, as they come while the block lasts.

    Names that a network does not have are left out: a sub-network may lack what another has.
    """
    seen: dict[str, Any] = {}
    if not names:
        yield seen
        return
    own = dict(module.named_modules())

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            seen[name] = output

        return hook

    with ExitStack() as stack:
        for name in names:
            if name in own:
                stack.callback(own[name].register_forward_hook(keep(name)).remove)
        yield seen
