"""One cut serves everything: active, extracted and whole network compute, learn and count the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from netwright.core.candidate import Candidate
from netwright.nets.inputs import call
from netwright.nets.supernet import SuperNet

seeds = st.one_of(st.sampled_from([-1, -2]), st.integers(0, 2**32))


def candidate_of(net: SuperNet, seed: int) -> Candidate:
    """The two ends of the space, or a random candidate."""
    ends = {-1: net.smallest, -2: net.largest}
    return ends[seed] if seed in ends else net.space.sample(np.random.default_rng(seed))


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def close(left: Any, right: Any, relative: float = 1e-5) -> None:
    pairs = list(zip(tensors(left), tensors(right), strict=True))
    assert pairs
    for a, b in pairs:
        assert a.shape == b.shape
        assert float((a - b).detach().abs().max()) <= relative * max(1e-6, float(b.detach().abs().max()))


def loss(output: Any) -> Tensor:
    return sum(((t - 0.1) ** 2).mean() * (i + 1) for i, t in enumerate(tensors(output)))  # type: ignore[return-value]


def positions(net: SuperNet, candidate: Candidate) -> dict[str, Tensor]:
    """For every tensor of the extracted network, where each of its elements lies in the (flattened) whole tensor.

    Found without looking at the cut: a twin whose tensors hold their own indices is extracted.
    """
    twin = copy.deepcopy(net.module)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    numbered = SuperNet.__new__(SuperNet)
    numbered.__dict__.update(net.__dict__)
    numbered.index = type(net.index)(twin)
    network = SuperNet.extract(numbered, candidate)
    return {n: t.detach().long() for n, t in (*network.named_parameters(), *network.named_buffers())}


def state(module: nn.Module) -> dict[str, Any]:
    """All that a module is: tensors by identity and value, children, attributes."""
    found: dict[str, Any] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        found[path] = (
            id(part),
            {k: repr(v) for k, v in part.__dict__.items() if not k.startswith(("_parameters", "_buffers", "_modules"))},
            {k: id(v) for k, v in part._modules.items()},
            {k: (id(v), None if v is None else v.detach().clone()) for k, v in part._parameters.items()},
            {k: (id(v), None if v is None else v.detach().clone()) for k, v in part._buffers.items()},
        )
    return found


def same_state(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same_state(left[k], right[k]) for k in left)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(same_state(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


# -- what it computes ------------------------------------------------------------------------------------------


def test_the_largest_is_the_original_bit_for_bit(case: Any) -> None:
    original = copy.deepcopy(case.net.module)
    for inputs in (case.inputs, case.net.example_inputs):
        expected = list(tensors(call(original, inputs)))
        with case.net.active(case.net.largest) as module:
            assert all(torch.equal(a, b) for a, b in zip(tensors(call(module, inputs)), expected, strict=True))
        extracted = case.net.extract(case.net.largest)
        assert all(torch.equal(a, b) for a, b in zip(tensors(call(extracted, inputs)), expected, strict=True))


@given(seed=seeds)
def test_active_is_extracted_and_nothing_stays_behind(case: Any, seed: int) -> None:
    candidate, before = candidate_of(case.net, seed), state(case.net.module)
    extracted = case.net.extract(candidate)
    with case.net.active(candidate) as module:
        assert module is case.net.module
        output = call(module, case.inputs)
    close(call(extracted, case.inputs), output)
    assert same_state(state(case.net.module), before)


@given(seed=seeds)
def test_candidates_are_different_networks(case: Any, seed: int) -> None:
    """No choice is without effect: changing any one of a candidate's options changes the output."""
    net, candidate = case.net, candidate_of(case.net, seed)
    with torch.no_grad(), net.active(candidate) as module:
        output = list(tensors(call(module, case.inputs)))
    name = sorted(candidate)[seed % len(candidate)]
    full = {c.name: c.options[-1] for c in net.space} | dict(candidate)
    for option in net.space[name].options:
        if option != candidate[name]:
            with torch.no_grad(), net.active(net.space.candidate({**full, name: option})) as module:
                other = list(tensors(call(module, case.inputs)))
            assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(output, other, strict=True))


# -- how it learns ---------------------------------------------------------------------------------------------


