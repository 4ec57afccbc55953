"""A directory of ``transformers``, which ``from_pretrained`` reads."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from safetensors.torch import save
from torch import nn

from ..core.errors import BundleError, MissingExtra, NetError, format_error
from ..core.files import write_atomically
from ..core.quiet import quiet
from ..nets.families.known import PRETRAINED, family_of
from ..nets.families.pretrained import Family, Stack, config_numbers, layer_config
from ..nets.inputs import Inputs
from ..nets.saving import as_config_says, built, without_skipped
from ..nets.state import state_of
from .base import Format
from .sizes import Sizes
from .transformers_code import FILE, PREFIX, modelling_code

STANDARD, CUSTOM_CODE = "standard", "custom code"
"""The kinds of directories: transformers' own class reads it, or the modelling file beside it."""

BESIDE = (
    *("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model"),
    *("*processor_config.json", "chat_template*"),
)
"""Names of files of tokenizers and processors."""

WRITTEN = ("config.json", "generation_config.json", "model*.safetensors*", FILE, *BESIDE)
"""Names of files that are written, which of an earlier network are taken away."""


@dataclass(frozen=True)
class Transformers(Format):
    """A model of ``transformers`` as ``from_pretrained`` reads it, without netwright.

    A network that its config describes is an ordinary directory. Where layers differ, ``per_layer_config`` in
    ``config.json`` says how (transformers 5.23 reads and writes it, but builds no such model), and a short modelling
    file beside it builds the network: ``from_pretrained(folder, trust_remote_code=True)``. Files of the tokenizer or
    the processor are copied where the model was read from a directory.
    """

    file = "transformers"
    folds = False
    purpose = "for `from_pretrained` of transformers"
    usage = f"""
With transformers: the class that `architectures` in `transformers/config.json` names, as in
`AutoModelForCausalLM.from_pretrained("transformers")`. Where its name begins with `{PREFIX}`, the layers differ, and
`{FILE}` beside it, which is short and to be read before, builds them: add `trust_remote_code=True`.
"""
    reader = Path(__file__).with_name("transformers_reader.py")
    _planned: WeakKeyDictionary[nn.Module, Plan] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def check(self, network: nn.Module, inputs: Inputs) -> None:
        self._planned[network] = _plan(network)

    def write(self, network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes) -> Mapping[str, Any]:
        saved, code = self._planned.pop(network) if network in self._planned else _plan(network)
        try:
            path.mkdir(exist_ok=True)
            for old in [each for name in WRITTEN for each in path.glob(name) if each.is_file()]:
                old.unlink()
            if code is None:
                with quiet():
                    type(saved).save_pretrained(saved, path)
            else:
                _write_custom(saved, code, path)
            beside = _copy_beside(network, path)
        except OSError as error:
            raise BundleError(f"cannot write to {path}: {format_error(error)}") from error
        kind = STANDARD if code is None else CUSTOM_CODE
        return {"free": list(sizes.names), "kind": kind, "class": saved.config.architectures[0], "beside": beside}

    def parts(self, path: Path) -> list[Path]:
        return sorted(each for name in WRITTEN for each in path.glob(name) if each.is_file())


Plan = tuple[Any, str | None]
"""A copy of a network that is saved, and the modelling file where it needs one."""


def _plan(network: Any) -> Plan:
    """What is saved: a copy of the network whose config describes it, and the modelling file, where it needs one.

    Raises :class:`BundleError` for what ``from_pretrained`` would read as another network.
    """
    try:
        from transformers import PreTrainedModel
    except ImportError:
        raise MissingExtra("transformers", "transformers", "the format transformers") from None
    if not isinstance(network, PreTrainedModel):
        raise BundleError(
            f"{type(network).__name__} is not a model of transformers, which the format transformers writes; leave it "
            "out of formats"
        )
    try:
        saved = as_config_says(network)
        saved.config.architectures = [type(network).__name__]
        return saved, None
    except NetError as error:
        if (found := family_of(network)) is None:
            known = ", ".join(each.examples.partition(" and ")[0] for each, _ in PRETRAINED)
            raise BundleError(
                f"{error}. Layers that differ are written of models like {known}; leave transformers out of formats"
            ) from error
        return _custom(network, found[0])


