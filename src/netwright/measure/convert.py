"""From a network to a runtime's file: the inputs that it is tried with, and files that are kept by their content."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..core.candidate import digest
from ..core.files import cache_folder, read_json, replacing, write_json
from ..core.shape import FileName, expect
from .machine import machine
from .parts import parts_of
from .runtimes import to_json
from .runtimes.base import Feeds, Runtime

KEPT_BYTES = 2 * 10**9
"""Of converted files; those that were used longest ago go first."""

ABOUT = "about.json"
"""In the directory of a converted file: how it was converted, and its parts."""


def example(inputs: Any, batch: int, network: Any = None) -> Any:
    """The first of a network's example inputs, repeated to a batch size, on the CPU.

    Floating-point inputs that are all alike, such as zeros, become noise where the network takes it: what it computes
    of them would hide whether a runtime computes the same.

    Args:
        inputs: what the network is called with.
        batch: how many at once.
        network: the network that is asked what its batch is, and whether it takes noise (masks and ranges may not be
            any); None: the batch is the first dimension of every tensor.

    Raises :class:`netwright.core.errors.NetError` where there is no batch and ``batch`` is more than 1.
    """
    from ..nets.batch import BatchDims, batch_dims_of
    from ..nets.inputs import each_tensor, tensors_in

    if network is None:
        dims = BatchDims(tuple(0 if t.dim() else None for t in tensors_in(inputs)), ())
    else:
        dims = batch_dims_of(network, inputs)
    inputs = each_tensor(dims.repeat(inputs, batch), lambda t: t.detach().cpu().contiguous())
    uniform = [i for i, t in enumerate(tensors_in(inputs)) if _is_uniform(t)]
    noised: set[int] = set()
    for more in (uniform, *([i] for i in uniform if len(uniform) > 1)):
        if not noised.issuperset(more) and (network is None or _takes(network, _with_noise(inputs, {*noised, *more}))):
            noised.update(more)
    return _with_noise(inputs, noised)


def _is_uniform(tensor: Any) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and bool((tensor == tensor.flatten()[0]).all())


def _with_noise(inputs: Any, which: Collection[int]) -> Any:
    """The inputs with noise for some of their tensors."""
    import torch

    from ..nets.inputs import each_tensor

    generator, numbers = torch.Generator().manual_seed(0), count()

    def one(tensor: Any) -> Any:
        return torch.randn(tensor.shape, generator=generator).to(tensor) if next(numbers) in which else tensor

    return each_tensor(inputs, one)


def _takes(network: Any, inputs: Any) -> bool:
    """Whether the network runs and gives finite numbers."""
    try:
        return all(bool(np.isfinite(output).all()) for output in outputs_of(network, inputs))
    except Exception:  # a person's own code
        return False


def feeds_of(inputs: Any) -> Feeds:
    """Inputs as arrays, by the names that they have in exported files."""
    from ..formats.plain import input_names
    from ..nets.inputs import tensors_in

    return {
        name: tensor.numpy(force=True) for name, tensor in zip(input_names(inputs), tensors_in(inputs), strict=True)
    }


def outputs_of(network: Any, inputs: Any) -> list[np.ndarray]:
    """What PyTorch computes."""
    import torch

    from ..nets.inputs import call, each_tensor, fresh, tensors_in

    place = next((t.device for t in network.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        output = call(network, each_tensor(fresh(inputs), lambda t: t.to(place)))
    return [t.float().numpy(force=True) for t in tensors_in(output)]


def converted(
    runtime: Runtime, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] = ()
) -> dict[str, Any]:
    """Write a network, folded, as a runtime's file, or copy the one that was written of the same network before.

    Args:
        runtime: the runtime with its settings, none of them left open.
        network: the network, in evaluation mode.
        inputs: what it is called with, of the runtime's batch size.
        path: the path of the file.
        calibration: real inputs, see :meth:`Runtime.convert`.

    Returns what :meth:`Runtime.convert` says, ``folded``: how many modules were, if any, and ``cached`` where the file
    was there.

    Raises :class:`netwright.core.errors.NetError` for a fold that changes what the network computes.
    """
    from ..nets.folding import FOLDED, fold
    from ..nets.rounding import inputs_unrounded, precisions_of

    runtime.check_layers(network, precisions_of(network))
    network = _on_cpu(network)
    kept = cache_folder() / "converted" / _key(runtime, network, inputs, calibration)
    with contextlib.suppress(OSError, ValueError, KeyError):
        about = expect(read_json(kept / ABOUT), {"parts": [FileName], "how": dict[str, Any]})
        for name in about["parts"]:
            _copy(kept / _kept_as(name, path), path if name == path.suffix else path.parent / name)
        os.utime(kept)
        return {**about["how"], "cached": True}
    given = {"calibration": calibration} if calibration else {}
    with inputs_unrounded():  # runtimes round by themselves
        runs = fold(network, inputs)
        folded = {"folded": len(paths)} if (paths := getattr(runs, FOLDED, None)) else {}
        how = {**runtime.convert(runs, inputs, path, **given), **folded}
    with contextlib.suppress(OSError):  # a cache that cannot be written is none
        _keep(path, how, kept)
        _prune(kept.parent)
    return how


def _on_cpu(network: Any) -> Any:
    """The network, or a copy of it, with its tensors on the CPU, where all runtimes convert from."""
    if all(t.device.type == "cpu" for t in network.state_dict().values()):
        return network
    from ..nets.extract import copy_of

    return copy_of(network).cpu()


def _keep(path: Path, how: Mapping[str, Any], kept: Path) -> None:
    """Keep a file, with all that belongs to it, as a directory."""
    parts = parts_of(path)
    with replacing(kept) as scratch:
        for name, part in parts.items():
            _copy(part, scratch / _kept_as(name, path))
        write_json(scratch / ABOUT, {"how": how, "parts": list(parts)})


def _kept_as(name: str, path: Path) -> str:
    """The file itself may be called otherwise each time, its parts have the names that stand in it."""
    return f"file{name}" if name == path.suffix else name


def _copy(file: Path, place: Path) -> None:
    with replacing(place) as scratch:
        shutil.copyfile(file, scratch)


def _prune(place: Path) -> None:
    for scratch in place.glob(".*"):  # of one that was killed
        if time.time() - scratch.stat().st_mtime > 3600:
            shutil.rmtree(scratch, ignore_errors=True)
    kept = [each for each in place.iterdir() if (each / ABOUT).is_file()]
    sizes = sorted((each.stat().st_mtime, _bytes(each), each) for each in kept)
    total = sum(size for _, size, _ in sizes)
    for _, size, each in sizes:
        if total <= KEPT_BYTES:
            return
        shutil.rmtree(each, ignore_errors=True)
        total -= size


def _bytes(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _key(runtime: Runtime, network: Any, inputs: Any, calibration: Sequence[Any]) -> str:
    """A digest of all that the file depends on: weights, classes with their code, attributes, shapes, real inputs,
    versions."""
    import torch

    from ..core.version import __version__
    from ..nets.inputs import each_tensor

    weights = hashlib.sha256()
    for tensor in network.state_dict().values():
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for name, buffer in network.named_buffers():  # those that are not kept with the weights too
        weights.update(f"{name} {buffer.dtype} {tuple(buffer.shape)}".encode())
        weights.update(buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for real in calibration:
        for value in feeds_of(real).values():
            weights.update(np.ascontiguousarray(value).tobytes())
    shapes = [(name, str(value.dtype), value.shape) for name, value in feeds_of(inputs).items()]
    others = repr([each_tensor(inputs, lambda t: t.new_empty(0)), getattr(network, "batch_dims", None)])
    settings = {k: v for k, v in to_json(runtime).items() if k != "threads"}
    versions = [__version__, torch.__version__, runtime.describe()["versions"], machine()["features"]]
    return digest([weights.hexdigest(), shape_of(network), shapes, others, settings, versions])


def shape_of(network: Any) -> str:
    """A digest of a module but for the values of its tensors: classes with their code, plain attributes, shapes."""
    parts = [(name, _code(module.__class__), _plain(module)) for name, module in network.named_modules()]
    tensors = [(name, str(t.dtype), list(t.shape), list(t.stride())) for name, t in network.state_dict().items()]
    return digest([parts, tensors])


def _plain(module: Any) -> Mapping[str, str]:
    """A module's own attributes that are numbers, texts, functions, and lists of them; of hooks what they are called,
    not where they lie in the memory of this process."""
    from ..nets.stand_ins import HOOKS

    hooks = {name: vars(module).get(name) or {} for name in HOOKS}
    plain = (bool, int, float, str, type(None), tuple, list, dict)
    found = {
        name: repr(value) if isinstance(value, plain) else getattr(value, "__qualname__", "")
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules") and (isinstance(value, plain) or callable(value))
    }
    return found | {n: str([getattr(h, "__qualname__", repr(h)) for h in some.values()]) for n, some in hooks.items()}


@cache
def _code(kind: Any) -> str:
    """The name of a class, and a digest of the modules that it and its bases are written in, but for PyTorch's."""
    sources = []
    for each in kind.__mro__:
        module = each.__module__
        if module.partition(".")[0] not in ("torch", "builtins"):
            try:
                sources.append(inspect.getsource(sys.modules[module]))
            except (OSError, TypeError, KeyError):
                sources.append(module)
    return f"{kind.__module__}.{kind.__qualname__} {digest(sources)}"
