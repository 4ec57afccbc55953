"""Counts worked out by hand, and networks on which a table of sizes would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netwright.core.candidate import Candidate
from netwright.nets.axes import Axis, ChannelSlice, Depth, RelativeWidth, TiedAxes, Width
from netwright.nets.counts import Counts
from netwright.nets.counts.table import SizeTable
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.supernet import SuperNet
from netwright.nets.trace import Tracer


def counts(module: nn.Module, inputs: Any) -> Counts:
    net = SuperNet(module, [], inputs)
    return net.count(net.largest)


def direct(net: SuperNet, candidate: Candidate) -> tuple[Any, ...]:
    table = SizeTable(net._counter._tracer.run(net.cut(candidate)))
    alone = np.zeros((1, 0), dtype=np.int64)
    found, (uncounted,) = table.count(alone), table.uncounted(alone)
    return *(int(found[name][0]) for name in ("macs", "peak_activation_bytes", "moved_bytes")), uncounted


def told(found: Counts) -> tuple[Any, ...]:
    return found.macs, found.peak_activation_bytes, found.moved_bytes, found.uncounted


def exact_everywhere(net: SuperNet) -> None:
    for candidate in net.space.enumerate():
        found = net.count(candidate)
        assert told(found) == direct(net, candidate), candidate
        network = net.extract(candidate)
        alone = SuperNet(network, [], net.example_inputs)
        assert found == alone.count(alone.largest), candidate


# -- by hand ---------------------------------------------------------------------------------------------------


def test_peak_of_a_chain() -> None:
    # 4 -> 8 -> relu 8 -> 2, floats: the relu holds 8 + 8
    assert counts(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 4)) == Counts(
        params=4 * 8 + 8 + 8 * 2 + 2,
        macs=4 * 8 + 8 * 2,
        bit_ops=32 * 32 * (4 * 8 + 8 * 2),
        weight_bytes=4 * (4 * 8 + 8 + 8 * 2 + 2),
        peak_activation_bytes=4 * (8 + 8),
        moved_bytes=4 * (4 + (4 * 8 + 8) + 8 + 2 * 8 + 8 + (8 * 2 + 2) + 2),
    )


def test_in_place_operators_and_views_take_no_memory() -> None:
    views = (nn.Unflatten(1, (2, 4)), nn.Flatten())
    chain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), *views, nn.Linear(8, 2))
    assert counts(chain, torch.randn(1, 4)).peak_activation_bytes == 4 * (4 + 8)


def test_a_residual_keeps_its_input_alive() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.down(self.up(x).relu())

    assert counts(Skip(), torch.randn(3, 4)).peak_activation_bytes == 4 * 3 * (4 + 16 + 16)


def test_outputs_live_to_the_end_and_inputs_to_their_last_use() -> None:
    class Early(nn.Module):
        def forward(self, x: Tensor, late: Tensor) -> list[Tensor]:
            first = x.exp()  # x 5, late 7, first 5
            second = torch.cat([x, x, x, x]).cos()  # late 7, first 5, cat 20, cos 20; x was last used by cat
            return [first, second.sum() + late]

    assert counts(Early(), (torch.randn(5), torch.randn(7))).peak_activation_bytes == 4 * (7 + 5 + 20 + 20)


def test_precision_is_that_of_each_tensor() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)).double()
    found = counts(module, torch.randn(1, 4, dtype=torch.float64))
    assert (found.weight_bytes, found.peak_activation_bytes) == (8 * 58, 8 * 12)


def test_batch_is_that_of_the_example_inputs() -> None:
    one, four = (counts(nn.Conv2d(2, 3, 3, padding=1), torch.randn(n, 2, 5, 5)) for n in (1, 4))
    assert (one.macs * 4, one.peak_activation_bytes * 4) == (four.macs, four.peak_activation_bytes)
    assert one.macs == 25 * 3 * 2 * 9
    assert one.params == four.params


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9), 2 * 6 * 7 * 2 * 3),
        (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 3 * 8 * 2 * 8),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (1, 3, 4, 4), 16 * 3 * 5 * 4),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 4, 4), 16 * 4 * 3 * 9),
        (nn.Linear(3, 5), (2, 7, 3), 14 * 3 * 5),
        (nn.Linear(3, 5, bias=False), (3,), 15),
        (nn.Conv2d(2, 3, 3), (2, 5, 5), 9 * 3 * 2 * 9),
    ],
)
def test_macs_of_layers(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert counts(layer, torch.randn(shape)).macs == macs


class Run(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (torch.matmul, ((2, 3, 4, 5), (5, 6)), 24 * 5 * 6),
        (torch.matmul, ((2, 1, 4, 5), (1, 3, 5, 6)), 6 * 4 * 5 * 6),
        (torch.matmul, ((4, 5), (5,)), 20),
        (torch.matmul, ((5,), (5,)), 5),
        (lambda a, b: torch.einsum("bij,bkj->bik", a, b), ((2, 3, 4), (2, 5, 4)), 2 * 3 * 5 * 4),
        (lambda a, b, c: torch.addmm(a, b, c), ((3, 5), (3, 4), (4, 5)), 60),
        (lambda a, b, c: torch.addmv(a, b, c), ((3,), (3, 4), (4,)), 12),
        (lambda a, b, c: torch.baddbmm(a, b, c), ((2, 3, 5), (2, 3, 4), (2, 4, 5)), 120),
        (F.scaled_dot_product_attention, ((1, 2, 7, 4), (1, 2, 9, 4), (1, 2, 9, 6)), 2 * 7 * 9 * (4 + 6)),
    ],
)
def test_macs_of_products(function: Any, shapes: Any, macs: int) -> None:
    assert counts(Run(function), tuple(torch.randn(s) for s in shapes)).macs == macs


@pytest.mark.parametrize("layer", [nn.LSTM(3, 5), nn.GRU(3, 5), nn.LSTM(3, 5, batch_first=True, bidirectional=True)])
def test_recurrent_layers_are_counted_or_named(layer: nn.Module) -> None:
    found = counts(layer, torch.randn(2, 4, 3))
    gates = 4 if isinstance(layer, nn.LSTM) else 3
    ways = 2 if layer.bidirectional else 1  # type: ignore[truthy-bool]
    assert found.macs == 8 * ways * gates * 5 * (3 + 5) or found.uncounted


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (nn.Bilinear(3, 4, 5), ((2, 3), (2, 4))),
        (Run(torch.fft.rfft), ((2, 8),)),
        (Run(lambda a, b: torch.cdist(a, b)), ((1, 30, 3), (1, 30, 3))),
        (Run(lambda a, b: torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")), ((1, 4, 3), (1, 5, 3))),
    ],
)
def test_an_operator_that_multiplies_and_has_no_rule_is_named(module: nn.Module, shapes: Any) -> None:
    found = counts(module, tuple(torch.randn(s) for s in shapes))
    assert found.macs > 0 or found.uncounted


# -- bytes moved -----------------------------------------------------------------------------------------------


def elements_moved(function: Callable[..., Any], *shapes: tuple[int, ...]) -> float:
    """Of 4 bytes each."""
    return counts(Run(function), tuple(torch.randn(s) for s in shapes)).moved_bytes / 4


def written(x: Tensor, y: Tensor) -> Tensor:
    x[:2] = y
    return x


def added(x: Tensor, y: Tensor) -> Tensor:
    z = x.exp()
    z += y
    return z.t_()


@pytest.mark.parametrize(
    ("function", "shapes", "elements"),
    [
        (lambda x: x.reshape(6, 1).t().unsqueeze(0).squeeze()[1:].detach(), ((2, 3),), 0),
        (lambda x: x.t().reshape(6), ((2, 3),), 6 + 6),  # cannot be seen that way: it is copied
        (lambda x, y: x + y, ((4, 3), (3,)), 12 + 3 + 12),
        (lambda x: x * x, ((5,),), 5 + 5 + 5),
        (added, ((4, 3), (4, 3)), 12 + 12 + 12 + 12 + 12),
        (written, ((4, 3), (2, 3)), 6 + 6),  # what is overwritten is not read
        (lambda x: x.relu_(), ((7,),), 7 + 7),
        (lambda x, y: x.expand(9, 5) + y, ((1, 5), (9, 5)), 5 + 45 + 45),
        (lambda x: torch.cat([x, x], 0), ((2, 3),), 6 + 6 + 12),
        (lambda x: x.split([1, 2])[1].exp(), ((3, 4),), 8 + 8),
        (lambda x: torch.empty_like(x), ((3, 4),), 0),
        (lambda x: torch.add(x, x, out=torch.empty(5)), ((5,),), 5 + 5 + 5 + 5),  # out is an argument and a result
        (torch.matmul, ((2, 3), (3, 4)), 6 + 12 + 8),
    ],
)
def test_bytes_moved_by_operators(function: Any, shapes: Any, elements: int) -> None:
    assert elements_moved(function, *shapes) == elements


def test_of_a_table_only_the_rows_that_are_looked_up_are_moved() -> None:
    rows, found = 2 * 7, 2 * 7 * 16
    moved = counts(nn.Embedding(1000, 16), torch.zeros(2, 7, dtype=torch.int64)).moved_bytes
    assert moved == 8 * rows + 4 * found + 4 * found


class Moves(TorchDispatchMode):
    """Bytes moved, added up while a network truly runs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        reads, writes = ([t for t in tree_leaves(x) if isinstance(t, Tensor)] for x in ((args, kwargs), result))
        own = {t.untyped_storage().data_ptr() for t in reads}
        views = {t.untyped_storage().data_ptr() for t in writes} <= own
        if not views or func._schema.is_mutable:
            self.bytes += sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in (*reads, *writes))
        return result


