"""Layer normalisation becomes batch normalisation over a training, and is folded into what is behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.annealing import anneal
from netwright.nets.isolation import outputs_of
from netwright.nets.noise import apart
from netwright.nets.surgery.foldable_norm import FoldableNorm
from netwright.nets.surgery.unified_norm import UnifiedNorm


class Attention(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(size, size, bias=i > 1) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)))


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(size), Attention(size)
        self.ffn_norm = nn.LayerNorm(size)
        self.ffn = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


NORMS = ["1", "2.attention_norm", "2.ffn_norm", "3.attention_norm", "3.ffn_norm", "4"]


def transformer() -> nn.Module:
    """The first norm is read by the sum too, the last by one layer."""
    torch.manual_seed(0)
    layers = (Layer(16) for _ in range(2))
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), *layers, nn.LayerNorm(16), nn.Linear(16, 5))


def used(module: nn.Module) -> nn.Module:
    for norm in (m for m in module.modules() if isinstance(m, FoldableNorm)):
        nn.init.normal_(norm.after.running_mean)
        nn.init.uniform_(norm.after.running_var, 0.5, 2)
        for parameter in (norm.beside, norm.after.weight, norm.after.bias):
            nn.init.normal_(parameter)
    return module


def test_a_transformer_computes_what_it_computed_until_it_is_trained():
    model, x = transformer(), torch.randn(3, 6, 8)
    before = outputs_of(model.eval(), x)
    model.train()
    assert nw.to_foldable_norm(model, x) == NORMS
    assert model.training and apart(before, outputs_of(model.eval(), x)) == 0
    readers = {path: len(model.get_submodule(path).readers) for path in NORMS}
    assert readers == {"1": 0, "2.attention_norm": 3, "2.ffn_norm": 1, "3.attention_norm": 3, "3.ffn_norm": 1, "4": 1}
    assert nw.fold(used(model), x).folded_modules == []
    anneal(model, 1.0)
    made = nw.fold(model, x)
    assert made.folded_modules == NORMS
    kinds = [type(made.get_submodule(path)).__name__ for path in NORMS]
    assert kinds == ["Affine", *["Merged"] * 5] and not any(isinstance(m, nn.BatchNorm1d) for m in made.modules())
    assert made[2].attention.q.bias is not None and model[2].attention.q.bias is None


@pytest.mark.parametrize("kind", ["batch", "unified"])
def test_what_is_cut_of_it_is_folded_and_counted(kind):
    model, x = transformer().eval(), torch.randn(2, 6, 8)
    nw.to_foldable_norm(model, x, kind=kind)
    net = nw.wrap(used(model), x)
    assert {"0.width", "2.ffn.0.width"} <= set(net.report.elastic), net.report
    some = net.space.sample(np.random.default_rng(0))
    before = net.count(some)
    anneal(model, 1.0)
    nw.testing.check_supernet(net, candidates=[some], formats=("onnx",))
    assert net.count(some) == before


@pytest.mark.parametrize("kind", ["batch", "unified"])
def test_training_takes_the_norms_away(kind):
    torch.manual_seed(0)
    model, x, y = transformer(), torch.randn(32, 6, 8), torch.randint(5, (32, 6))
    nw.to_foldable_norm(model, x[:1], only=["*ffn_norm", "4"], until=0.5, kind=kind)
    loader = nw.TensorLoader(nw.Split(x, y), 8)
    nw.finetune(model, loader, task="classification", epochs=3)
    made = nw.fold(model, x[:1])
    assert made.folded_modules == ["2.ffn_norm", "3.ffn_norm", "4"]
    assert [type(m).__name__ for m in made.modules()].count("LayerNorm") == 3
    assert apart(outputs_of(model, x), outputs_of(made, x)) < 1e-5


def test_a_layer_whose_weight_is_another_s_too_takes_nothing_in():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm, self.head = nn.Embedding(11, 16), nn.LayerNorm(16), nn.Linear(16, 11, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.norm(self.words(ids)))

    model, ids = Tied(), torch.randint(11, (2, 5))
    assert nw.to_foldable_norm(model, ids) == ["norm"] and model.norm.readers == ()
    anneal(used(model), 1.0)
    made = nw.fold(model, ids)
    assert made.head.weight is made.words.weight and type(made.norm).__name__ == "Affine"


def test_networks_that_read_their_norms_themselves_stay_as_they_are():
    model, x = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.randn(2, 5, 16)
    with pytest.raises(NetError, match=r"reads theirs itself: .* only="):
        nw.to_foldable_norm(model, x)
    assert type(model.norm1) is nn.LayerNorm and model(x).shape == x.shape


def test_norms_that_there_are_not_are_told():
    with pytest.raises(NetError, match=r"no layer normalisation .* is like \['ffn'\]: known are: 1, 2"):
        nw.to_foldable_norm(transformer(), torch.randn(1, 6, 8), only="ffn")
    with pytest.raises(NetError, match=r"it has none"):
        nw.to_foldable_norm(nn.Sequential(nn.Linear(8, 4)), torch.randn(1, 8))


# -- unified normalisation -----------------------------------------------------------------------------------------


def test_unified_normalisation_divides_by_the_geometric_mean_of_the_last_batches():
    torch.manual_seed(0)
    norm, batches = UnifiedNorm(3).train(), [torch.randn(20, 3) * scale for scale in (1, 1.2, 0.9, 1.1, 1.0, 1.05)]
    squares = [x.square().mean(0) for x in batches]
    running = torch.ones(3)
    for i, x in enumerate(batches):
        out = norm(x)
        own = squares[i] if i < 4 else torch.stack(squares[i - 3 : i + 1]).log().mean(0).exp()
        torch.testing.assert_close(out, x / (own + norm.eps).sqrt())
        running = 0.9 * running + 0.1 * own
    torch.testing.assert_close(norm.running_var, running)
    x = batches[0]
    torch.testing.assert_close(norm.eval()(x), x / (running + norm.eps).sqrt())


def test_the_gradient_of_unified_normalisation_is_smoothed_and_that_of_one_batch_is_exact():
    torch.manual_seed(0)
    norm, x, g = UnifiedNorm(3), torch.randn(20, 3, requires_grad=True), torch.randn(20, 3)
    norm(x).backward(g)
    wanted = torch.autograd.grad(x / (x.square().mean(0) + norm.eps).sqrt(), x, g)[0]
    torch.testing.assert_close(x.grad, wanted, rtol=1e-4, atol=1e-5)
    means = []
    for _ in range(5):
        given = torch.randn(20, 3, requires_grad=True)
        out = norm(given)
        out.backward(g)
        z = out.detach()
        means.append((g * z).mean(0))
    deviation = given.detach() / z
    smoothed = torch.stack(means[-4:]).mean(0)
    torch.testing.assert_close(given.grad, (g - smoothed * z) / deviation, rtol=1e-4, atol=1e-5)


def test_a_batch_far_from_those_before_is_normalised_alone_and_forgotten():
    torch.manual_seed(0)
    norm = UnifiedNorm(3).train()
    for _ in range(6):
        norm(torch.randn(20, 3))
    x = 30 * torch.randn(20, 3)
    torch.testing.assert_close(norm(x), x / (x.square().mean(0) + norm.eps).sqrt())
    assert norm.squares.max() < 100 < x.square().mean(0).min()


def test_unified_normalisation_is_recalibrated_and_cut_without_what_came_before():
    torch.manual_seed(0)
    norm, batches = UnifiedNorm(3).train(), [torch.randn(20, 3) * scale for scale in (1, 2, 3)]
    nw.recalibrate(nn.Sequential(norm), batches)
    torch.testing.assert_close(norm.running_var, sum(x.square().mean(0) for x in batches) / 3)
    wide, x = UnifiedNorm(5).train(), torch.randn(20, 3)
    for own in ("weight", "bias"):
        setattr(wide, own, nn.Parameter(getattr(wide, own)[:3].detach()))
    wide.running_var = wide.running_var[:3]
    torch.testing.assert_close(wide(x), x / (x.square().mean(0) + wide.eps).sqrt())
    assert not wide.squares.any()
