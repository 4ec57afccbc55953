"""Strategies by the names that recipes know."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..core.errors import CallError, NetwrightError, did_you_mean
from .base import Strategy

STRATEGIES = {
    "guided": "guided:Guided", "random": "random:Random", "nsga2": "evolution:Nsga2", "nsga3": "moea:Nsga3",
    "unsga3": "moea:UNsga3", "agemoea": "moea:AgeMoea", "moead": "moea:MoeaD", "ctaea": "moea:CTaea", "ga": "moea:Ga",
    "cmaes": "cmaes:CmaEs", "aging_evolution": "aging_evolution:AgingEvolution",
    "local_search": "local_search:LocalSearch",
    "coarse_to_fine": "coarse_to_fine:CoarseToFine", "linas": "linas:Linas", "concurrentnas": "linas:ConcurrentNas",
    "weaknas": "weaknas:WeakNas", "botorch": "botorch:BoTorch",
}  # fmt: skip
"""Name to the module of this package and the class, which is imported when it is asked for."""


def strategy_of(what: Any) -> Strategy:
    """A strategy as it is, or the one of a name with its defaults.

    Raises :class:`NetwrightError` for what is neither.
    """
    if isinstance(what, Strategy):
        return what
    if not isinstance(what, str):
        raise CallError(f"strategy is an object such as nw.Random(), or a name such as 'random', not {what!r}")
    if what not in STRATEGIES:
        raise NetwrightError(f"there is no strategy {what!r}; {did_you_mean(what, STRATEGIES)}")
    module, _, name = STRATEGIES[what].partition(":")
    made: Strategy = getattr(import_module(f"{__package__}.{module}"), name)()
    return made
