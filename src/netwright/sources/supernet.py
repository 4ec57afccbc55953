"""netwright's own super-networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.candidate import Candidate, Option
from ..measure.counts import METRICS, Count
from ..nets.axes import Bits
from ..nets.precisions.registry import FLOAT32
from ..nets.state import load_state
from ..nets.supernet import SuperNet
from .base import Source, measurers_of


class SuperNetSource(Source):
    """A super-network that can be trained here.

    Args:
        net: what is searched. It may have an attribute ``measurers``, of metrics of its own or of such as netwright
            measures in another way, like a :class:`netwright.LookupTable` of latencies.
        reference: the recipe's ``module:function``, or the checkpoint.
        pretrained, new_head, notes, formats: see :class:`Source`.
        spaces: fingerprints of other spaces that the same weights serve, such as the one before some options were left
            out.
    """

    def __init__(
        self,
        net: SuperNet,
        reference: str,
        *,
        pretrained: bool = False,
        new_head: bool = False,
        notes: Sequence[str] = (),
        formats: Sequence[str] = (),
        spaces: Sequence[str] = (),
    ) -> None:
        super().__init__(reference)
        self._net = net
        self._about: dict[str, Any] = {"pretrained": pretrained, "new_head": new_head}
        self._about |= {"notes": tuple(notes), "formats": tuple(formats)}
        vars(self).update(self._about)
        self.spaces = (*spaces, net.space.fingerprint)
        # Where nothing has bits to choose, bit-operations are multiply-accumulates times a constant.
        bits = any(isinstance(part, Bits) for axis in net.axes for part in axis.members())
        self.counts = tuple(Count(name) for name in METRICS if bits or name != "bit_ops")
        self.measurers = measurers_of(net)

    @property
    def net(self) -> SuperNet:
        """The super-network."""
        return self._net

    def in_bits(self, options: Sequence[str], by: str, ends: bool) -> SuperNetSource:
        """With those of :meth:`netwright.Bits.of`."""
        texts = [*(text for text in options if text != FLOAT32), FLOAT32]
        return self.of(self._net.with_axes([*self._net.axes, *Bits.of(self._net, texts, by, () if ends else None)]))

    def of(self, net: SuperNet) -> SuperNetSource:
        net.measurers = self.measurers  # type: ignore[attr-defined]
        found = SuperNetSource(net, self.reference, **self._about, spaces=self.spaces)
        found.fingerprint = self.fingerprint
        return found

    def learned(self, tensors: Mapping[str, Tensor], file: Path) -> SuperNetSource:
        load_state(self._net.module, tensors, file)
        found = self.of(self._net)
        found._about["new_head"] = found.new_head = False
        return found

    def keeping(self, options: Mapping[str, Sequence[Option]]) -> SuperNetSource:
        """By :meth:`netwright.SuperNet.keep_options`."""
        self._net.keep_options(options)
        return self.of(self._net)

    def supernet(self) -> SuperNet:
        """The super-network."""
        return self._net

    def largest(self) -> nn.Module:
        """The given module itself."""
        return self._net.module

    def counts_of(self, candidate: Candidate) -> dict[str, float]:
        """All counts."""
        counts = self._net.count(candidate)
        return {m.name: float(getattr(counts, m.name)) for count in self.counts for m in count.metrics}
