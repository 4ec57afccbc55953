"""Hand-written networks for words, sequences, tables and graphs, in plain torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Made, Zoo

plain = Zoo()


def words(length: int = 8, batch: int = 2, size: int = 50) -> Tensor:
    """Numbers of words."""
    return torch.randint(0, size, (batch, length))


@plain(3, "embed.weight:1", "lstm.weight_hh_l0:0", "lstm.weight_hh_l0:1", "lstm.weight_ih_l0:0", "hidden.weight:0")
def lstm() -> Made:
    """A classifier of the last state."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(50, 16), nn.LSTM(16, 24, batch_first=True)
            self.hidden, self.out = nn.Linear(24, 16), nn.Linear(16, 5)

        def forward(self, text: Tensor) -> Tensor:
            states, _ = self.lstm(self.embed(text))
            return self.out(F.relu(self.hidden(states[:, -1])))

    return Net(), words()


@plain(2, "embed.weight:1", "lstm.weight_hh_l0:0", "lstm.weight_hh_l1_reverse:0", "lstm.weight_ih_l1:1", "out.weight:1")
def bilstm() -> Made:
    """Two layers in both directions; the states of all steps."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(50, 16), nn.Linear(48, 7)
            self.lstm = nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True, dropout=0.1)

        def forward(self, text: Tensor) -> Tensor:
            return self.out(self.lstm(self.embed(text))[0])

    return Net(), words()


@plain(3, "enter.weight:0", "gru.weight_hh_l0:1", "gru.weight_ih_l0:0", "out.0.weight:0")
def gru() -> Made:
    """A tagger; the sequence comes first, and the final state is an output too."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.gru = nn.Linear(4, 16), nn.GRU(16, 32)
            self.out = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            states, last = self.gru(F.relu(self.enter(x.transpose(0, 1))))
            return self.out(states).transpose(0, 1), last[-1].norm(dim=-1)

    return Net(), torch.randn(2, 6, 4)


@plain(2, "cell.weight_hh:1", "out.weight:1", "embed.weight:1")
def lstm_cell() -> Made:
    """A cell in a loop; the first state is of the cell's own size."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.cell, self.out = nn.Embedding(50, 16), nn.LSTMCell(16, 24), nn.Linear(24, 5)

        def forward(self, text: Tensor) -> Tensor:
            x = self.embed(text)
            state = cell = x.new_zeros(len(x), self.cell.hidden_size)
            for i in range(x.shape[1]):
                state, cell = self.cell(x[:, i], (state, cell))
            return self.out(state)

    return Net(), words(5)


@plain(3, "one.weight:0", "two.weight:0", "three.weight:0", "out.weight:1")
def gcn() -> Made:
    """Graph convolutions with a dense, normalised matrix of neighbours."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(8, 32), nn.Linear(32, 16), nn.Linear(16, 24)
            self.out = nn.Linear(24, 4)

        def forward(self, nodes: Tensor, near: Tensor) -> Tensor:
            near = near / near.sum(-1, keepdim=True)
            x = F.relu(near @ self.one(nodes))
            x = F.relu(near @ self.two(x))
            return self.out(F.dropout(self.three(x), 0.5, self.training).relu())

    return Net(), (torch.randn(2, 6, 8), torch.rand(2, 6, 6))


