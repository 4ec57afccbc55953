"""The explanation of a file: profiles on the target, errors by arithmetic, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, MissingExtra
from ...core.temporary import TemporaryFolder
from ..feeds import read_feeds, write_feeds
from ..latency import Latency
from ..named_network import NamedNetwork, feeding, from_file, measured
from ..runtimes.base import Feeds, Operator, in_order
from ..runtimes.openvino import OpenVino
from ..sampling import SamplingPlan
from ..targets import Target, parse_target
from .errors import LayerErrors, onnx_errors
from .explanation import Conversion, Explanation, LayerReport, Trial, slow_kinds
from .graph import Graph
from .ir_graph import IrGraph, ir_errors
from .kept import keep_in_float32
from .onnx_graph import OnnxGraph
from .operators import Share, mean, shares
from .sentences import sentences

ROUNDS = 2
"""Profiles of each file, in turn with those of the other."""

MOST_TRIALS = 3
"""Kinds of layers that are tried in float32."""

MOST_EXAMPLES = 32
"""Inputs on which errors are found."""


def explain(
    file: str | Path,
    target: Target | str = "onnxruntime,precision=int8",
    against: str | Path | None = None,
    inputs: str | Path | Mapping[str, Any] | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    plan: SamplingPlan | None = None,
    trust: bool = False,
) -> Explanation:
    """Why a file of low precision is as fast, and as far from float32, as it is: layer by layer, beside float32.

    Times are those of the runtime's own profiler, on the target. The errors are found by arithmetic here: the result of
    each layer beside that of float32, and the outputs where one layer alone is quantised, both as ratios in dB (signal
    to quantisation noise); values beyond the ends of ranges; and sums that exceed 16 bits on CPUs without VNNI.

    Args:
        file: an 8-bit ONNX file, or of OpenVINO (``.ovir``, ``.xml``), of which the errors of single layers alone are
            not told.
        target: where; its runtime must tell the times of operators.
        against: the float32 file that it was quantised from; None: the float32 network that is in it, whose weights are
            rounded.
        inputs: real inputs by the file's names, or an ``.npz`` file of them: along their first dimension there may be
            many, of which the first is run for its time. None: noise, which tells the times alone.
        shapes: the shapes of inputs that the file leaves open, where there are no inputs.
        plan: how long is measured.
        trust: open the files even if they are programs; see :meth:`netwright.measure.runtimes.base.Runtime.guard`.

    Raises :class:`MeasureError` where the file is not quantised, the two are of different networks, or the runtime does
    not tell the times of operators.
    """
    where = parse_target(target) if isinstance(target, str) else target
    plan = plan or SamplingPlan()
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("onnx", "", "an explanation") from None
    given = read_feeds(Path(inputs)) if isinstance(inputs, str | Path) else inputs
    with TemporaryFolder() as folder:
        graph, whole, notes = _graphs(Path(file), against, where, folder, trust)
        examples = _examples(None if given is None else in_order(graph.inputs, _arrays(given), Path(file)), where)
        first = from_file(graph.path, where, examples[0] if examples else None, shapes or {}, trust=trust)
        notes += [*first.notes, *([] if examples else [NOISE])]
        examples = examples or [first.feeds]
        float32 = Target(where.runtime.in_float32, where.at, where.token)
        files = [(where, first), (float32, replace(first, path=whole.path))]
        profiles = _profiles(files, plan)
        latency, before = (measured(Latency(place, plan), named)["latency"] for place, named in files)
        sqnr, errors = _errors(graph, whole, examples)
        found = Explanation(
            str(file), str(against) if against else "the file's own network in float32", where.described, latency,
            before, sqnr,
            **_explanation(graph, whole, profiles, errors), notes=tuple(notes),
        )  # fmt: skip
        if isinstance(graph, OnnxGraph) and isinstance(whole, OnnxGraph):
            measure = partial(Latency(where, plan).run, feeds=first.feeds, trust=True)
            found = replace(found, trials=tuple(_trials(found, graph, whole, folder, measure)))
    exact = where.described.get("suited", {}).get("exact", {}).get("u8s8")
    return replace(found, sentences=tuple(sentences(found, exact)))


NOISE = "errors are those on noise, which say little: give real inputs"


def _graphs(
    file: Path, against: str | Path | None, target: Target, folder: Path, trust: bool
) -> tuple[Graph, Graph, list[str]]:
    """The file, the same network in float32, and what should be known of that."""
    reader = _reader(file, target)

    def opened(path: Path) -> Graph:
        if not path.is_file():
            raise MeasureError(f"there is no file {path}")
        if not trust:
            target.runtime.guard(path)
        return reader(path, folder)

    graph = opened(file)
    if not graph.is_quantised:
        raise MeasureError(
            f"{file} is not quantised: there is nothing to explain beside float32; give the 8-bit file first, and this "
            "one with --against"
        )
    if against is None:
        whole = graph.twin(folder)
        return graph, whole, ["float32 is the network in the file: the error of its rounded weights is not seen"]
    whole = opened(Path(against))
    if whole.is_quantised:
        raise MeasureError(f"{against} is quantised too: --against is the float32 file that {file} was quantised from")
    paths = {each.path for each in whole.layers}
    if 2 * sum(each.path in paths for each in graph.layers) < len(graph.layers):
        raise MeasureError(
            f"{file} and {against} name their layers differently, so that they cannot be compared one by one; leave "
            "--against out: the file is compared with the float32 network in it"
        )
    return graph, whole, []


def _reader(file: Path, target: Target) -> type[OnnxGraph] | type[IrGraph]:
    """What reads files of a target that look like this one."""
    if file.suffix in target.runtime.reads:
        if file.suffix == ".onnx":
            return OnnxGraph
        if file.suffix in OpenVino.reads:
            return IrGraph
    raise MeasureError(
        f"{file} cannot be explained on {target.runtime.name}: ONNX files are on onnxruntime and openvino, and "
        f"{' and '.join(each for each in OpenVino.reads if each != '.onnx')} on openvino"
    )


def _errors(graph: Graph, whole: Graph, examples: Sequence[Feeds]) -> tuple[float, Mapping[str, LayerErrors]]:
    """The ratio of the outputs to their error, in dB, and what is known of each layer."""
    if isinstance(graph, OnnxGraph) and isinstance(whole, OnnxGraph):
        return onnx_errors(graph, whole, examples)
    assert isinstance(graph, IrGraph) and isinstance(whole, IrGraph)
    return ir_errors(graph, whole, examples)


def _trials(
    found: Explanation, graph: OnnxGraph, whole: OnnxGraph, folder: Path, measure: Callable[[Path], Any]
) -> Iterator[Trial]:
    """The file with its slow layers in float32: each kind alone, the costliest first, and all of them."""
    apart = {layer.path for layer in graph.layers if graph.keeps_apart(layer)}
    slow = [kind for kind in slow_kinds(found.layers, found.ms) if apart.issuperset(e.path for e in kind.slow)]
    slow = slow[:MOST_TRIALS]
    for i, kinds in enumerate([*([kind] for kind in slow), *([slow] if len(slow) > 1 else [])]):
        paths = tuple(each.path for kind in kinds for each in kind.slow)
        path = folder / f"kept{i}.onnx"
        keep_in_float32(graph, whole, paths, path)
        with suppress(MeasureError):  # a file that does not run is no way out
            yield Trial(" and ".join(map(str, kinds)), paths, measure(path)["latency"])


def _arrays(given: Mapping[str, Any]) -> Feeds:
    """Arrays, of tensors too."""
    import torch

    return {
        name: value.numpy(force=True) if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in given.items()
    }


def _examples(feeds: Feeds | None, target: Target) -> list[Feeds]:
    """Inputs of the target's batch size, from many along a first dimension."""
    if feeds is None:
        return []
    batch = target.runtime.batch
    sizes = {len(value) if value.ndim else 0 for value in feeds.values()}
    total = sizes.pop() if len(sizes) == 1 else 0
    if total <= batch:
        return [feeds]
    starts = range(0, min(total - total % batch, MOST_EXAMPLES * batch), batch)
    return [{name: value[i : i + batch] for name, value in feeds.items()} for i in starts]