def transformer() -> SuperNet:
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)]
    module = nn.Sequential(nn.Linear(5, 8), *layers, nn.Flatten(), nn.Linear(48, 3))
    widths = [Width.tie(module, f"w{i}", (4, 8, 16), out_of=[f"{i}.linear1"], into=[f"{i}.linear2"]) for i in (1, 2)]
    return SuperNet(module, [*widths, Depth("depth", ("1", "2"), (0, 1, 2))], torch.randn(2, 6, 5))


@pytest.mark.parametrize("make_net", [inverted_residual, transformer])
def test_bytes_moved_are_those_of_the_extracted_network(make_net: Callable[[], SuperNet]) -> None:
    net, found = make_net(), set()
    assert net.counts_fast
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:  # attention as products and sums, as it is traced
        for i in range(8):
            candidate = net.space.sample(np.random.default_rng(i))
            network = net.extract(candidate).eval()
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Moves() as moves:
                network(net.example_inputs)
            assert net.count(candidate).moved_bytes == moves.bytes, candidate
            found.add(moves.bytes)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert len(found) > 4


# -- wherever it is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "around", [torch.no_grad, torch.inference_mode, torch.enable_grad, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_counts_do_not_depend_on_where_they_are_asked(around: Callable[[], Any]) -> None:
    def made() -> SuperNet:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        module = nn.Sequential(nn.Linear(5, 8), layer, nn.Conv1d(6, 4, 1))
        width = Width.tie(module, "w", (8, 16), out_of=["1.linear1"], into=["1.linear2"])
        return SuperNet(module, [width], torch.randn(1, 6, 5))

    plain, other = made(), made()
    expected = [plain.count(c) for c in plain.space.enumerate()]
    with around():
        found = [other.count(c) for c in other.space.enumerate()]
    assert found == expected
    assert expected[0].macs < expected[1].macs


