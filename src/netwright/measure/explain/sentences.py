"""What an explanation says, in sentences that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from ...core.precision import FORMS
from .explanation import Explanation, LayerReport, of_kind

NOTABLE = 0.03
"""Share of the time from which something is worth a sentence."""
SLOWER = 1.05
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
    kinds = []
    for kind, layers in of_kind([each for each in found.layers if each.float_ms]).items():
        ms, before = sum(each.whole_ms for each in layers), sum(each.float_ms or 0.0 for each in layers)
        kinds.append((ms - before, kind, layers, ms, before))
    for lost, kind, layers, ms, before in sorted(kinds, key=lambda each: -each[0]):
        if ms > SLOWER * before and lost > NOTABLE * found.ms:
            slow = [each for each in layers if each.whole_ms > SLOWER * (each.float_ms or 0.0)]
            which = names(slow, key=lambda each: -each.whole_ms)
            which = _verb("it", slow) if len(slow) == len(layers) else which
            yield (
                f"{_many(len(layers), kind)} {_verb('take', layers)} {ms / found.ms:.0%} of the time and "
                f"{_verb('are', layers)} {ms / before:.1f}x slower than in float32, by {lost:.3g} ms: keep {which} in "
                f"float32{_named(slow) if len(slow) == len(layers) else ''}"
            )
    gains = [each for each in kinds if each[0] < -NOTABLE * found.float_ms]
    if gains:
        each = ", ".join(
            f"{_many(len(layers), kind)} ({before / max(ms, 1e-9):.1f}x)" for _, kind, layers, ms, before in gains
        )
        yield f"faster than in float32: {each}"


def _conversions(found: Explanation) -> Iterator[str]:
    total = sum(each.ms for each in found.conversions)
    if total <= NOTABLE * found.ms:
        return
    kinds = sorted({each.kind for each in found.conversions})
    first = found.conversions[0]
    where = f"after {first.layer}" if first.layer else "at the network's inputs"
    number = f"{len(found.conversions)} conversions ({', '.join(kinds)}) take"
    if len(found.conversions) == 1:
        number = f"one conversion ({kinds[0]}) takes"
    yield (
        f"{number} {total / found.ms:.0%} of the time, the most {where} ({first.ms / found.ms:.0%}): neighbouring "
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


def _named(layers: Sequence[LayerReport]) -> str:
    """The names in brackets."""
    return f" ({names(layers, key=lambda each: -each.whole_ms)})"


def _many(count: int, kind: str) -> str:
    return f"the {count} {kind}s" if count > 1 else f"the {kind}"


VERBS = {"take": "takes", "are": "is", "have": "has", "run": "runs", "make": "makes"}


def _verb(word: str, layers: Sequence[LayerReport]) -> str:
    """A word in the number of layers."""
    if word == "it":
        return "it" if len(layers) == 1 else "them"
    return VERBS[word] if len(layers) == 1 else word
