"""Strategies: which candidates are evaluated next. They know spaces, records and numbers, and neither networks nor
devices."""

from ..core.registry import Registry
from .base import Strategy

STRATEGIES: Registry[Strategy] = Registry(
    "strategy", Strategy, __name__,
    {
        "guided": "guided:Guided", "random": "random:Random", "nsga2": "evolution:Nsga2", "nsga3": "moea:Nsga3",
        "unsga3": "moea:UNsga3", "agemoea": "moea:AgeMoea", "moead": "moea:MoeaD", "ctaea": "moea:CTaea",
        "ga": "moea:Ga", "cmaes": "cmaes:CmaEs", "aging_evolution": "aging_evolution:AgingEvolution",
        "local_search": "local_search:LocalSearch", "coarse_to_fine": "coarse_to_fine:CoarseToFine",
        "linas": "linas:Linas", "concurrentnas": "linas:ConcurrentNas", "weaknas": "weaknas:WeakNas",
        "botorch": "botorch:BoTorch",
    },
)  # fmt: skip