def test_counting_trains_nothing_and_draws_nothing() -> None:
    net = inverted_residual(widths=((4, 8), (8, 12)), depths=((1, 2), (1, 2)), image=6)
    net.module.train()
    before = {k: v.clone() for k, v in net.module.state_dict().items()}
    seed = torch.get_rng_state()
    net.count(net.smallest)
    assert torch.equal(torch.get_rng_state(), seed)
    assert all(torch.equal(v, before[k]) for k, v in net.module.state_dict().items())
    assert net.module.training


# -- the table and what defeats it -----------------------------------------------------------------------------


def test_sizes_that_are_products_of_two_axes_fall_back(make: Callable[[str], Any]) -> None:
    net = make("product").net
    assert not net.counts_fast
    exact_everywhere(net)
    peak = {c: net.count(c).peak_activation_bytes for c in net.space.enumerate()}
    assert peak[net.space.candidate({"a": 4, "b": 3})] == 4 * (2 * 4 * 3)  # the product and its gelu
    assert peak[net.largest] == 4 * (2 * 6 * 8)


def test_a_valid_table_is_used_and_exact_everywhere() -> None:
    net = inverted_residual(
        in_channels=1, classes=3, image=4, widths=((2, 3, 4),), depths=((1, 2),), expands=(1, 2), kernels=(3, 5)
    )
    assert net._counter._table is not None
    for candidate in net.space.enumerate():
        found = net.count(candidate)
        assert told(found) == direct(net, candidate)


