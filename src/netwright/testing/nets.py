"""What every super-network keeps, checked on random candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..core.candidate import Candidate
from ..core.errors import NetError, format_error
from ..core.temporary import TemporaryFolder
from ..formats.bundle import export, load
from ..nets.annealing import anneal
from ..nets.axes import Axis, Width
from ..nets.cut import Cut, CutBuilder
from ..nets.extract import copy_of
from ..nets.folding import fold
from ..nets.inputs import Inputs, call, each_tensor, evaluating, fresh, shape_of, tensors_in
from ..nets.isolation import isolated, outputs_of
from ..nets.layers import attributes
from ..nets.noise import apart, other_inputs, untied
from ..nets.supernet import SuperNet
from ..nets.trace import Tracer


def check_supernet(
    net: SuperNet,
    *,
    inputs: Inputs | None = None,
    candidates: Iterable[Candidate] | int = 3,
    seed: int = 0,
    trains: bool = True,
    formats: Iterable[str] = ("safetensors",),
    tolerance: float = 1e-5,
) -> None:
    """Check that a super-network is what it says it is. Raises :class:`AssertionError`, in words.

    The largest sub-network computes what the network computes. Channels of a :class:`Width` may change places in all
    its tensors at once, on which :func:`sort_channels` relies. An axis drops what it says it may drop. Each
    candidate, active, computes what it computes extracted, and what it computes written to files and read back; its
    layers' attributes are those of its tensors; its counts are those of the extracted network, folded, the MACs as
    PyTorch's own counter finds them; a training step reaches the shared weights; and nothing of it stays behind.

    Args:
        net: the super-network, in evaluation mode while this runs.
        inputs: what it is called with; by default its example inputs.
        candidates: which, or how many random ones beside the smallest and the largest.
        seed: of the random ones.
        trains: whether to check that gradients reach the shared weights; a network without any that learns passes.
        formats: of :func:`netwright.export`, to write and read back.
        tolerance: largest difference between outputs, relative to the largest output.
    """
    inputs = net.example_inputs if inputs is None else inputs
    if isinstance(candidates, int):
        rng = np.random.default_rng(seed)
        candidates = [net.smallest, net.largest, *(net.space.sample(rng) for _ in range(candidates))]
    with evaluating(net.module):
        _check(net, inputs, candidates, trains, tuple(formats), tolerance)


def _check(
    net: SuperNet,
    inputs: Inputs,
    candidates: Iterable[Candidate],
    trains: bool,
    formats: Sequence[str],
    tolerance: float,
) -> None:
    before = {k: v.detach().clone() for k, v in net.module.state_dict().items()}
    _run(net.module, inputs)
    several = [inputs, other_inputs(net.module, inputs)]  # of one, a network that always gives the same would pass
    whole = [_run(net.module, each) for each in several]
    twin = net.extract(net.largest)
    with net.active(net.largest) as module:
        for each, wanted in zip(several, whole, strict=True):
            what = "the largest sub-network"
            _same(_run(module, each, what), wanted, tolerance, f"{what}, active, and the network itself")
            _same(_run(twin, each, what), wanted, tolerance, f"{what}, extracted, and the network itself")
    tracer = Tracer(net.index, net.example_inputs, supposes=True)
    for name, change in untied(net.index, _inner_widths(net, tracer), net.example_inputs, tracer.supposes).items():
        raise AssertionError(
            f"the tie of {name} is wrong or incomplete: permuting its channels changes the output by {change:.1g} "
            "of its size"
        )
    for candidate in candidates:
        _check_drops(net, candidate)
        network = net.extract(candidate)
        for each in reversed(several):
            out = _run(network, each, f"{candidate}: extracted, it")
            with net.active(candidate) as module:
                active = _run(module, each, f"{candidate}: active, it")
            _same(active, out, tolerance, f"{candidate}: active and extracted")
        _check_attributes(net, candidate, network)
        _check_counts(net, candidate, network)
        if trains and any(p.requires_grad for p in network.parameters()):
            _check_trains(net, candidate, inputs)
        with TemporaryFolder() as folder:
            export(network, folder, formats, check_inputs=inputs)
            if "safetensors" in formats:
                size = (folder / "weights.safetensors").stat().st_size
                own = sum(t.numel() * t.element_size() for t in network.state_dict().values())
                assert size <= own + 4096 + 200 * len(network.state_dict()), f"{candidate}: its file is {size} bytes"
                _same(_run(load(folder, net), inputs), out, tolerance, f"{candidate}: extracted and reloaded")
    for name, tensor in net.module.state_dict().items():
        assert apart([before[name]], [tensor]) == 0, f"{name} has changed although nobody trained"
    _same(_run(net.module, inputs), whole[0], 0.0, "the network before and after")


def check_axis(module: nn.Module, axis: Axis, example_inputs: Inputs, *, tolerance: float = 1e-5) -> None:
    """Check one axis on a network: :func:`check_supernet` with every option, and that options differ.

    Args:
        module: a network that the axis fits.
        axis: the axis, the only one.
        example_inputs: what the network is called with.
        tolerance: see :func:`check_supernet`.
    """
    net = SuperNet(module, [axis], example_inputs)
    assert axis.options, f"{axis.name} has no options"
    assert net.index.modules.keys() >= axis.affected_modules(net.index), f"{axis.name} names modules that do not exist"
    every = [net.space.candidate({axis.name: option}) for option in axis.options]
    check_supernet(net, candidates=every, tolerance=tolerance)
    for i, j in combinations(range(len(every)), 2):
        alike = all(_alike(*(_computed(net, every[k], inputs) for k in (i, j))) for inputs in _several(example_inputs))
        assert not alike, f"{axis.name}: options {axis.options[i]} and {axis.options[j]} compute the same"


def _computed(net: SuperNet, candidate: Candidate, inputs: Inputs) -> list[Tensor]:
    with evaluating(net.module), net.active(candidate) as module:
        return _run(module, inputs, f"{candidate}: active, it")


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _several(inputs: Inputs) -> Iterator[Inputs]:
    """The inputs, and noise around a high and a low mean: what a candidate drops may be idle on one example."""
    yield inputs
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor, mean: float) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return (torch.randn(tensor.shape, generator=generator) + mean).to(tensor)

    yield each_tensor(inputs, partial(noise, mean=10.0))
    yield each_tensor(inputs, partial(noise, mean=-10.0))


def _run(network: nn.Module, inputs: Inputs, what: str = "the network") -> list[Tensor]:
    try:
        return outputs_of(network, inputs)
    except Exception as error:
        raise AssertionError(f"{what} raises: {format_error(error)}") from error


def _same(found: list[Tensor], wanted: list[Tensor], tolerance: float, what: str) -> None:
    assert len(found) == len(wanted), f"{what}: {len(found)} and {len(wanted)} outputs"
    for a, b in zip(found, wanted, strict=True):
        assert shape_of(a) == shape_of(b), f"{what}: outputs of shape {shape_of(a)} and {shape_of(b)}"
        change = apart([b], [a])
        assert change <= tolerance, f"{what} differ by {change:.2g} of the largest output"


def _inner_widths(net: SuperNet, tracer: Tracer) -> list[Width]:
    """Those that are not a size of the network's output, which changes where they are permuted."""
    found: list[Width] = []
    whole = tracer.form(Cut())
    for axis in net.axes:
        widths = [part for part in axis.members() if isinstance(part, Width)]
        try:
            if widths and tracer.form(net.cut_of({axis.name: axis.options[0]})) == whole:
                found += widths
        except Exception as error:
            raise AssertionError(f"with {axis.name} alone cut, the network raises: {format_error(error)}") from error
    return found