@plain(3, "enter.weight:0", "message.weight:0", "update.weight:0", "attend.weight:1")
def message_passing() -> Made:
    """Messages along edges, weighed, summed at the nodes by index."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.message, self.attend = nn.Linear(6, 16), nn.Linear(32, 24), nn.Linear(24, 1)
            self.update, self.out = nn.Linear(16 + 24, 16), nn.Linear(16, 3)

        def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
            x = F.relu(self.enter(nodes))
            source, target = edges[:, 0], edges[:, 1]
            message = F.relu(self.message(torch.cat([x[source], x[target]], 1)))
            message = message * self.attend(message).sigmoid()
            total = x.new_zeros(len(x), message.shape[1]).index_add(0, target, message)
            return self.out(F.relu(self.update(torch.cat([x, total], 1))))

    return Net(), (torch.randn(6, 6), torch.randint(0, 6, (6, 2)))


@plain(4, "patch.weight:0", "blocks.*.up.weight:0", "blocks.*.across.weight:0", "norm.weight:0", skips=("blocks.[12]",))
def mixer() -> Made:
    """MLPs over patches and over channels (Tolstikhin et al. 2021)."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.across, self.back = nn.LayerNorm(16), nn.Linear(4, 16), nn.Linear(16, 4)
            self.norm2, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.back(F.gelu(self.across(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.Sequential(*(Block() for _ in range(3)))
            self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))

    return Net(), torch.randn(2, 3, 8, 8)


@plain(3, "enter.weight:0", "layers.layers.*.linear1.weight:0", "layers.layers.*.self_attn.in_proj_weight:0",
       "layers.layers.*.self_attn.in_proj_weight:1", skips=("layers.layers.[12]",))  # fmt: skip
def encoder() -> Made:
    """torch's own transformer layers, with a mask of what is padding."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
            self.enter, self.out = nn.Linear(8, 32), nn.Linear(32, 4)
            self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            return self.out(self.layers(self.enter(x), src_key_padding_mask=padding > 0.5).mean(1))

    return Net(), (torch.randn(2, 6, 8), torch.tensor([[0.0] * 6, [0.0] * 4 + [1.0] * 2]))


@plain(3, "embed.weight:1", "net.encoder.layers.*.linear1.weight:0", "net.decoder.layers.*.linear1.weight:0",
       skips=("net.encoder.layers.1", "net.decoder.layers.1"))  # fmt: skip
def seq2seq() -> Made:
    """torch's own encoder and decoder, with a causal mask."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(50, 32), nn.Linear(32, 50)
            self.net = nn.Transformer(32, 4, 2, 2, 48, batch_first=True)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1]).to(self.out.weight.dtype)
            both = self.embed(source), self.embed(target)
            return self.out(self.net(*both, tgt_mask=mask, tgt_is_causal=True))

    return Net(), {"source": words(7), "target": words(5)}


class Norm(nn.Module):
    """Root mean square normalisation in single precision at least (Zhang and Sennrich 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Attention(nn.Module):
    """Grouped queries, rotary positions, a causal mask."""

    def __init__(self, size: int, heads: int, groups: int) -> None:
        super().__init__()
        self.head_dim = size // heads
        self.num_heads, self.num_groups = heads, groups
        self.q, self.k = nn.Linear(size, size, bias=False), nn.Linear(size, groups * self.head_dim, bias=False)
        self.v, self.o = nn.Linear(size, groups * self.head_dim, bias=False), nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        b, n, _ = x.shape

        def rotate(t: Tensor) -> Tensor:
            first, second = t.chunk(2, -1)
            return t * turn[0] + torch.cat([-second, first], -1) * turn[1]

        q = rotate(self.q(x).view(b, n, -1, self.head_dim).transpose(1, 2))
        k = rotate(self.k(x).view(b, n, -1, self.head_dim).transpose(1, 2))
        v = self.v(x).view(b, n, -1, self.head_dim).transpose(1, 2)
        k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(b, n, -1))


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = Norm(size), Attention(size, 4, 2), Norm(size)
        self.gate, self.up, self.down = nn.Linear(size, 48), nn.Linear(size, 48), nn.Linear(48, size)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.norm1(x), turn)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


@plain(8, "embed.weight:1", "layers.*.gate.weight:0", "layers.*.down.weight:1", "layers.*.attention.[qkv].weight:0",
       "layers.*.attention.o.weight:1", "norm.weight:0", skips=("layers.[12]",))  # fmt: skip
def language() -> Made:
    """As in today's language models: tied head, grouped queries, rotary positions, gated layers."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.head = nn.Embedding(50, 32), Norm(32), nn.Linear(32, 50, bias=False)
            self.layers = nn.ModuleList(Layer(32) for _ in range(3))
            self.head.weight = self.embed.weight
            self.register_buffer("rates", 0.1 ** (torch.arange(4) / 4), persistent=False)

        def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
            x = self.embed(input_ids)
            angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.rates
            angles = torch.cat([angles, angles], 1)
            turn = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
            for layer in self.layers:
                x = layer(x, turn)
            return {"logits": self.head(self.norm(x))}

    return Net(), {"input_ids": words(6)}


