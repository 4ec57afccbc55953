"""What a source is: something that can be searched, and what else a job can do with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.candidate import Candidate, Option
from ..core.errors import NetwrightError, RecipeError
from ..core.space import Space
from ..measure.base import Measurer, Searchable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from ..nets.inputs import Inputs
    from ..nets.supernet import SuperNet


class Source(ABC):
    """What a recipe's model gives.

    Args:
        reference: the recipe's ``module:function``, for messages.
    """

    untrained: str = ""
    """Why nothing of it is trained; empty where it is."""
    pretrained: bool = False
    """Whether its weights come trained, though its head may be new for the task."""
    new_head: bool = False
    """Whether it is pre-trained, and its head is new."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read, in sentence parts."""
    formats: tuple[str, ...] = ()
    """File formats beside the standard ones that its networks are written in unless a recipe says which."""
    no_networks: str = ""
    """Why it holds no networks; empty where it does."""
    measurers: tuple[Measurer, ...] = ()
    """Those of metrics of its own, which replace netwright's of the same names."""
    spaces: tuple[str, ...] = ()
    """Fingerprints of all spaces that its weights may have been trained in."""
    counts: tuple[Measurer, ...] = ()
    """Those of its networks' sizes."""
    fingerprint: str | None = None
    """A text that changes with what is in it, so that a study does not mix two; None where the recipe says it all."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    @property
    @abstractmethod
    def net(self) -> Searchable:
        """What a study searches."""

    @property
    def space(self) -> Space:
        """The candidates."""
        return self.net.space

    def check(self) -> None:  # noqa: B027  # of most there is nothing to say
        """Say what cannot work before anything costly begins."""

    def require_networks(self) -> None:
        """Raise with the reason where there are no networks."""
        if self.no_networks:
            raise NetwrightError(self.no_networks)

    def supernet(self) -> SuperNet:
        """What is trained. Raises with the reason where nothing is."""
        raise NetwrightError(self.untrained)

    def in_bits(self, options: Sequence[str], by: str, ends: bool) -> Source:
        """The same with axes of the layers' precisions, for which its layers are prepared. Raises with the reason where
        there are none.

        Args:
            options: precisions beside float32; see :class:`netwright.Bits`.
            by: see :meth:`netwright.Bits.of`.
            ends: whether the first and the last layer have them too.
        """
        raise RecipeError(
            f"bits: {self.reference} gives no netwright.SuperNet, whose layers alone can have precisions of their own; "
            "leave the key out"
        )

    def of(self, net: SuperNet) -> Source:
        """The same of another super-network on the same module, such as one whose blocks are in another order. Raises
        with the reason where it has none."""
        raise NetwrightError(self.untrained)

    def learned(self, tensors: Mapping[str, Tensor], file: Path) -> Source:
        """The same where a new head has learned the task: with weights of the largest network. Raises with the reason
        where it has none.

        Args:
            tensors: by name.
            file: where they lie, for messages.
        """
        raise NetwrightError(self.untrained)

    def keeping(self, options: Mapping[str, Sequence[Option]]) -> Source:
        """The same with some options of its choices alone. Raises with the reason where they are not its own.

        Args:
            options: those to keep, by the names of choices.
        """
        raise RecipeError(
            f"choices: {self.reference} gives no netwright.SuperNet, of which alone options can be left out; leave the "
            "key out, and give it a smaller space"
        )

    def largest(self) -> nn.Module:
        """The largest network; not to be changed."""
        self.require_networks()
        network: nn.Module = self.net.extract(self.space.largest)
        return network

    def example_of(self, network: nn.Module) -> Inputs:
        """What one of its networks is called with: the network's own example inputs, or the source's."""
        own: Inputs | None = getattr(network, "example_inputs", None)
        if own is not None:
            return own
        given: Any = self.net
        inputs: Inputs = given.example_inputs
        return inputs

    def counts_of(self, candidate: Candidate) -> dict[str, float]:
        """The exact metrics of a candidate by name, as far as they cost nothing."""
        return {}


def measurers_of(made: Any) -> tuple[Any, ...]:
    """What the attribute ``measurers`` of a person's object holds: one, or several."""
    several = getattr(made, "measurers", ())
    return tuple(several) if isinstance(several, list | tuple) else (several,)
