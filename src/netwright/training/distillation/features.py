"""Feature matching: modules within the network learn to give what they give in the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .inner import Inner, channels_of, of_one_size


@dataclass(frozen=True)
class Features(Inner):
    """The squared differences of activations, relative to the teacher's mean square.

    Romero et al., "FitNets: Hints for thin deep nets" (2015), section 2.2. Their hidden layers of other widths meet in
    a regression that is trained too. Here nothing is added: a sub-network's channels are the first of the largest's,
    with which they are compared; or the regression is solved on the batch.

    Args:
        match: ``channels`` compares the channels that both have, the first; ``linear`` all of the teacher's with the
            least-squares solution that makes them of the network's, whatever these are. It needs more positions in a
            batch than channels: of fewer every teacher can be made, and nothing is learned.
    """

    match: Literal["channels", "linear"] = "channels"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor | None:
        student, teacher = of_one_size(student, teacher)
        at = channels_of(student)
        if self.match == "linear":
            rows, wanted = (t.movedim(at, -1).flatten(0, -2) for t in (student, teacher))
            return relative(_fitted(rows, wanted), wanted) if len(rows) == len(wanted) else None
        both = min(student.shape[at], teacher.shape[at])
        student, teacher = student.narrow(at, 0, both), teacher.narrow(at, 0, both)
        return relative(student, teacher) if student.shape == teacher.shape else None


def relative(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of squared differences as a share of the teacher's mean square."""
    return (student - teacher).square().mean() / teacher.square().mean().clamp_min(torch.finfo(teacher.dtype).tiny)


def _fitted(rows: Tensor, wanted: Tensor) -> Tensor:
    """What a linear layer makes of rows that is the nearest to what is wanted.

    The layer is held fixed where gradients are taken: at the least-squares solution they are the same.
    """
    ones = torch.ones_like(rows[:, :1])
    with torch.no_grad():
        given = torch.cat([rows, ones], 1).double()
        layer = torch.linalg.pinv(given.T @ given, hermitian=True) @ (given.T @ wanted.double())
    return torch.cat([rows, ones], 1) @ layer.to(rows.dtype)