def _check_drops(net: SuperNet, candidate: Candidate) -> None:
    """An axis drops no more than its regions, by which contradictions between axes are found."""
    for axis in (a for a in net.axes if a.name in candidate):
        builder = CutBuilder()
        axis.write(net.given(axis, candidate), builder, net.index)
        regions = list(axis.regions(net.index))
        for tensor, dim, start, stop in builder.dropped():
            assert any((tensor, dim) == (t, d) and a <= start and stop <= b for t, d, a, b in regions), (
                f"{axis.name} drops {start} to {stop} of {tensor}, dimension {dim}, which its regions() do not hold"
            )


def _check_attributes(net: SuperNet, candidate: Candidate, network: nn.Module) -> None:
    """What a layer says of itself follows from its tensors, where it did in the whole network."""
    for path, layer in network.named_modules():
        whole = net.index.modules.get(path)
        if whole is not None and type(layer) is type(whole) and not _unlike(whole):
            for name, value in _unlike(layer).items():
                raise AssertionError(
                    f"{candidate}: {path}.{name} is {getattr(layer, name)!r}, its tensors are of {value!r}"
                )


def _unlike(layer: nn.Module) -> dict[str, Any]:
    """Attributes that should be others for the tensors that the layer has, and what they should be."""
    tensors = {**layer._parameters, **layer._buffers}
    shapes = {own: tuple(t.shape) for own, t in tensors.items() if t is not None}
    return attributes(layer, shapes) if shapes else {}