@plain(3, "embed.weight:1", "router.weight:1", "experts.*.0.weight:0", "out.weight:1")
def mixture() -> Made:
    """Experts, of which each word takes the best two; all run here, with zeros for weights."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.router, self.out = nn.Embedding(50, 16), nn.Linear(16, 4), nn.Linear(16, 5)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(4)
            )

        def forward(self, text: Tensor) -> Tensor:
            x = self.embed(text)
            scores = self.router(x).softmax(-1)
            best, which = scores.topk(2, -1)
            weights = torch.zeros_like(scores).scatter(-1, which, best / best.sum(-1, keepdim=True))
            y = sum(weights[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts))
            return self.out((x + y).mean(1))

    return Net(), words()


@plain(2, "embed.weight:1", "first.weight:0", "out.weight:1")
def positional() -> Made:
    """A buffer of sinusoids is added to the words: it is cut with them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.first, self.second = nn.Embedding(50, 16), nn.Linear(16, 32), nn.Linear(32, 16)
            self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 5)
            at = torch.arange(12)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, 16, 2) / 16)
            self.register_buffer("places", torch.stack([at.sin(), at.cos()], 2).flatten(1))

        def forward(self, text: Tensor) -> Tensor:
            x = self.embed(text) * 4.0 + self.places[: text.shape[1]]
            return self.out(self.norm(x + self.second(F.relu(self.first(x)))).mean(1))

    return Net(), words()


@plain(3, "shared.0.weight:0", "enter.weight:0", "out.weight:1")
def shared() -> Made:
    """A module that is called twice, and one that stands at two paths."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.out = nn.Linear(4, 16), nn.Linear(16, 3)
            self.shared = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
            self.again = nn.ModuleList([self.shared, nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))])

        def forward(self, x: Tensor) -> Tensor:
            x = self.shared(self.shared(self.enter(x)))
            for part in self.again:
                x = x + part(x)
            return self.out(x)

    return Net(), torch.randn(2, 4)


@plain(3, "text.weight:1", "image.0.weight:0", "join.weight:0", "sides.*.weight:1",
       onnx="PyTorch's exporter gives an input and an output one name")  # fmt: skip
def dictionaries() -> Made:
    """Nested inputs, one of them optional, and nested outputs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text, self.image = nn.Embedding(50, 16), nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU())
            self.join = nn.Linear(40, 32)
            self.sides = nn.ModuleDict({"left": nn.Linear(32, 2), "right": nn.Linear(32, 3)})

        def forward(self, batch: dict[str, Tensor], scale: Tensor | None = None) -> dict[str, object]:
            x = torch.cat([self.text(batch["text"]).mean(1), self.image(batch["image"]).mean((2, 3))], 1)
            x = F.relu(self.join(x))
            x = x if scale is None else x * scale[:, None]
            return {"sides": {name: side(x) for name, side in self.sides.items()}, "rest": [None, x.sum(1)]}

    return Net(), {"batch": {"text": words(), "image": torch.randn(2, 1, 5, 5)}, "scale": torch.rand(2)}


@plain(3, "enter.weight:0", "both.weight:0", "out.weight:1")
def gated() -> Made:
    """Gates made by chunk, split, and F.glu."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.both, self.mid = nn.Linear(4, 32), nn.Linear(16, 64), nn.Linear(32, 48)
            self.three, self.out = nn.Linear(24, 48), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.glu(self.enter(x), -1)
            value, gate = self.both(x).chunk(2, -1)
            a, b = self.mid(value * F.gelu(gate)).tensor_split(2, -1)
            a, b, c = self.three(a * b.sigmoid()).chunk(3, -1)
            return self.out(a * b + c)

    return Net(), torch.randn(2, 4)


@plain(2, "first.weight:0", "embed.weight:1", "second.weight:0")
def fourier() -> Made:
    """Mixes words and channels by the real part of a Fourier transform (Lee-Thorp et al. 2021)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Embedding(50, 16), nn.LayerNorm(16)
            self.first, self.second, self.out = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

        def forward(self, text: Tensor) -> Tensor:
            x = self.embed(text)
            x = x + torch.fft.fft(self.norm(x), dim=1).real
            return self.out((x + self.second(F.gelu(self.first(x)))).mean(1))

    return Net(), words()