class Branches(nn.Module):
    """Three branches side by side: their widths share the size of what joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(3, 6) for _ in range(3))
        self.read = nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(torch.cat([branch(x) for branch in self.branches], dim=1))


def test_sizes_that_several_axes_share_are_told_apart() -> None:
    module = Branches()
    axes = []
    for i in range(3):
        slices = [ChannelSlice(f"branches.{i}.{own}", 0) for own in ("weight", "bias")]
        axes.append(Width(f"w{i}", (*slices, ChannelSlice("read.weight", 1, 6 * i)), (2, 4, 6)))
    net = SuperNet(module, axes, torch.randn(1, 3))
    assert net._counter._table is not None
    exact_everywhere(net)


def test_options_that_are_no_straight_line_are_traced() -> None:
    module = nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 2))
    crooked = Width.tie(module, "inner", (2, 3, 8, 9), out_of=["0"], into=["2"])
    straight = Width.tie(module, "straight", (3, 5, 7, 9), out_of=["2"], into=["4"])
    net = SuperNet(
        module, [TiedAxes("crooked", (1, 2, 3, 4), ((crooked, crooked.options),)), straight], torch.randn(1, 3)
    )
    assert net._counter._table is not None
    exact_everywhere(net)


def test_an_axis_that_reads_another_is_in_the_table() -> None:
    module = nn.Sequential(nn.Linear(3, 12), nn.Linear(12, 6), nn.Linear(6, 2))
    width = Width.tie(module, "width", (6, 8, 12), out_of=["0"], into=["1"])
    group = Width.tie(module, "inner", (6,), out_of=["1"], into=["2"])
    share = RelativeWidth.tabulate("inner", (0.2, 0.4, 0.5), width, group, lambda share, of: int(share * of))
    net = SuperNet(module, [share, width], torch.randn(1, 3))
    assert net._counter._table is not None
    exact_everywhere(net)


def test_many_axes_take_few_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    net = inverted_residual()
    traces: list[Any] = []
    run = Tracer.run
    monkeypatch.setattr(Tracer, "run", lambda self, cut: traces.append(cut) or run(self, cut))
    assert net._counter._table is not None
    assert len(net.axes) == 24
    assert len(traces) <= 20


def test_the_table_is_fast(work: Callable[[Callable[[], object]], int]) -> None:
    net = inverted_residual()
    net.count(net.largest)
    candidates = [net.space.sample(np.random.default_rng(i)) for i in range(100)]
    assert work(lambda: [net.count(candidate) for candidate in candidates]) < 100 * 5_000


class Gram(nn.Module):
    """Second-order pooling: the products of all channels with one another, so that one axis enters squared."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 12, 1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(12, 2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for conv, head in zip(self.convs, self.heads, strict=True):
            y = conv(x).flatten(2)
            flat = (y @ y.transpose(1, 2)).flatten(1).relu()
            results.append(head(flat.unflatten(1, (y.shape[1], -1)).amax(2)))
        return sum(results)  # type: ignore[return-value]