def _custom(network: Any, family: Family) -> tuple[Any, str]:
    """A copy whose config says under ``per_layer_config`` how its layers differ, and the modelling file."""
    made = copy.deepcopy(network)
    vars(made).pop("save_pretrained", None)
    without_skipped(made)
    stack, config = Stack.of(made, family), made.config
    if not hasattr(type(config), "per_layer_config"):
        raise BundleError(
            "this transformers knows no per_layer_config, without which layers cannot differ: install 5.23 or later, "
            "or leave transformers out of formats"
        )
    layers = [made.get_submodule(path) for path in stack.layers]
    own = {i: layer_config(layer, family) for i, layer in enumerate(layers)}
    for name, value in config_numbers(layers, family, config).items():
        setattr(config, name, value)
    if why := _beyond_layers(made, stack, layers):
        raise BundleError(
            f"from_pretrained would read this network as another one: {why}; only the heads, FFN sizes and parts of "
            "layers may differ from what its config says. Leave transformers out of formats"
        )
    skipped = {part for each in own.values() for part in each.get("skip", ())}
    if not hasattr(config, "num_key_value_heads"):
        own = {i: {k: v for k, v in each.items() if k != "num_key_value_heads"} for i, each in own.items()}
    config.per_layer_config = own
    free_heads = not _accepted(config)
    model, kind = type(network).__name__, type(config).__name__
    module = FILE.removesuffix(".py")
    autos = list(_auto_classes(config.model_type, model)) or ["AutoModel"]
    config.architectures = [f"{PREFIX}{model}"]
    config.auto_map = dict.fromkeys(autos, f"{module}.{PREFIX}{model}")
    if free_heads:
        config.auto_map["AutoConfig"] = f"{module}.{PREFIX}{kind}"
    config.dtype = str(made.dtype).removeprefix("torch.")
    return made, modelling_code(model, kind, autos[0], family, stack.base, skipped, free_heads)


def _beyond_layers(made: Any, stack: Stack, layers: Sequence[nn.Module]) -> str:
    """What else than the sizes within layers is other than what the config builds, in words; empty where nothing is."""
    try:
        there = built(made, made.config, "meta")
    except Exception as error:  # a config that contradicts itself
        return f"nothing is built of its config: {format_error(error)[:300]}"
    own, shapes = made.state_dict(), there.state_dict()
    within = stack.path(stack.family.layers) + "."
    for name in sorted(own.keys() | shapes.keys()):
        here, others = (list(tensors[name].shape) if name in tensors else None for tensors in (own, shapes))
        if here != others and not name.startswith(within):
            return f"{name} is {here or 'not there'} here and {others or 'not there'} there"
    module, attribute = stack.family.head_size
    size = getattr(there.get_submodule(f"{stack.layers[0]}.{module}"), attribute)
    sizes = {getattr(each.get_submodule(module), attribute, size) for each in layers} - {size}
    return f"heads have {min(sizes)} channels here and {size} there" if sizes else ""


def _accepted(config: Any) -> bool:
    """Whether its class takes the config when it is read: LLaMA's wants one number of heads, of which the hidden size
    is a multiple."""
    try:
        config.validate_architecture()
    except (ValueError, RuntimeError):  # the second where a class asks for the one number of heads
        return False
    return True


def _auto_classes(kind: str, model: str) -> Iterator[str]:
    """The names of transformers' classes that read a model of a class, those for a task first."""
    import transformers.models.auto.modeling_auto as auto

    found = []
    for name, held in vars(auto).items():
        if name.startswith("AutoModel") and isinstance(held, type):
            mapping: Any = held._model_mapping  # type: ignore[attr-defined]
            named = mapping._model_mapping.get(kind, ())
            if model in ((named,) if isinstance(named, str) else named):
                found.append(name)
    return iter(sorted(found, key=lambda name: name == "AutoModelForPreTraining"))


def _write_custom(saved: Any, code: str, path: Path) -> None:
    """Weights, config and code; transformers' own ``save_pretrained`` would check the config as one of its classes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_of(saved).items()}
    write_atomically(path / "model.safetensors", save(tensors, {"format": "pt"}))
    write_atomically(path / "config.json", saved.config.to_json_string().encode())
    write_atomically(path / FILE, code.encode())
    if getattr(saved, "generation_config", None) is not None and saved.can_generate():
        saved.generation_config.save_pretrained(path)


def _copy_beside(network: Any, path: Path) -> list[str]:
    """Copy files of the tokenizer or the processor from the directory that the model was read from; their names."""
    source = Path(network.config.name_or_path)
    if not network.config.name_or_path or not source.is_dir() or source.resolve() == path.resolve():
        return []
    found = sorted({each for name in BESIDE for each in source.glob(name) if each.is_file()})
    for each in found:
        shutil.copyfile(each, path / each.name)
    return [each.name for each in found]
