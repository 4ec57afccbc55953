"""What is told of the space that pays on a target: as tables, for the terminal and for a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.space import about
from ..measure.worth import WORTH, OptionWorth, Saving
from .device_space import DeviceSpace

KINDS = ("layers", "number", "float32 ms", "int8 ms", "saved", "")
OPTIONS = ("choice", "option", "beside", "saved in float32", "saved in int8", "")


def kinds_table(found: DeviceSpace) -> list[tuple[str, ...]]:
    """Layers in 8 bits beside float32, by kind: rows of :data:`KINDS`."""
    return [
        (
            each.kind, f"{each.layers}", f"{each.float_ms:.3f}", f"{each.ms:.3f}", _share(each.saving),
            _verdict(each.saving.may_pay),
        )
        for each in found.kinds
    ]  # fmt: skip


def options_table(found: DeviceSpace) -> list[tuple[str, ...]]:
    """The options of choices: rows of :data:`OPTIONS`."""
    return [
        (
            name,
            f"{each.option}",
            "" if each.larger is None else f"{each.larger}",
            *(_saved(each, precision) for precision in ("float32", "int8")),
            "whole" if each.larger is None else _verdict(each.is_kept, each.is_clear),
        )
        for name, options in found.options.items()
        for each in options
    ]


def sentences(found: DeviceSpace) -> Iterator[str]:
    """What came of it, in words."""
    before, now = found.sizes
    gone = [(name, each.option) for name, options in found.options.items() for each in options if not each.is_kept]
    measured = sum(len(options) - 1 for options in found.options.values())
    yield (
        f"{len(gone)} of {measured} options that were measured save less than {WORTH:.0%} of the time of the blocks "
        "that they change, noise included, and are left out"
    )
    lost = [name for name, each in found.bits.items() if not each.may_pay]
    if found.bits:
        those = f": {', '.join(lost[:6])}{' and others' if len(lost) > 6 else ''}" if lost else ""
        yield f"int8 is left out of {len(lost)} of {len(found.bits)} choices of bits{those}"
    yield f"networks: {about(before)} in the space as given, {about(now)} in that of the recipe"
    yield from found.notes


def page(found: DeviceSpace) -> str:
    """All of it as Markdown."""
    lines = [
        f"# The space that pays on {found.target}", "",
        *(f"- {text}" for text in sentences(found)), "",
        f"Recipe: `{found.path}`, which `netwright fit` and `netwright search` take as it is.", "",
    ]  # fmt: skip
    if found.kinds:
        lines += [
            "## Layers in 8 bits beside float32", "",
            "The times of all layers of a kind in the largest and the smallest network, as the runtime tells them; "
            "conversions between precisions count where they stand.", "",
            *_markdown(KINDS, kinds_table(found)), "",
        ]  # fmt: skip
    lines += [
        "## Options", "",
        "Each option beside the next larger one that stays, all else whole: the share of the time of the blocks that "
        "it changes which it saves (the score, with half its 95 % interval), and in brackets both times. What saves "
        f"less than {WORTH:.0%} in each precision, even at the upper end of the interval, is left out.", "",
        *_markdown(OPTIONS, options_table(found)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _verdict(kept: bool, clear: bool = True) -> str:
    return ("pays" if clear else "kept: not clear") if kept else "left out"


def _saved(each: OptionWorth, precision: str) -> str:
    own = each.savings.get(precision)
    return "" if own is None else f"{_share(own)} +- {own.noise_share:.0%} ({own.ms:.4f} of {own.of:.4f} ms)"


def _share(saving: Saving) -> str:
    return f"{saving.share:.0%}"