@pytest.mark.parametrize("options", [(4, 8, 12), (4, 6, 8, 10, 12), range(2, 13)])
def test_sizes_that_are_squares_of_one_axis_are_exact(options: tuple[int, ...]) -> None:
    module = Gram()
    axes: list[Axis] = [
        Width.tie(module, f"w{i}", options, out_of=[f"convs.{i}"], into=[f"heads.{i}"]) for i in range(2)
    ]
    net = SuperNet(module, axes, torch.randn(1, 2, 3, 3))
    for candidate in net.space.enumerate():
        found = net.count(candidate)
        assert told(found) == direct(net, candidate), candidate


@pytest.mark.parametrize("wide", range(1, 8))
def test_sizes_that_jump_between_the_ends_are_exact(wide: int) -> None:
    """A width that the network itself pads at one option in between."""

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 72)
            self.head = nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return self.head(F.pad(y, (0, 8 if y.shape[1] == 8 * wide else 0)).relu().sum(1, keepdim=True))

    module = Rounded()
    net = SuperNet(module, [Width.tie(module, "w", range(8, 73, 8), out_of=["layer"])], torch.randn(1, 3))
    for candidate in net.space.enumerate():
        found = net.count(candidate)
        assert told(found) == direct(net, candidate), candidate


@pytest.mark.parametrize("odd", range(2, 12))
def test_a_network_that_runs_other_operators_at_one_width_is_exact(odd: int) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 11), nn.Linear(11, 2), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.b(y) + (self.c(x).sum(1, keepdim=True) if y.shape[1] == odd else 0)

    module = Branch()
    net = SuperNet(module, [Width.tie(module, "w", range(2, 12), out_of=["a"], into=["b"])], torch.randn(1, 3))
    for candidate in net.space.enumerate():
        found = net.count(candidate)
        assert told(found) == direct(net, candidate), candidate


def test_skipped_blocks_of_every_kind_are_exact() -> None:
    """In-place blocks, blocks that end in a view, and blocks whose result is the input itself."""

    class InPlace(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.a = nn.Linear(size, size)

        def forward(self, x: Tensor) -> Tensor:
            x += self.a(x)
            return x.view_as(x)

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(3, 4)
            self.inplace = nn.Sequential(InPlace(4), InPlace(4))
            self.nested = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))))
            self.last = nn.Sequential(nn.Linear(4, 4), nn.Identity())

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.nested(self.inplace(self.stem(x)))
            return self.last(y.relu_()), y

    axes: list[Axis] = [
        Depth("inplace", ("inplace.0", "inplace.1"), (0, 1, 2)),
        Depth("inner", ("nested.0.0", "nested.0.1"), (0, 1, 2)),
        Depth("outer", ("nested.0",), (0, 1)),
        Depth("last", ("last.0", "last.1"), (0, 1, 2)),
    ]
    exact_everywhere(SuperNet(Deep(), axes, torch.randn(1, 3)))


def test_a_block_that_runs_twice_and_may_be_skipped_is_exact() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.block(x)))

    module = Twice()
    exact_everywhere(SuperNet(module, [Depth("d", ("block",), (0, 1))], torch.randn(1, 4)))


def test_a_network_that_looks_at_values_is_traced_on_its_real_inputs() -> None:
    net = SuperNet(Run(lambda x: (x if float(x.sum()) > 0 else -x) @ x), [], torch.ones(3))
    assert net.count(net.largest).macs == 3


@torch.library.custom_op("netwright_test::product", mutates_args=())
def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


class OfAnotherLibrary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.ones(8, 32)), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.ops.netwright_test.product(x, self.weight))


def test_operators_of_other_libraries_are_named() -> None:
    found = counts(OfAnotherLibrary(), torch.ones(2, 8))
    assert found.macs == 2 * 32 * 4
    assert found.uncounted == ("netwright_test.product",)