@given(seed=seeds)
@settings(max_examples=12)
def test_gradients_and_statistics_reach_their_place_in_the_whole(case: Any, seed: int) -> None:
    net, candidate = case.net, candidate_of(case.net, seed)
    whole = net.module
    extracted, where = net.extract(candidate), positions(net, candidate)
    buffers = {name: tensor.clone() for name, tensor in whole.named_buffers()}
    for part in (whole, extracted):
        part.train()
        part.zero_grad()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            with net.active(candidate) as module:
                loss(call(module, case.inputs)).backward()
            torch.manual_seed(1)
            loss(call(extracted, case.inputs)).backward()
        parts = dict(extracted.named_parameters())
        for name, parameter in whole.named_parameters():
            expected = torch.zeros(parameter.numel())
            if name in parts and parts[name].grad is not None:
                expected[where[name].flatten()] = parts[name].grad.flatten()
            found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            close(found, expected.reshape(parameter.shape))
            kept = torch.zeros(parameter.numel(), dtype=torch.bool)
            if name in where:
                kept[where[name].flatten()] = True
            assert not found.flatten()[~kept].any()
        trained = dict(extracted.named_buffers())
        for name, buffer in whole.named_buffers():
            expected_buffer = buffers[name].flatten().clone()
            if name in trained:
                expected_buffer[where[name].flatten()] = trained[name].flatten()
            close(buffer, expected_buffer.reshape(buffer.shape))
    finally:
        whole.eval()
        whole.zero_grad()
        with torch.no_grad():
            for name, buffer in whole.named_buffers():
                buffer.copy_(buffers[name])


def test_training_under_active_is_training_of_the_extracted(make: Callable[[str], Any]) -> None:
    case = make("concat")
    candidate = case.net.space.sample(np.random.default_rng(3))
    extracted, where = case.net.extract(candidate), positions(case.net, candidate)
    begin = {n: p.detach().clone() for n, p in case.net.module.named_parameters()}
    optimizers = [torch.optim.SGD(m.parameters(), 0.01) for m in (case.net.module, extracted)]
    for part in (case.net.module, extracted):
        part.train()
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with case.net.active(candidate) as module:
            loss(call(module, case.inputs)).backward()
        loss(call(extracted, case.inputs)).backward()
        for optimizer in optimizers:
            optimizer.step()
    trained = dict(extracted.named_parameters())
    for name, parameter in case.net.module.named_parameters():
        expected = begin[name].flatten().clone()
        expected[where[name].flatten()] = trained[name].detach().flatten()
        close(parameter.detach(), expected.reshape(parameter.shape), 1e-4)
    assert any(not torch.equal(begin[n], p) for n, p in case.net.module.named_parameters())


# -- what it costs ---------------------------------------------------------------------------------------------


def attention_flops(query: Any, key: Any, value: Any, *more: Any, **named: Any) -> int:
    """What FlopCounterMode does not know of the CPU's attention."""
    *batch, queries, size = query
    return 2 * math.prod(batch) * queries * key[-2] * (size + value[-1])


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}


@given(seed=seeds)
@settings(max_examples=12)
def test_counts_are_those_of_the_extracted_network(case: Any, seed: int) -> None:
    net, candidate = case.net, candidate_of(case.net, seed)
    counts, network = net.count(candidate), net.extract(candidate)
    parameters = list(network.parameters())
    assert counts.params == sum(p.numel() for p in parameters)
    assert counts.weight_bytes == sum(p.numel() * p.element_size() for p in parameters)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as flops:
        call(network, net.example_inputs)
    assert counts.macs * 2 == flops.get_total_flops()
    alone = SuperNet(network, [], net.example_inputs)
    assert alone.count(alone.largest) == counts
    assert counts.uncounted == ()
    assert (net._counter._table is not None) == case.tabulated


@given(seed=seeds)
def test_the_table_and_the_direct_path_agree(case: Any, seed: int) -> None:
    net, candidate = case.net, candidate_of(case.net, seed)
    counts = net.count(candidate)
    assert counts == net._counter._trace(candidate)


@given(some=st.lists(seeds, max_size=6))
@settings(max_examples=12)
def test_counts_of_many_are_those_of_each(case: Any, some: list[int]) -> None:
    candidates = [candidate_of(case.net, seed) for seed in some]
    many = case.net.counts(candidates)
    assert [many[i] for i in range(len(many))] == [case.net._counter.counts([c])[0] for c in candidates]
    assert all(getattr(many, name).dtype == np.int64 for name in ("params", "macs", "peak_activation_bytes"))