def _profiles(files: Sequence[tuple[Target, NamedNetwork]], plan: SamplingPlan) -> list[list[Operator]]:
    """The operators of each of two files that take the same inputs, profiled in turn."""
    found: list[list[list[Operator]]] = [[] for _ in files]
    each = asdict(replace(plan, max_seconds=plan.max_seconds / ROUNDS))
    with TemporaryFolder() as folder:
        inputs = write_feeds(folder / "feeds.npz", files[0][1].feeds)
        for turn in range(ROUNDS):
            for i in (0, 1) if turn % 2 == 0 else (1, 0):
                target, named = files[i]
                job = {
                    "job": "profile",
                    "seconds": target.runtime.slowest_s + 10 * plan.max_seconds,
                    "files": [str(named.path.resolve())],
                    "trust": named.trust,
                    "feeds": inputs,
                    "plan": each,
                }
                with feeding(named):
                    found[i].append([Operator(**operator) for operator in target.ask(job)["operators"]])
                    if not _ms(found[i][-1]) > 0:
                        raise MeasureError(f"{target} tells no time of any operator of {named.path}")
    return [mean(profiles) for profiles in found]


def _explanation(
    graph: Graph, whole: Graph, profiles: Sequence[Sequence[Operator]], errors: Mapping[str, LayerErrors]
) -> dict[str, Any]:
    """What the profiles and the errors say, layer by layer: fields of an :class:`Explanation`."""
    mine, theirs = (
        shares(profile, each.places, each.own) for profile, each in zip(profiles, (graph, whole), strict=True)
    )
    known = {layer.path for layer in whole.layers}
    layers = [
        LayerReport(
            layer.path, layer.kind, layer.bits,
            _whole_ms(theirs[layer.path]) if layer.path in known else None,
            mine[layer.path].ms, _ms(mine[layer.path].conversions), mine[layer.path].runs_in,
            tuple(each.kind for each in mine[layer.path].operators), errors.get(layer.path, LayerErrors()),
        )
        for layer in graph.layers
    ]  # fmt: skip
    conversions = [
        Conversion(each.name, each.kind, each.ms, path) for path, share in mine.items() for each in share.conversions
    ]
    named = {layer.path for layer in graph.layers}
    return {
        "layers": tuple(layers),
        "conversions": tuple(sorted(conversions, key=lambda each: -each.ms)),
        "others_ms": sum(_whole_ms(share) for path, share in mine.items() if path not in named),
        "float_others_ms": sum(_whole_ms(share) for path, share in theirs.items() if path not in named),
    }


def _ms(operators: Sequence[Operator]) -> float:
    return sum(each.ms for each in operators)


def _whole_ms(share: Share) -> float:
    return share.ms + _ms(share.conversions)
