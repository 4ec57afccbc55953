"""An estimate of energy from published energies of single operations. Not a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from ..core.errors import MeasureError, did_you_mean
from ..core.metric import Measurement, Metric
from .base import EvaluationContext, ManyCandidates, Measurer
from .counts import counts_of

ENERGY_ESTIMATE = Metric("energy_estimate", "mJ", "min", exact=True)

PJ_PER_MAC = {"float32": 3.7 + 0.9, "float16": 1.1 + 0.4, "int8": 0.2 + 0.03}
"""A multiplication and an addition in pJ, at 45 nm and 0.9 V (Horowitz, ISSCC 2014, figure 1.1.9)."""
PJ_PER_BYTE = (1300 + 2600) / 2 / 8
"""The middle of the 1.3 to 2.6 nJ that reading 64 bits of DRAM takes there, by byte."""
BYTES = {"float32": 4, "float16": 2, "int8": 1}


class EnergyEstimate(Measurer):
    """What a network would draw on a chip of 45 nm, in mJ, by arithmetic alone: to rank networks, not a measurement.

    Multiply-accumulates times the energy of one, plus the bytes moved times the energy of moving one; the energies
    are those of Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, pages 10 to 14,
    figure 1.1.9 (doi:10.1109/ISSCC.2014.6757323). It assumes

    * that every operator reads its arguments and weights from DRAM and writes its results there: nothing is fused and
      nothing is cached (``moved_bytes`` of :class:`netwright.nets.counts.Counts`), which overstates the memory's share;
    * that multiply-accumulates cost no more than the arithmetic itself: no instructions, no registers, no idle units,
      and that all other operators compute for nothing;
    * that a smaller precision moves as many elements of its own size, sums of int8 products included;
    * that nothing leaks, and that neither zeros nor the batch save anything.

    Chips of today take less for each of these, and another part of it for memory: give their own energies if you have
    them. For the true energy on a machine with a meter, measure :class:`netwright.Energy`.

    Args:
        precision: ``float32``, ``float16`` or ``int8``; of multiplications, weights and activations.
        pj_per_mac: energy of a multiply-accumulate in pJ; by default the precision's (4.6, 1.5, 0.23).
        pj_per_byte: energy of moving a byte to or from memory in pJ; by default the middle of the published range
            (243.75).
    """

    metrics = (ENERGY_ESTIMATE,)

    def __init__(
        self, precision: str = "float32", pj_per_mac: float | None = None, pj_per_byte: float = PJ_PER_BYTE
    ) -> None:
        if precision not in PJ_PER_MAC:
            raise MeasureError(
                f"no energies are known for precision {precision!r}; {did_you_mean(precision, PJ_PER_MAC)}"
            )
        self.precision = precision
        self.pj_per_mac = PJ_PER_MAC[precision] if pj_per_mac is None else pj_per_mac
        self.pj_per_byte = pj_per_byte
        for name in ("pj_per_mac", "pj_per_byte"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise MeasureError(f"{name} must be an energy in pJ of 0 or more, not {value!r}")

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        count: Any = getattr(context.net, "count", None)
        if count is None:
            raise MeasureError("this super-network does not count, so its networks' energy cannot be estimated")
        counts = count(context.candidate)
        how = {"uncounted": list(counts.uncounted)} if counts.uncounted else {}
        return {"energy_estimate": Measurement(float(self._energy(counts)), "mJ", kind="exact", details=how)}

    def compute(self, many: ManyCandidates) -> Mapping[str, np.ndarray] | None:
        counts = counts_of(many)
        return None if counts is None else {"energy_estimate": self._energy(counts)}

    def _energy(self, counts: Any) -> np.ndarray:
        """Of one candidate's counts, or of many."""
        params = np.asarray(counts.params)
        # Elements moved, as far as they are known: bytes by the size of the network's own.
        own = np.where(params, counts.weight_bytes / np.maximum(params, 1), BYTES["float32"])
        moved = counts.moved_bytes * BYTES[self.precision] / own
        return np.asarray(1e-9 * (counts.macs * self.pj_per_mac + moved * self.pj_per_byte))

    def provenance(self) -> Mapping[str, Any]:
        about = {"precision": self.precision, "pj_per_mac": self.pj_per_mac, "pj_per_byte": self.pj_per_byte}
        return {"energy_estimate": about}
