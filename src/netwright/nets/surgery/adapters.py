"""Low-rank adapters (LoRA): a few new weights learn in the place of all, and are added to these at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ...core.broken import without_broken_torchvision
from ...core.errors import MissingExtra, NetError, did_you_mean, format_error
from ...core.files import write_atomically, write_json
from ...core.quiet import quiet
from ..layers import CONVOLUTIONS, is_transposed_linear

NAME = "default"
"""The library's name of an adapter where a network has one."""

PREFIX = "base_model.model."
"""What names of weights begin with in the library's files."""


def add_adapters(
    network: nn.Module,
    *,
    rank: int = 8,
    alpha: float = 16,
    modules: str | Sequence[str] | None = None,
    seed: int = 0,
) -> list[str]:
    """Give layers low-rank adapters, in place: a layer's weight W becomes W + ``alpha / rank`` B A, of which A and B
    alone learn; B is zero at first, so that the network computes what it did.

    Hu et al., "LoRA: Low-rank adaptation of large language models" (2021), arXiv 2106.09685, section 4.1; by the
    library ``peft``. The gradients and the state of the optimizer are those of A and B, a few per cent of all. A
    network with adapters is wrapped, cut and extracted as any other: A goes with a layer's inputs, B with its outputs,
    so that sub-networks share the adapters too.

    Args:
        network: whose other parameters no longer require gradients.
        rank: of the product: A is (rank, inputs) and B (outputs, rank).
        alpha: how much the product counts.
        modules: patterns of the paths of layers, such as ``"*.q_proj"``; by default all linear layers whose weights
            are theirs alone.
        seed: of A.

    Returns the paths of the layers that have adapters now.

    Raises :class:`NetError` where there are no such layers, or they have adapters already, and
    :class:`~netwright.core.errors.MissingExtra` without the package ``peft``.
    """
    if rank < 1 or alpha <= 0:
        raise NetError(f"adapters have a rank of 1 or more and an alpha above 0, not rank={rank}, alpha={alpha}")
    library = require_peft()
    if any(_adapted(network)):
        raise NetError("the network has adapters already; merge them first: netwright.merge_adapters(network)")
    paths = _chosen(network, modules)
    config = library.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(paths))
    try:
        with quiet(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            library.inject_adapter_in_model(config, network, adapter_name=NAME)
    except Exception as error:  # of a layer that the library has no adapter for
        merge_adapters(network)  # those that were given already, and are zero
        raise NetError(
            f"these layers cannot have adapters: {format_error(error)[:300]}; name others by modules="
        ) from error
    return paths


def save_adapters(network: nn.Module, directory: str | Path, base: str = "") -> None:
    """Write a network's adapters as ``peft`` reads them: ``adapter_model.safetensors`` and ``adapter_config.json``.

    ``peft.PeftModel.from_pretrained(model, directory)`` gives them to a model whose layers have the names and sizes
    that this network's have.

    Args:
        network: with adapters that are not merged yet.
        directory: made where it is not there.
        base: the model that they belong to: its directory or its id, for the library to find.

    Raises :class:`NetError` for a network without adapters.
    """
    layers = dict(_adapted(network))
    if not layers:
        raise NetError("the network has no adapters that could be written; netwright.add_adapters(network) adds them")
    library, folder = require_peft(), Path(directory)
    rank, alpha = next((layer.r[NAME], layer.lora_alpha[NAME]) for layer in layers.values())
    config = library.LoraConfig(r=rank, lora_alpha=alpha, target_modules=sorted(layers), base_model_name_or_path=base)
    weights = {
        f"{PREFIX}{path}.{part}.weight": getattr(layer, part)[NAME].weight.detach().cpu().contiguous()
        for path, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "adapter_model.safetensors", save(weights, {"format": "pt"}))
    told = {key: sorted(v) if isinstance(v, set) else v for key, v in config.to_dict().items()}
    write_json(folder / "adapter_config.json", told | {"inference_mode": True})


def merge_adapters(network: nn.Module) -> None:
    """Add a network's adapters to its weights, in place: the layers are plain ones again, and all their parameters
    learn."""
    for path, layer in list(_adapted(network)):
        with quiet():
            layer.merge()
        parent, _, own = path.rpartition(".")
        setattr(network.get_submodule(parent), own, layer.get_base_layer())
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    if hasattr(network, "peft_config"):
        del network.peft_config


@contextmanager
def adapting(network: nn.Module, rank: int) -> Iterator[None]:
    """Adapters alone learn while the block lasts; then they are merged."""
    add_adapters(network, rank=rank)
    try:
        yield
    finally:
        merge_adapters(network)


def require_peft() -> Any:
    """The library ``peft``. Raises :class:`MissingExtra` where it is not there."""
    without_broken_torchvision()
    try:
        with quiet():
            import peft
    except ImportError:
        raise MissingExtra("peft", "lora", "low-rank adapters") from None
    return peft


def _adapted(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers with adapters, by path."""
    for path, module in network.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            yield path, module


def _chosen(network: nn.Module, modules: str | Sequence[str] | None) -> list[str]:
    """The paths of the layers that are to have adapters."""
    uses: dict[int, int] = {}
    for module in network.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    known = {
        path: module
        for path, module in network.named_modules()
        if path and (isinstance(module, nn.Linear) or is_transposed_linear(module) or type(module) in CONVOLUTIONS)
        if uses[id(module.weight)] == 1
    }
    if modules is None:
        found = [path for path, module in known.items() if type(module) not in CONVOLUTIONS]
        if not found:
            raise NetError("adapters: the network has no linear layer; name convolutions by modules=")
        return found
    patterns = [modules] if isinstance(modules, str) else list(modules)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in known):
            raise NetError(
                f"adapters: no linear layer or convolution with weights of its own is named like {pattern!r}; "
                f"{did_you_mean(pattern.strip('*.'), known)}"
            )
    return [path for path in known if any(fnmatchcase(path, pattern) for pattern in patterns)]