@plain(2, "q:1", "v:1", "o:2", "enter.weight:0", "up:1")
def einsum() -> Made:
    """Raw parameters of three dimensions (heads, inputs, outputs) and Einstein sums."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.out = nn.Linear(6, 32), nn.Linear(32, 3)
            self.q, self.k, self.v = (nn.Parameter(0.2 * torch.randn(4, 32, 8)) for _ in range(3))
            self.o = nn.Parameter(0.2 * torch.randn(4, 8, 32))
            self.up, self.down = nn.Parameter(0.2 * torch.randn(32, 48)), nn.Parameter(0.2 * torch.randn(48, 32))

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            q, k, v = (torch.einsum("bnd,hde->bhne", x, w) for w in (self.q, self.k, self.v))
            scores = torch.einsum("bhie,bhje->bhij", q, k).mul(0.35).softmax(-1)
            x = x + torch.einsum("bhij,bhje,hed->bid", scores, v, self.o)
            return self.out(x + F.relu(x @ self.up) @ self.down)

    return Net(), torch.randn(2, 5, 6)


@plain(2, "bag.weight:1", "hidden.weight:0")
def embedding_bag() -> Made:
    """Bags of words of one length."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.hidden, self.out = nn.EmbeddingBag(50, 24, mode="sum"), nn.Linear(24, 16), nn.Linear(16, 4)

        def forward(self, text: Tensor) -> Tensor:
            return self.out(F.relu(self.hidden(self.bag(text))))

    return Net(), words()


@plain(3, "tables.*.weight:1", "bottom.0.weight:0", "bottom.2.weight:0", "top.0.weight:0")
def recommender() -> Made:
    """Embeddings and numbers meet in all their dot products (Naumov et al. 2019)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList(nn.EmbeddingBag(20, 16, mode="mean") for _ in range(3))
            self.bottom = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
            self.top = nn.Sequential(nn.Linear(6 + 16, 32), nn.ReLU(), nn.Linear(32, 1))
            self.register_buffer("pairs", torch.tril_indices(4, 4, -1), persistent=False)

        def forward(self, numbers: Tensor, kinds: Tensor) -> Tensor:
            dense = self.bottom(numbers)
            rows = torch.stack([dense, *(t(kinds[:, i, None]) for i, t in enumerate(self.tables))], 1)
            dots = torch.bmm(rows, rows.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
            return self.top(torch.cat([dense, dots], 1)).sigmoid().squeeze(1)

    return Net(), (torch.randn(2, 5), torch.randint(0, 20, (2, 3)))


@plain(1, "splines.0:2", "splines.1:0", "bases.0:1", "bases.1:0")
def kan() -> Made:
    """A function per edge: raw parameters of three dimensions (Liu et al. 2024, in Gaussian bases)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [(4, 16), (16, 3)]
            self.splines = nn.ParameterList(0.3 * torch.randn(into, 5, out) for into, out in sizes)
            self.bases = nn.ParameterList(0.3 * torch.randn(into, out) for into, out in sizes)
            self.register_buffer("centres", torch.linspace(-1, 1, 5))

        def forward(self, x: Tensor) -> Tensor:
            for spline, base in zip(self.splines, self.bases, strict=True):
                bumps = torch.exp(-4 * (x[..., None] - self.centres) ** 2).flatten(1)
                x = torch.tanh(bumps @ spline.flatten(0, 1) + F.silu(x) @ base)
            return x

    return Net(), torch.randn(2, 4)


@plain(2, "left.weight:0", "meet.weight:1", "right.weight:0", "meet.weight:2")
def bilinear() -> Made:
    """A product of two vectors with a tensor."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.meet = nn.Linear(4, 16), nn.Linear(5, 24), nn.Bilinear(16, 24, 3)

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            return self.meet(self.left(one).tanh(), self.right(two).tanh())

    return Net(), (torch.randn(2, 4), torch.randn(2, 5))


@dataclass
class Answer:
    """Two outputs."""

    score: Tensor
    features: Tensor


@plain(2, "first.weight:0", "second.weight:0", rigid={"out": "*"},
       onnx="torch.export knows dataclasses only when they are registered")  # fmt: skip
def dataclasses() -> Made:
    """Returns an object of its own kind; both of its tensors are outputs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(4, 32), nn.Linear(32, 24), nn.Linear(24, 16)
            self.out = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Answer:
            features = self.third(F.relu(self.second(F.relu(self.first(x)))))
            return Answer(self.out(features), features)

    return Net(), torch.randn(2, 4)


