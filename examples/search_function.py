"""Search with a function alone: no network, no torch. Here: random forests, accuracy against size."""

from __future__ import annotations

from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

import netwright as nw

INPUTS, LABELS = load_wine(return_X_y=True)

space = nw.Space(
    [
        nw.Choice("trees", (1, 2, 4, 8)),
        nw.Choice("depth", (1, 2, 3, 4, 5)),
        nw.Choice("figures", (1, 2, 4, 8)),
    ]
)


def evaluate(candidate: nw.Candidate) -> dict[str, float]:
    """What costs a run."""
    trees, depth, figures = (int(candidate[name]) for name in ("trees", "depth", "figures"))  # type: ignore[arg-type]
    forest = RandomForestClassifier(trees, max_depth=depth, max_features=figures, random_state=0)
    return {"accuracy": 100 * cross_val_score(forest, INPUTS, LABELS, cv=3).mean()}


def nodes(candidate: nw.Candidate) -> dict[str, float]:
    """What can be computed: the most nodes that the forest may have."""
    return {"nodes": int(candidate["trees"]) * (2 ** (int(candidate["depth"]) + 1) - 1)}  # type: ignore[arg-type]


records = nw.search(
    space,
    evaluate,
    objectives={"accuracy": "max", "nodes": "min"},
    exact=nodes,
    limits=["nodes <= 300"],
    evaluations=20,
)
for record in nw.front(records):
    print(f"{record.values['accuracy']:5.1f} %  {record.values['nodes']:4.0f} nodes  {dict(record.candidate)}")
