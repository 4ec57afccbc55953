"""What an explanation says, in sentences that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from ...core.precision import FORMS
from .explanation import NOTABLE, SLOWER, Explanation, Kind, LayerReport, kinds_of, slow_kinds

CLIPPED = 0.005
"""Share of values beyond the ends of a range from which it is too narrow: a percentile of 99.9 leaves out 0.001."""
ENOUGH = 30.0
"""Outputs so many dB above their error, 3 % of their size, need no layer that is to blame."""
SATURATED = 0.001
MOST_NAMES = 4


def sentences(found: Explanation, exact: bool | None) -> Iterator[str]:
    """The sentences, the most important first.

    Args:
        found: the explanation, without them.
        exact: whether the target computes sums of unsigned by signed 8-bit products exactly; None: not known.
    """
    yield _whole(found)
    yield from _slow_kinds(found)
    yield from _conversions(found)
    yield from _fallbacks(found)
    yield from _errors(found)
    yield from _ranges(found)
    yield from _saturation(found, exact)


def _whole(found: Explanation) -> str:
    ratio = found.latency.value / found.float_latency.value
    how = f"{ratio:.2f}x slower than" if ratio > SLOWER else f"{1 / ratio:.2f}x faster than"
    how = "as fast as" if 1 / SLOWER <= ratio <= SLOWER else how
    times = f"{found.latency.value:.3g} ms beside {found.float_latency.value:.3g} ms"
    error = "" if found.sqnr is None else f"; its outputs are {found.sqnr:.1f} dB above their error"
    return f"the file is {how} float32 on this target: {times}{error}"


def _slow_kinds(found: Explanation) -> Iterator[str]:
    """Kinds of layers that take longer than in float32, the costliest first; then those that gain."""
    for kind in slow_kinds(found.layers, found.ms):
        many, ratio = kind.layers, f"{kind.ms / kind.float_ms:.1f}x slower than" if kind.float_ms else "slower than"
        yield (
            f"{kind} {_verb('take', many)} {kind.ms / found.ms:.0%} of the time and {_verb('are', many)} {ratio} in "
            f"float32, by {kind.lost:.3g} ms{_advice(found, kind)}"
        )
    yield from _trials(found)
    gains = [kind for kind in kinds_of(found.layers) if kind.lost < -NOTABLE * found.float_ms]
    if gains:
        each = ", ".join(f"{kind} ({kind.float_ms / max(kind.ms, 1e-9):.1f}x)" for kind in gains)
        yield f"faster than in float32: {each}"


def _advice(found: Explanation, kind: Kind) -> str:
    """What to do about a kind of layers, where it was not tried."""
    which = names(kind.slow, key=lambda each: -each.whole_ms)
    if found.trials:
        return f" ({which})"
    return f": try to keep {which} in float32, and measure: conversions around them cost time too"


def _trials(found: Explanation) -> Iterator[str]:
    """What it takes to keep the slow layers in float32, the best way first."""
    if not found.trials:
        return
    best = min(found.trials, key=lambda each: each.latency.value)
    ratio = best.latency.value / found.latency.value
    if ratio < 1 / SLOWER:
        beside = "faster than float32" if best.latency.value < found.float_latency.value else "still not float32's"
        yield (
            f"keep {best.kinds} in float32: measured so, the file takes {best.latency.value:.3g} ms, {ratio:.2f}x of "
            f"its time now ({beside})"
        )
    else:
        tried = ", ".join(f"{each.kinds} {each.latency.value:.3g} ms" for each in found.trials)
        yield f"keeping them in float32 does not help, since more is converted then (measured: {tried})"


def _conversions(found: Explanation) -> Iterator[str]:
    total = sum(each.ms for each in found.conversions)
    if total <= NOTABLE * found.ms:
        return
    kinds = sorted({each.kind for each in found.conversions})
    first = found.conversions[0]
    where = f"the most at {first.layer}" if first.layer else "the most at no layer"
    number = f"{len(found.conversions)} conversions ({', '.join(kinds)}) take"
    if len(found.conversions) == 1:
        number = f"one conversion ({kinds[0]}) takes"
    yield (
        f"{number} {total / found.ms:.0%} of the time, {where} ({first.ms / found.ms:.0%}): neighbouring "
        "layers in one precision need none"
    )


def _fallbacks(found: Explanation) -> Iterator[str]:
    fell = [each for each in found.layers if each.fell_back]
    if fell:
        share = sum(each.whole_ms for each in fell) / found.ms
        yield (
            f"{names(fell)} {_verb('have', fell)} weights of few bits and yet {_verb('run', fell)} in float32 "
            f"({share:.0%} of the time): the runtime has no 8-bit operator for {_verb('it', fell)}, which saves bytes "
            "alone"
        )
    kept = [each for each in found.layers if each.bits > 8 and each.runs_in.startswith("float")]
    quantised = [each for each in found.layers if each.bits <= 8]
    if kept and quantised:
        share = sum(each.whole_ms for each in kept) / found.ms
        yield f"{names(kept)} {_verb('are', kept)} in float32 in the file ({share:.0%} of the time)"


def _errors(found: Explanation) -> Iterator[str]:
    """The fewest layers that make more than half of the outputs' error."""
    known = sorted((e for e in found.layers if e.errors.share is not None), key=lambda e: -(e.errors.share or 0.0))
    sums = list(accumulate(each.errors.share or 0.0 for each in known))
    count = next((i + 1 for i, total in enumerate(sums) if total > 0.5), 0)
    if not count or found.sqnr is None or found.sqnr > ENOUGH:
        return
    if count > max(2, len(known) // 3):
        yield f"no layer dominates the outputs' error: half of it is that of {count} of {len(known)} layers"
        return
    worst = known[:count]
    alone = min(each.errors.alone or 0.0 for each in worst)
    fix = f"keep {_verb('it', worst)} in float32, or give {_verb('it', worst)} more bits"
    if all((each.errors.clipped or 0.0) > CLIPPED for each in worst):
        fix = f"first take better ranges for {_verb('it', worst)}"
    yield (
        f"{names(worst)} {_verb('make', worst)} {sums[count - 1]:.0%} of the outputs' error "
        f"({'alone' if count == 1 else 'the worst alone'} {alone:.1f} dB): {fix}"
    )


def _ranges(found: Explanation) -> Iterator[str]:
    cut = [each for each in found.layers if (each.errors.clipped or 0.0) > CLIPPED]
    if cut:
        worst = max(cut, key=lambda each: each.errors.clipped or 0.0)
        yield (
            f"the ranges at {names(cut, key=lambda each: -(each.errors.clipped or 0.0))} are too narrow for these "
            f"inputs ({worst.errors.clipped:.1%} of the values at {worst.path} are beyond them): take ranges from more "
            "inputs, and from real ones"
        )


def _saturation(found: Explanation, exact: bool | None) -> Iterator[str]:
    wrong = [each for each in found.layers if (each.errors.saturated or 0.0) > SATURATED]
    if not wrong:
        return
    worst = max(wrong, key=lambda each: each.errors.saturated or 0.0)
    here = {True: "this target computes them exactly", False: "this target is one", None: "is not known of this target"}
    others = ", ".join(form for form in FORMS if form != "u8s8")
    yield (
        f"on x86 CPUs without VNNI {names(wrong, key=lambda each: -(each.errors.saturated or 0.0))} would be wrong "
        f"({worst.errors.saturated:.1%} of the sums of {worst.path} exceed 16 bits; {here[exact]}): for those quantise "
        f"with form={others}"
    )


def names(layers: Sequence[LayerReport], key: Callable[[LayerReport], float] | None = None) -> str:
    """The paths of layers, in the order of a key; of many only the first."""
    some = [each.path for each in (sorted(layers, key=key) if key else layers)]
    more = len(some) - MOST_NAMES
    if more > 1:
        return f"{', '.join(some[:MOST_NAMES])} and {more} more layers"
    return " and ".join([", ".join(some[:-1]), some[-1]] if len(some) > 1 else some)


VERBS = {"take": "takes", "are": "is", "have": "has", "run": "runs", "make": "makes"}


def _verb(word: str, layers: Sequence[LayerReport]) -> str:
    """A word in the number of layers."""
    if word == "it":
        return "it" if len(layers) == 1 else "them"
    return VERBS[word] if len(layers) == 1 else word
