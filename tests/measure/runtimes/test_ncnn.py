"""ncnn: what pnnx writes computes what PyTorch does, or is refused with the operator's name."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import MeasureError
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.latency import Latency
from netwright.measure.runtimes import ncnn as ours
from netwright.measure.runtimes.ncnn import Ncnn
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.inverted_residual import inverted_residual

pytestmark = pytest.mark.skipif(
    find_spec("ncnn") is None or find_spec("pnnx") is None, reason="needs the packages ncnn and pnnx"
)

QUICK = SamplingPlan(max_seconds=0.05, repeats=0)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3), nn.Embedding(10, 6)

    def forward(self, which: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(image), self.table(which).flatten(1)


class Sorts(nn.Module):
    """ncnn cannot sort."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(1)[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, Path]:
    torch.manual_seed(0)
    net = inverted_residual(3, 10, 16, widths=((8,), (16,)), depths=((1,), (1,)), expands=(4,))
    network, image = net.extract(net.largest).eval(), torch.randn(1, 3, 16, 16)
    path = tmp_path_factory.mktemp("ncnn") / "net.ncnn"
    Ncnn().convert(network, image, path)
    return network, image, path


@pytest.mark.parametrize(("precision", "least", "most"), [("float32", 0.0, 1e-5), ("bfloat16", 1e-4, 0.05)])
def test_a_small_network_computes_what_pytorch_does(precision: str, least: float, most: float, small: tuple) -> None:
    network, image, path = small
    found = Latency(Ncnn(precision=precision), QUICK).run(path, feeds_of(image), outputs_of(network, image))["latency"]
    assert found.value > 0
    assert least <= found.details["difference"] < most


def test_weights_stay_in_32_bits(small: tuple) -> None:
    network, _, path = small
    with zipfile.ZipFile(path) as packed:
        weights = packed.getinfo("net.bin").file_size
    assert weights > 4 * sum(p.numel() for p in network.parameters() if p.dim() > 1)


def test_nothing_is_left_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Ncnn().convert(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), Path("net.ncnn"))
    assert [each.name for each in tmp_path.iterdir()] == ["net.ncnn"]


def test_two_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = Two().eval(), {"image": torch.randn(1, 3, 8, 8), "which": torch.tensor([[1, 9]])}
    Ncnn().convert(network, inputs, tmp_path / "net.ncnn")
    assert Ncnn().signature(tmp_path / "net.ncnn") == {
        "image": ((1, 3, 8, 8), "float32"),
        "which": ((1, 2), "int64"),
    }
    found = Latency(Ncnn(), QUICK).run(tmp_path / "net.ncnn", feeds_of(inputs), outputs_of(network, inputs))
    assert found["latency"].details["difference"] < 1e-5


def test_an_attention_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, activation="gelu")
    network, x = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval(), torch.randn(1, 8, 32)
    Ncnn().convert(network, x, tmp_path / "net.ncnn")
    found = Latency(Ncnn(), QUICK).run(tmp_path / "net.ncnn", feeds_of(x), outputs_of(network, x))
    assert found["latency"].details["difference"] < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_operator_that_ncnn_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"ncnn has no operator .*sort"):
        Ncnn().convert(Sorts(), torch.randn(1, 8), tmp_path / "net.ncnn")
    assert not (tmp_path / "net.ncnn").exists()


def test_a_pnnx_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"not a network")
    with pytest.raises(MeasureError, match=r"pnnx cannot convert this network: (ended|crashed|it said)"):
        ours._pnnx(tmp_path, (torch.randn(1, 3),))


def test_more_than_one_input_at_a_time_is_refused(small: tuple) -> None:
    with pytest.raises(MeasureError, match="one input at a time, not 2; measure with batch=1"):
        Ncnn(batch=2)
    *_, path = small
    with pytest.raises(MeasureError, match="one input at a time, not one of shape"):
        Latency(Ncnn(), QUICK).run(path, {"input": np.zeros((2, 3, 16, 16), np.float32)})


def test_plain_files_need_their_weights_beside_them(small: tuple, tmp_path: Path) -> None:
    network, image, path = small
    with zipfile.ZipFile(path) as packed:
        (tmp_path / "own.param").write_bytes(packed.read("net.param"))
        with pytest.raises(MeasureError, match=r"needs its weights beside it, in own\.bin"):
            Latency(Ncnn(), QUICK).run(tmp_path / "own.param", feeds_of(image))
        (tmp_path / "own.bin").write_bytes(packed.read("net.bin"))
    found = Latency(Ncnn(), QUICK).run(tmp_path / "own.param", feeds_of(image), outputs_of(network, image))
    assert found["latency"].details["difference"] < 1e-5
    with pytest.raises(MeasureError, match="does not say what it is called with"):
        Ncnn().signature(tmp_path / "own.param")


def test_what_is_no_file_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.ncnn").write_bytes(b"not a network")
    with pytest.raises(MeasureError, match="no file that netwright packed for ncnn"):
        Latency(Ncnn(), QUICK).run(tmp_path / "net.ncnn", {"x": np.zeros((1, 3), np.float32)})