@plain(1, "enter.weight:0", rigid={"second": "*"})
def fixed_sizes() -> Made:
    """A reshape to a number that stands in the code: what lies behind it stays, and what lies before it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.first = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 16, 3)
            self.second, self.out = nn.Linear(64, 16), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.first(F.relu(self.enter(x)))).view(x.shape[0], 64)
            return self.out(self.second(x).view(-1, 2, 8).mean(1))

    return Net(), torch.randn(2, 1, 6, 6)


@plain(3, "embed.weight:1", "first.weight:0", "norm.weight:0", "hidden.weight:0", tolerance=2e-2,
       onnx="ONNX Runtime has no matrix product of bfloat16 on a CPU")  # fmt: skip
def bfloat16() -> Made:
    """All weights in bfloat16."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.first = nn.Embedding(50, 32), nn.LayerNorm(32), nn.Linear(32, 64)
            self.second, self.hidden, self.out = nn.Linear(64, 32), nn.Linear(32, 16), nn.Linear(16, 4)

        def forward(self, text: Tensor) -> Tensor:
            x = self.embed(text)
            x = x + self.second(F.gelu(self.first(self.norm(x))))
            return self.out(F.relu(self.hidden(x.mean(1)))).float()

    return Net().bfloat16(), words()


@plain(2, "0.weight:0", "1.weight:0", "3.weight:0", tolerance=1e-2,
       onnx="half precision rounds by more than export allows")  # fmt: skip
def half() -> Made:
    """Weights and inputs in half precision."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(96, 4),
    ).half(), torch.randn(2, 3, 6, 6).half()  # fmt: skip


@plain(3, "patch.weight:0", "blocks.*.qkv.weight:0", "blocks.?.bias:0", "blocks.*.up.weight:0",
       skips=("blocks.1",))  # fmt: skip
def windows() -> Made:
    """Attention in shifted windows with a table of relative positions (Liu et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, shift: int) -> None:
            super().__init__()
            self.norm1, self.qkv, self.proj = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
            self.norm2, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
            self.bias, self.shift, self.num_heads = nn.Parameter(torch.randn(4, 4, 4)), shift, 4

        def attend(self, x: Tensor) -> Tensor:
            n, h, w, c = x.shape
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
            x = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
            qkv = self.qkv(x).reshape(len(x), 4, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv[0], qkv[1], qkv[2]
            scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + self.bias).softmax(-1)
            x = self.proj((scores @ v).transpose(1, 2).reshape(len(x), 4, -1))
            x = x.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
            return torch.roll(x, (self.shift, self.shift), (1, 2))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attend(self.norm1(x))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.blocks = nn.Conv2d(3, 32, 2, 2), nn.ModuleList([Block(0), Block(1)])
            self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).permute(0, 2, 3, 1)
            for block in self.blocks:
                x = block(x)
            return self.out(self.norm(x).mean((1, 2)))

    return Net(), torch.randn(2, 3, 8, 8)


@plain(4, "enter.weight:0", "blocks.*.up.weight:0", "blocks.*.heads.*.weight:0", skips=("blocks.[12]",))
def tuples() -> Made:
    """Blocks that take and give a tuple, as some libraries' layers do, and a list of states as an output."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.norm = nn.Linear(16, 32), nn.Linear(32, 16), nn.LayerNorm(16)
            self.heads = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])

        def forward(self, x: Tensor, mask: Tensor, keep: bool = False) -> tuple[Tensor, Tensor | None]:
            a, b = (head(self.norm(x)) * mask for head in self.heads)
            x = x + a * b.sigmoid()
            return x + self.down(F.gelu(self.up(x))), x.mean() if keep else None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.out = nn.Linear(4, 16), nn.Linear(16, 2)
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.enter(x)
            for block in self.blocks:
                x, _ = block(x, mask)
            return self.out(x)

    return Net(), {"x": torch.randn(2, 5, 4), "mask": torch.ones(2, 5, 1)}