def _check_counts(net: SuperNet, candidate: Candidate, network: nn.Module) -> None:
    network = copy_of(network)
    anneal(network, 1.0)
    network = fold(network, net.example_inputs)
    counts, parameters = net.count(candidate), list(network.parameters())
    params = sum(p.numel() for p in parameters)
    assert counts.params == params, f"{candidate}: counts {counts.params} parameters, extracted has {params}"
    stored = getattr(network, "stored_tensors", {})
    weight_bytes = sum(
        stored[name].bytes if name in stored else p.numel() * p.element_size() for name, p in network.named_parameters()
    )
    assert counts.weight_bytes == weight_bytes, f"{candidate}: counts {counts.weight_bytes} bytes, has {weight_bytes}"
    if counts.uncounted or any(isinstance(module, nn.RNNBase) for module in network.modules()):
        return  # PyTorch's counter passes over recurrent layers
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it knows nothing of the fused encoder layer either
    try:
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as flops:
            _run(network, net.example_inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    macs = flops.get_total_flops() // 2 + sum(held.macs for held in stored.values())
    assert counts.macs == macs, f"{candidate}: counts {counts.macs} MACs, PyTorch's counter finds {macs}"


def _attention_flops(query: Any, key: Any, value: Any, *more: Any, **named: Any) -> int:
    """What PyTorch's counter does not know: attention on a CPU."""
    *batch, queries, size = query
    return 2 * math.prod(batch) * queries * key[-2] * (size + value[-1])


def _vector_flops(left: Any, right: Any, *more: Any, **named: Any) -> int:
    return 2 * math.prod(left)


_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.mv: _vector_flops,
    torch.ops.aten.dot: _vector_flops,
    torch.ops.aten.addmv: lambda addend, *rest, **named: _vector_flops(*rest),
}


def _check_trains(net: SuperNet, candidate: Candidate, inputs: Inputs) -> None:
    """Gradients of the active sub-network are those of the extracted one, and lie in the shared weights."""
    wholes = [net.index.tensor(name) for name in net.index.parameters]
    before = [w.grad for w in wholes]
    network = net.extract(candidate)
    norms = []
    try:
        for w in wholes:
            w.grad = None
        with net.active(candidate) as module:
            some = _learn(module, inputs)
        norms.append(_size(w.grad for w in wholes))
    finally:
        for w, gradient in zip(wholes, before, strict=True):
            w.grad = gradient
    _learn(network, inputs)
    norms.append(
        math.sqrt(sum(float(p.grad.double().square().sum()) for p in network.parameters() if p.grad is not None))
    )
    made = net.cut(candidate).transforms  # what is made of several tensors has other gradients than its ingredients
    if not made:
        apart = abs(norms[0] - norms[1])
        assert apart <= 1e-3 * max(norms[1], 1e-12), f"{candidate}: gradients of size {norms[0]} and {norms[1]}"
    assert norms[0] > 0 or not some, f"{candidate}: no gradient reaches the shared weights"


def _size(gradients: Iterable[Tensor | None]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))


def _learn(network: nn.Module, inputs: Inputs) -> bool:
    """Compute gradients of the mean square of the outputs; whether there are any numbers in them."""
    with isolated(network):
        learned = [t for t in tensors_in(call(network, fresh(inputs))) if t.requires_grad]
        if not learned:
            raise NetError("the network gives no floating-point output to learn from")
        some = [t for t in learned if t.numel()] or learned  # the mean of nothing is no number
        torch.stack([t.abs().float().square().sum() / max(t.numel(), 1) for t in some]).sum().backward()
        return some[0].numel() > 0
