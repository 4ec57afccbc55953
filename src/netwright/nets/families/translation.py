"""A translation Transformer with the design space of HAT (Wang et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Attribute, Axis, ChannelSlice, Depth, Heads, Width
from ..supernet import SuperNet


class Positions(nn.Module):
    """Adds the sinusoids of Vaswani et al. 2017, section 3.5, of which a prefix of the channels can be kept.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        pair = torch.arange(width) // 2 * 2
        self.frequency = nn.Buffer(10000.0 ** (-pair / width))
        self.phase = nn.Buffer(torch.arange(width) % 2 * (math.pi / 2))  # odd channels are cosines

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings of shape (n, length, width), before and after; they are scaled by the root of their width."""
        at = torch.arange(x.shape[1], device=x.device, dtype=self.frequency.dtype)
        return x * math.sqrt(x.shape[2]) + torch.sin(at[:, None] * self.frequency + self.phase)


class Attention(nn.Module):
    """Multi-head attention of one sequence to another.

    Args:
        width: channels of the sequence that attends.
        memory: channels of the sequence that is attended to.
        heads: number of heads.
        size: channels of a head.
        dropout: the dropout of the attention weights, while training.
    """

    def __init__(self, width: int, memory: int, heads: int, size: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, heads * size)
        self.key = nn.Linear(memory, heads * size)
        self.value = nn.Linear(memory, heads * size)
        self.out = nn.Linear(heads * size, width)
        self.size, self.dropout = size, dropout

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Of shape (n, length, width).

        Args:
            x: shape (n, length, width).
            memory: shape (n, other, memory).
            mask: shape (n, other), True where there is something to attend to.
            causal: whether a position sees only itself and those before it.
        """
        query, key, value = (
            layer(y).unflatten(2, (-1, self.size)).transpose(1, 2)
            for layer, y in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        seen = None if mask is None else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, seen, dropout, is_causal=causal)
        return self.out(found.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """What layers of encoder and decoder share: causal or free self-attention, and an FFN.

    Each is added to what it reads, and the sum normalised.
    """

    def __init__(self, width: int, ffn: int, heads: int, size: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, width, heads, size, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ffn)
        self.contract = nn.Linear(ffn, width)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def attend(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """The first half; see :meth:`Attention.forward`."""
        return self.attention_norm(x + self.drop(self.attention(x, x, mask, causal)))

    def feed(self, x: Tensor) -> Tensor:
        """The last half."""
        return self.norm(x + self.drop(self.contract(F.relu(self.expand(x)))))


class EncoderLayer(Layer):
    """Self-attention and an FFN."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.feed(self.attend(x, mask))


class DecoderLayer(Layer):
    """Causal self-attention, attention to the last ``attends`` of ``offered`` layers of the encoder, and an FFN."""

    def __init__(self, width: int, memory: int, ffn: int, heads: int, size: int, dropout: float, offered: int) -> None:
        super().__init__(width, ffn, heads, size, dropout)
        self.cross = Attention(width, memory, heads, size, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.attends = self.offered = offered

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attend(x, causal=True)
        # Always a slice, of all where all are attended to: sub-networks then differ in sizes alone and are counted
        # from a table.
        whole = memory.shape[1]
        length = whole // self.offered * self.attends
        memory = memory.narrow(1, whole - length, length)
        mask = None if mask is None else mask.narrow(1, whole - length, length)
        return self.feed(self.cross_norm(x + self.drop(self.cross(x, memory, mask))))


class TranslationTransformer(nn.Module):
    """An encoder-decoder Transformer (Vaswani et al. 2017) that normalises after each addition.

    Args:
        source_vocabulary, target_vocabulary: numbers of tokens; the target's embedding is the output layer's weight.
        encoder_width, decoder_width: channels of the embeddings and between the layers.
        encoder_layers, decoder_layers: numbers of layers.
        ffn: hidden channels of the FFNs.
        heads, head_size: the heads and head size of every attention.
        attends: to how many of the encoder's last layers the decoder's attend, their outputs behind one another.
        dropout: the dropout of attention weights, and of all that is added.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        encoder_width: int = 512,
        decoder_width: int = 512,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        ffn: int = 2048,
        heads: int = 8,
        head_size: int = 64,
        attends: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.source = nn.Embedding(source_vocabulary, encoder_width)
        self.source_positions = Positions(encoder_width)
        self.target = nn.Embedding(target_vocabulary, decoder_width)
        self.target_positions = Positions(decoder_width)
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            EncoderLayer(encoder_width, ffn, heads, head_size, dropout) for _ in range(encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(decoder_width, encoder_width, ffn, heads, head_size, dropout, attends)
            for _ in range(decoder_layers)
        )
        self.output = nn.Linear(decoder_width, target_vocabulary, bias=False)
        for embedding in (self.source, self.target):
            nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)
        self.output.weight = self.target.weight
        self.attends = attends

    def forward(self, source_ids: Tensor, target_ids: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Scores of the token that follows each position, of shape (n, target length, target_vocabulary).

        Args:
            source_ids: shape (n, source length).
            target_ids: shape (n, target length), from the token that begins a sentence on.
            source_mask: shape (n, source length), True where there is a token; without it, everywhere.
        """
        return self.decode(target_ids, *self.encode(source_ids, source_mask))

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The outputs of the last layers behind one another, the last at the end, and the mask for them."""
        x = self.drop(self.source_positions(self.source(source_ids)))
        found = []
        for layer in self.encoder:
            x = layer(x, source_mask)
            found.append(x)
        memory = torch.cat(found[-self.attends :], 1)
        return memory, None if source_mask is None else source_mask.repeat(1, self.attends)

    def decode(self, target_ids: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """See :meth:`forward`; the rest is what :meth:`encode` gives."""
        x = self.drop(self.target_positions(self.target(target_ids)))
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return self.output(x)

    @torch.no_grad()
    def translate(
        self, source_ids: Tensor, begin: int, end: int, longest: int, source_mask: Tensor | None = None
    ) -> Tensor:
        """Greedy translations, of shape (n, at most ``longest``): the likeliest token, one after the other.

        Args:
            source_ids, source_mask: as for :meth:`forward`.
            begin, end: ids of the tokens that begin and end a sentence. The first is not part of what is given; after
                the first ``end`` there is nothing but ``end``.
            longest: number of tokens after which to stop.
        """
        memory, mask = self.encode(source_ids, source_mask)
        target = source_ids.new_full((len(source_ids), 1), begin)
        done = torch.zeros_like(target, dtype=torch.bool)
        while target.shape[1] <= longest and not done.all():
            token = self.decode(target, memory, mask)[:, -1:].argmax(2).masked_fill(done, end)
            target, done = torch.cat([target, token], 1), done | (token == end)
        return target[:, 1:]


def translation(
    source_vocabulary: int = 32768,
    target_vocabulary: int = 32768,
    *,
    encoder_widths: Sequence[int] = (512, 640),
    decoder_widths: Sequence[int] = (512, 640),
    ffn: Sequence[int] = (1024, 2048, 3072),
    heads: Sequence[int] = (4, 8),
    head_size: int = 64,
    encoder_layers: int = 6,
    decoder_layers: Sequence[int] = (1, 2, 3, 4, 5, 6),
    attends: Sequence[int] = (1, 2, 3),
    dropout: float = 0.3,
    length: int = 30,
) -> SuperNet:
    """The super-network of :class:`TranslationTransformer`.

    The defaults are the space of HAT's experiments on WMT'14 English-German. HAT splits the same 512 channels of
    queries, keys and values into 4 or 8 heads; here the first heads stay, with the size that they have. HAT has one
    embedding for both languages; here each has its own. What HAT calls -1, 1 and 2 is here the number of encoder
    layers that a decoder layer attends to: 1, 2, 3.

    Args:
        source_vocabulary, target_vocabulary: numbers of tokens.
        encoder_widths, decoder_widths: options of the embedding size of each side.
        ffn: options of each layer's FFN size.
        heads: options of the number of heads of each attention.
        head_size: channels of a head.
        encoder_layers: number of layers, all of which run.
        decoder_layers: options of the number of layers.
        attends: options of each decoder layer's number of encoder layers that it attends to.
        dropout: while it trains.
        length: tokens of each sentence of the example inputs, for which counts are made.

    Returns:
        A super-network with ``encoder.width``, ``decoder.width``, ``decoder.depth``, and for every layer
        (``encoder0``, ``decoder0``, ...) ``heads`` and ``ffn``, of the decoder also ``cross_heads`` and ``attends``.
    """
    if not 1 <= min(attends) <= max(attends) <= encoder_layers:
        raise NetError(f"attends= lies between 1 and the {encoder_layers} layers of the encoder, not {list(attends)}")
    net = TranslationTransformer(
        source_vocabulary, target_vocabulary, max(encoder_widths), max(decoder_widths), encoder_layers,
        max(decoder_layers), max(ffn), max(heads), head_size, max(attends), dropout,
    )  # fmt: skip
    encoder = [f"encoder.{i}" for i in range(encoder_layers)]
    decoder = [f"decoder.{i}" for i in range(max(decoder_layers))]
    memories = [f"{layer}.cross.{own}" for layer in decoder for own in ("key", "value")]
    axes: list[Axis] = [
        _width(net, "encoder.width", encoder_widths, "source", encoder, memories),
        _width(net, "decoder.width", decoder_widths, "target", decoder, ["output"]),
        Depth("decoder.depth", tuple(decoder), tuple(decoder_layers)),
    ]
    for layer in (*encoder, *decoder):
        name = layer.replace(".", "")
        axes.append(Width.tie(net, f"{name}.ffn", ffn, out_of=[f"{layer}.expand"], into=[f"{layer}.contract"]))
        axes.append(_heads(net, f"{name}.heads", heads, f"{layer}.attention"))
        if layer in decoder:
            axes.append(_heads(net, f"{name}.cross_heads", heads, f"{layer}.cross"))
            axes.append(Attribute(f"{name}.attends", ((layer, "attends"),), tuple(sorted(attends))))
    ids = torch.arange(length)[None]
    inputs = {"source_ids": ids % source_vocabulary, "target_ids": ids % target_vocabulary}
    return SuperNet(net, axes, inputs)


def _heads(net: nn.Module, name: str, options: Sequence[int], attention: str) -> Heads:
    size: Any = net.get_submodule(attention).size
    query, key, value, out = (f"{attention}.{own}" for own in ("query", "key", "value", "out"))
    return Heads.of(net, name, options, size=size, query=query, key=key, value=value, out=out)


def _width(
    net: nn.Module, name: str, options: Sequence[int], side: str, layers: Sequence[str], readers: Sequence[str]
) -> Width:
    """The channels of one side: from its embedding through all its layers to where its output is read."""
    modules = dict(net.named_modules())
    makes = [f"{layer}.{own}" for layer in layers for own in ("attention.out", "cross.out", "contract")]
    keeps = [f"{layer}.{own}" for layer in layers for own in ("attention_norm", "cross_norm", "norm")]
    reads = [f"{layer}.attention.{own}" for layer in layers for own in ("query", "key", "value")]
    reads += [f"{layer}.{own}" for layer in layers for own in ("cross.query", "expand")]
    out_of, through, into = ([path for path in paths if path in modules] for paths in (makes, keeps, reads))
    width = Width.tie(net, name, options, out_of=[side, *out_of], through=through, into=[*into, *readers])
    positions = tuple(ChannelSlice(f"{side}_positions.{own}", 0) for own in ("frequency", "phase"))
    return replace(width, slices=(*width.slices, *positions))
