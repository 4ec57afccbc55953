"""The contract of a predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..core.space import Choice, Space
from ..strategies.integer_encoding import IntegerEncoding
from ..strategies.predict.base import Predictor
from ..strategies.predict.encode import Encoder, Features

Make = Callable[[], Predictor]


def check_predictor(make: Make) -> None:
    """Check that predictions are finite, repeatable, of the right kind, and better than none.

    Args:
        make: a new predictor, with its settings.

    Raises:
        AssertionError: with what is wrong.
    """
    _is_deterministic(make)
    _is_told_in_any_order(make)
    _takes_awkward_records(make)
    _takes_noise(make)
    _learns(make)
    _is_blind_to_inactive_choices(make)


def _space() -> Space:
    """Stages of blocks that may be absent, and operators without an order."""
    stages = [Choice(f"depth{s}", (1, 2, 3)) for s in range(2)]
    blocks = [
        choice
        for s in range(2)
        for j in range(3)
        for when in [None if j == 0 else {f"depth{s}": tuple(range(j + 1, 4))}]
        for choice in (Choice(f"kernel{s}{j}", (3, 5, 7), when), Choice(f"kind{s}{j}", ("plain", "gated"), when))
    ]
    return Space([*stages, *blocks])


def _features(rows: np.ndarray) -> Features:
    """With one exact metric: the sum of the kernels' areas."""
    kernels = [i for i, choice in enumerate(_space()) if choice.name.startswith("kernel")]
    cost = np.where(rows[:, kernels] >= 0, (3 + 2 * rows[:, kernels]) ** 2, 0).sum(axis=1)
    return Encoder(_space()).rows(rows, cost[:, None].astype(np.float64))


def _records(n: int, seed: int) -> tuple[Features, np.ndarray]:
    """Networks and a quality of theirs: effects of every block, of its kind beside its kernel, and of depth."""
    rows = IntegerEncoding(_space()).sample(n, np.random.default_rng(seed))
    place = {choice.name: i for i, choice in enumerate(_space())}
    quality = np.zeros(n)
    for s in range(2):
        for j in range(3):
            kernel, kind = rows[:, place[f"kernel{s}{j}"]], rows[:, place[f"kind{s}{j}"]]
            quality += np.where(
                kernel >= 0, (1 + s) / (1 + j) * (1 + 0.5 * kernel + (kind == 1) * (1 - 0.4 * kernel)), 0
            )
    return _features(rows), 70 + quality


def _predicted(make: Make, known: Features, values: np.ndarray, new: Features) -> tuple[np.ndarray, np.ndarray]:
    model = make()
    assert model.fit(known, values) is model, "fit() must return the predictor itself"
    mean, std = model.predict(new)
    _is_well_formed(mean, std, len(new), "plain records")
    return mean, std


def _is_well_formed(mean: np.ndarray, std: np.ndarray, n: int, what: str) -> None:
    assert mean.shape == std.shape == (n,), f"{what}: shapes {mean.shape} and {std.shape}, not {(n,)}"
    assert np.isfinite(mean).all() and np.isfinite(std).all(), f"{what}: predictions must be finite"
    assert (std >= 0).all(), f"{what}: standard deviations must not be negative, the least is {std.min()}"


def _is_deterministic(make: Make) -> None:
    (known, values), (new, _) = _records(24, 0), _records(12, 1)
    given = known.matrix.copy(), values.copy()
    first, second = _predicted(make, known, values, new), _predicted(make, known, values, new)
    assert np.array_equal(first, second), "two fits to the same records must predict the same"
    assert np.array_equal(given[0], known.matrix) and np.array_equal(given[1], values), "fit() must not change records"
    assert len(make().fit(known, values).predict(new[:0])[0]) == 0, "no candidates, no predictions"


def _is_told_in_any_order(make: Make) -> None:
    (known, values), (new, _) = _records(24, 0), _records(12, 1)
    mean, std = _predicted(make, known, values, new)
    order = np.random.default_rng(5).permutation(len(values))
    again = _predicted(make, known[order], values[order], new[::-1])
    near = 1e-3 * float(values.std())
    assert np.allclose(again[0][::-1], mean, atol=near), "means must not depend on the order of records"
    assert np.allclose(again[1][::-1], std, atol=near), "standard deviations must not depend on the order of records"


def _takes_awkward_records(make: Make) -> None:
    features, values = _records(20, 3)
    everything = np.arange(20)
    cases: dict[str, tuple[Features, np.ndarray]] = {
        "one record": (features[:1], values[:1]),
        "two records": (features[:2], values[:2]),
        "one network many times": (features[everything * 0], values),
        "values that do not vary": (features, np.full(20, 7.0)),
        "values of 0": (features, np.zeros(20)),
        "columns that are sums of others": (
            features.with_costs(3 + features.positions[:, :10] + features.positions[:, 10:]),
            values,
        ),
        "more columns than records": (
            features[:6].with_costs(np.random.default_rng(1).normal(size=(6, 50))),
            values[:6],
        ),
        "huge values": (features, values * 1e12),
        "tiny values": (features, values * 1e-12),
        "huge costs": (features.with_costs(1e8 * features.costs), values),
        "no costs": (replace(features, costs=np.zeros((20, 0))), values),
    }
    for what, (known, found) in cases.items():
        mean, std = make().fit(known, found).predict(known)
        _is_well_formed(mean, std, len(found), what)
        if what in ("one record", "one network many times", "values that do not vary", "values of 0"):
            about = 1e-6 * max(float(np.abs(found).max()), 1e-12) + 0.2 * float(found.std())
            assert np.allclose(mean, found.mean(), atol=about), f"{what}: {mean[0]} is predicted, not {found.mean()}"


def _takes_noise(make: Make) -> None:
    features, values = _records(40, 4)
    noise = np.where(np.arange(40) % 2, 50.0, 0.01)
    wrong = values + noise * np.random.default_rng(0).choice([-1.0, 1.0], 40)
    sure = np.arange(40) % 2 == 0
    told, _ = make().fit(features, wrong, noise).predict(features[sure])
    untold, _ = make().fit(features, wrong).predict(features[sure])
    miss, before = (float(np.sqrt(np.mean((m - values[sure]) ** 2))) for m in (told, untold))
    assert miss < 0.7 * before, (
        f"what is known to be noisy must count less: an error of {miss:.3g}, {before:.3g} untold"
    )


def _learns(make: Make) -> None:
    (known, values), (new, truth) = _records(60, 6), _records(200, 7)
    mean, std = _predicted(make, known, values, new)
    error, without = np.sqrt(np.mean((mean - truth) ** 2)), np.sqrt(np.mean((values.mean() - truth) ** 2))
    assert error < 0.6 * without, f"an error of {error:.3g} on held-out networks; the mean alone has {without:.3g}"
    inside = float(np.mean(np.abs(mean - truth) <= 3 * std))
    assert inside > 0.5, f"only {inside:.0%} of held-out networks lie within three stated standard deviations"


def _is_blind_to_inactive_choices(make: Make) -> None:
    model = make().fit(*_records(24, 0))
    encoding, rng = IntegerEncoding(_space()), np.random.default_rng(8)
    complete = encoding.random(50, rng)
    canonical = encoding.canonical(complete)
    other = encoding.canonical(np.where(canonical < 0, encoding.random(50, rng), complete))
    assert np.array_equal(model.predict(_features(canonical)), model.predict(_features(other))), (
        "what an inactive choice would be must not matter"
    )