def test_counts_grow_from_the_smallest_to_the_largest(case: Any) -> None:
    small, large = case.net.count(case.net.smallest), case.net.count(case.net.largest)
    for name in ("params", "macs", "weight_bytes", "peak_activation_bytes", "moved_bytes"):
        assert 0 < getattr(small, name) < getattr(large, name)


# -- what is extracted -----------------------------------------------------------------------------------------


@given(seed=seeds)
def test_the_extracted_network_stands_alone(case: Any, seed: int) -> None:
    net, candidate = case.net, candidate_of(case.net, seed)
    network = net.extract(candidate)
    assert type(network) is type(net.module)
    owned = {t.untyped_storage().data_ptr() for t in (*net.module.parameters(), *net.module.buffers())}
    wholes = dict((*net.module.named_parameters(), *net.module.named_buffers()))
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        assert tensor.untyped_storage().data_ptr() not in owned
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size(), "no room for the whole"
        assert tensor.is_leaf
        assert tensor.requires_grad == wholes[name].requires_grad
        assert isinstance(tensor, nn.Parameter) == isinstance(wholes[name], nn.Parameter)
        assert tensor.dtype == wholes[name].dtype
    twin = copy.deepcopy(network)
    close(call(twin, case.inputs), call(network, case.inputs), 0.0)
    fresh = {k: v.clone() for k, v in network.state_dict().items()}
    twin.load_state_dict(fresh)


@given(seed=seeds)
def test_attributes_agree_with_the_tensors(case: Any, seed: int) -> None:
    network = case.net.extract(candidate_of(case.net, seed))
    whole = dict(case.net.module.named_modules())
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Identity):
            continue
        assert type(layer) is type(whole[path])
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            out, per_group, *kernel = layer.weight.shape
            assert (layer.out_channels, layer.in_channels) == (out, per_group * layer.groups)
            assert layer.out_channels % layer.groups == 0
            assert layer.kernel_size == tuple(kernel)
            assert layer.bias is None or layer.bias.shape == (out,)
            depthwise = whole[path].groups == whole[path].in_channels > 1
            assert layer.groups == (out if depthwise else whole[path].groups)
            if not isinstance(layer.padding, str):
                shrunk = [(a - b) // 2 for a, b in zip(whole[path].kernel_size, kernel, strict=True)]
                pads = zip(whole[path].padding, shrunk, layer.dilation, strict=True)
                assert layer.padding == tuple(p - s * d for p, s, d in pads)
            # what torch derives when a layer is made with these attributes
            again = type(layer)(
                layer.in_channels,
                out,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                layer.bias is not None,
                layer.padding_mode,
            )
            assert {k: v for k, v in again.__dict__.items() if k[0] != "_"} == {
                k: v for k, v in layer.__dict__.items() if k[0] != "_" and k != "training"
            } | {"training": True}
            assert list(layer._reversed_padding_repeated_twice) == list(again._reversed_padding_repeated_twice)
            assert repr(again) == repr(layer)
        elif isinstance(layer, nn.Linear):
            assert (layer.out_features, layer.in_features) == tuple(layer.weight.shape)
            assert layer.bias is None or layer.bias.shape == (layer.out_features,)
        elif isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor.shape == (layer.num_features,)
        elif isinstance(layer, nn.LayerNorm):
            assert layer.normalized_shape == tuple(layer.weight.shape) == tuple(layer.bias.shape)
        elif isinstance(layer, nn.Embedding):
            assert (layer.num_embeddings, layer.embedding_dim) == tuple(layer.weight.shape)
        elif isinstance(layer, nn.PReLU):
            assert layer.num_parameters == layer.weight.numel()


def test_tied_tensors_stay_tied_and_shared_modules_shared(make: Callable[[str], Any]) -> None:
    case = make("tied")
    network: Any = case.net.extract(case.net.smallest)
    assert network.head.weight is network.embed.weight
    assert (network.head.in_features, network.embed.embedding_dim) == (2, 2)
    with case.net.active(case.net.smallest) as module:
        assert module.head.weight is module.embed.weight
        assert module.head.weight.shape == (11, 2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["flat", "inverted_residual"])
def test_modes_are_kept(make: Callable[[str], Any], name: str, training: bool) -> None:
    case = make(name)
    case.net.module.train(training)
    network = case.net.extract(case.net.smallest)
    assert {m.training for m in network.modules()} == {training}
    with case.net.active(case.net.smallest) as module:
        assert {m.training for m in module.modules()} == {training}
