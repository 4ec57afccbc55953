"""Plain cuts of a model that comes trained: what a person would try without a search."""

from __future__ import annotations

from ..core.candidate import Candidate, Option
from ..core.space import Choice
from ..nets.supernet import SuperNet
from ..sources.base import Source
from ..training.kinds import kinds_of


def plain_cuts(source: Source) -> dict[Candidate, str]:
    """What the plain cuts of a pre-trained model are, in words: fewer blocks, all of them whole; or all blocks, each
    as much narrower as the others. Of other sources there are none.

    They are among the first candidates of a search, and the report says what the search has found beyond them.
    """
    if not source.pretrained or not isinstance(source.net, SuperNet):
        return {}
    net, kinds, found = source.net, kinds_of(source.net), dict[Candidate, str]()
    for kind, words in (("depth", "depth alone"), ("width", "width alone")):
        most = max((len(choice.options) for choice in net.space if kinds[choice.name] == kind), default=1)
        for level in reversed(range(most - 1)):

            def pick(choice: Choice, kind: str = kind, level: int = level, most: int = most) -> Option:
                if kinds[choice.name] != kind:
                    return choice.options[-1]
                return choice.options[(2 * level + 1) * len(choice.options) // (2 * most)]

            found.setdefault(net.space.build(pick), words)
    found.pop(net.largest, None)
    return found
