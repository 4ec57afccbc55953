"""The modelling file of a network of ``transformers`` whose layers differ: it needs transformers and torch alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from textwrap import indent

from ..nets.families.pretrained import ATTENTION, MLP, Family

FILE = "modeling_per_layer.py"
"""What it is called: ``auto_map`` in ``config.json`` names it."""

PREFIX = "PerLayer"
"""What the names of its classes begin with."""

CODE = '''\
"""{model} with layers of their own sizes.

Written by netwright; needs transformers and torch alone. ``per_layer_config`` in ``config.json`` says in what a layer
differs from the rest of the config{skips}. Read it with

    {auto}.from_pretrained(folder, trust_remote_code=True)
"""

{imports}

{config_class}
class {prefix}{model}({model}):
    """{model} with the layers that its config says."""
{config_line}
    def __init__(self, config, *args, **kwargs):
        several, told = list(config.per_layer_config), config.to_dict()["per_layer_config"]
        config.per_layer_config = None  # the layers are made alike, and then fitted
{ordinary}        super().__init__(config, *args, **kwargs)
{own}        config.per_layer_config = told
{fitting}

def fit(layer, own):
    """Give a layer the sizes that its own config has."""
{fit}

def resized(linear, reads=None, makes=None):
    """A linear layer of another size."""
{resized}{parts}'''

CONFIG_CLASS = '''
@strict
class {prefix}{config}({config}):
    """{config} of any numbers of heads, which have a size of their own (``head_dim``)."""

    def validate_architecture(self):
        pass

'''

LINEAR = """\
    bias = linear.bias is not None
    return nn.Linear(reads or linear.in_features, makes or linear.out_features, bias, device=linear.weight.device)
"""

CONV1D = """\
    return Conv1D(makes or linear.nf, reads or linear.nx)
"""

NUMBERED = """\
        attentions = 0
        for layer, own in zip(self{layers}, several):
            fit(layer, own)
            if "attention" not in own.skip:  # which have their places in the cache in this order
                layer.{attention}.layer_idx = attentions
                attentions += 1
"""

FITTED = """\
        for layer, own in zip(self{layers}, several):
            fit(layer, own)
"""

PARTS = '''

class NoAttention(nn.Module):
    """In the place of an attention: nothing is added to what goes through the layer."""

    def forward(self, hidden_states, *args, **kwargs):
        return torch.zeros_like(hidden_states), None


class NoMLP(nn.Module):
    """In the place of a feed-forward network: nothing is added to what goes through the layer."""

    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)
'''


def modelling_code(
    model: str, config: str, auto: str, family: Family, base: str, skipped: Collection[str], free_heads: bool
) -> str:
    """The text of the file.

    Args:
        model, config: names of the classes of transformers.
        auto: the name of the class that reads the model.
        family: of the model.
        base: path of the base model.
        skipped: parts that some layers have not.
        free_heads: whether the config's class would refuse some numbers of heads.
    """
    turned = family.query == family.key  # GPT-2, whose linear layers are its own
    layers = f".{base}.{family.layers}" if base else f".{family.layers}"
    fitting = NUMBERED if ATTENTION in skipped else FITTED
    names = sorted((config, model) if free_heads else (model,))
    imports = ["import torch"] if skipped else []
    imports += ["from huggingface_hub.dataclasses import strict"] if free_heads else []
    imports += ["from torch import nn"] if skipped or not turned else []
    imports += [f"from transformers import {', '.join(names)}"]
    imports += ["from transformers.pytorch_utils import Conv1D"] if turned else []
    return CODE.format(
        model=model,
        auto=auto,
        prefix=PREFIX,
        imports="\n".join(imports),
        skips=", and under ``skip`` what it has not" if skipped else "",
        config_class=CONFIG_CLASS.format(prefix=PREFIX, config=config) if free_heads else "",
        ordinary=f"        config.__class__ = {config}\n" if free_heads else "",
        own=f"        config.__class__ = {PREFIX}{config}\n" if free_heads else "",
        config_line=f"\n    config_class = {PREFIX}{config}\n" if free_heads else "",
        fitting=fitting.format(layers=layers, attention=family.head_size[0]),
        fit=indent("".join(f"{line}\n" for line in _fit(family, skipped)), "    "),
        resized=CONV1D if turned else LINEAR,
        parts=PARTS if skipped else "",
    )


def _fit(family: Family, skipped: Collection[str]) -> Iterator[str]:
    """The lines that fit a layer."""
    for name, lines, absent in (
        (ATTENTION, _fit_attention(family), "NoAttention()"),
        (MLP, _fit_mlp(family), "NoMLP()"),
    ):
        if name in skipped:
            *norms, (module, _) = family.parts[name]
            yield f'if "{name}" in own.skip:'
            yield from (f"    layer.{path} = nn.Identity()" for path, _ in norms)
            yield f"    layer.{module} = {absent}"
            yield "else:"
            yield from (f"    {line}" for line in lines)
        else:
            yield from lines


def _fit_attention(family: Family) -> Iterator[str]:
    module, attribute = family.head_size
    heads, grouped = "own.num_attention_heads", not (family.head_counts or family.query == family.key)
    keys = "keys" if grouped else "channels"
    yield f"size = layer.{module}.{attribute}"
    yield f"channels = {heads} * size"
    if grouped:
        yield "keys = own.num_key_value_heads * size"
    if family.query == family.key:
        yield f"layer.{family.query} = resized(layer.{family.query}, makes=3 * channels)"
    else:
        for path, makes in ((family.query, "channels"), (family.key, keys), (family.value, keys)):
            yield f"layer.{path} = resized(layer.{path}, makes={makes})"
    yield f"layer.{family.out} = resized(layer.{family.out}, reads=channels)"
    yield from (f"layer.{own}.{name} = {heads}" for own, name in family.head_counts)
    yield from (f"layer.{own}.{name} = channels" for own, name in family.head_sums)


def _fit_mlp(family: Family) -> Iterator[str]:
    yield from (f"layer.{path} = resized(layer.{path}, makes=own.{family.config_ffn})" for path in family.expand)
    yield f"layer.{family.contract} = resized(layer.{family.contract}, reads=own.{family.config_ffn})"
    yield from (f"layer.{own}.{name} = own.{family.config_ffn}" for own, name in family.ffn_counts)
