"""PyTorch: as it is, by torch.compile, or compiled beforehand by AOTInductor."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...core.children import run_program
from ...core.errors import BundleError, MeasureError, did_you_mean, format_error
from ...core.files import cache_folder, require_room, write_atomically
from ...core.quiet import quiet
from ...core.temporary import TemporaryFolder
from .base import Feeds, Runtime, Session, Trial, in_order
from .exported import positional
from .torch_int8 import FORMS, MARK, form_of, quantise, require_torchao, write_extremes

COMPILE = ("", "inductor", "aot")
DEVICES = ("cpu", "cuda")
FROZEN = {"freezing": True, "cpp.dynamic_threads": True}
"""Weights are constants, laid out and folded beforehand; a file runs with any number of threads."""
CLOCKS = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu")


@dataclass(frozen=True)
class Torch(Runtime):
    """PyTorch, on the CPU or on a CUDA device.

    Files are ``torch.export`` archives of the network at this batch size; those with ``compile=aot`` hold machine
    code for this kind of CPU or GPU. People's own archives are read, of whatever shapes.

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, ``bfloat16`` (weights and inputs), or ``int8``: linear layers with weights of 8 bits,
            a scale for each channel, and activations of 8 bits, a scale for each input (torchao). Only compiled
            does it run faster than float32.
        compile: empty to run operator by operator, ``inductor`` to run ``torch.compile`` where the file is opened,
            ``aot`` to compile with AOTInductor where it is written. Both need a C++ compiler there. Agents do not open
            what is compiled, which is machine code.
        device: ``cpu`` or ``cuda``.
        graphs: record an inference as a CUDA graph once, and play it.
        form: the form of the 8-bit products: ``s8s8``, which saturates on x86 CPUs without VNNI, or ``s7s7``: the
            ranges reduced to 7 bits. Empty: the former where the device computes it exactly.
    """

    compile: str = ""
    device: str = "cpu"
    graphs: bool = False
    form: str = ""

    packages = ("torch",)
    modules = ("torch",)
    suffix = ".pt2"
    reads = (".pt2",)
    precisions = ("float32", "bfloat16", "int8")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("compile", COMPILE), ("device", DEVICES)):
            if (value := getattr(self, name)) not in known:
                allowed = [each or "nothing" for each in known]
                raise MeasureError(f"torch: {name} cannot be {value!r}; {did_you_mean(str(value), allowed)}")
        if self.form not in ("", *FORMS):
            raise MeasureError(f"torch has no form {self.form!r}; {did_you_mean(self.form, FORMS)}")
        if self.form and self.precision != "int8":
            raise MeasureError("torch: form is of 8-bit products; it needs precision=int8")
        if self.graphs and self.device != "cuda":
            raise MeasureError("torch: graphs=true needs device=cuda; a CPU has no CUDA graphs")

    def suited(self, trial: Trial) -> tuple[Self, Mapping[str, Any]]:
        here = self.precision == "int8" and self.device == "cpu"
        if not here or find_spec("torchao") is None:  # a file can be measured elsewhere without it
            return self, {}
        with TemporaryFolder() as folder:
            path = folder / f"extremes{self.suffix}"
            feeds, expected = write_extremes(path)
            exact = trial([path], feeds, [expected])["errors"][0][0] == 0
        form = self.form or ("s8s8" if exact else "s7s7")
        said = "s8s8 is exact on this CPU" if exact else "s8s8 saturates on this CPU"
        return replace(self, form=form), {"form": form, "why": said, "exact": {"s8s8": exact, "s7s7": True}}

    def warning(self, path: Path, found: Mapping[str, Any], trial: Trial) -> str:
        if found.get("exact", {}).get("s8s8", True) or form_of(path) != "s8s8":
            return ""
        return (
            "the file's 8-bit products (s8s8) saturate on this CPU, which has no VNNI: its outputs are wrong here; "
            "quantise it for this CPU (form=s7s7)"
        )

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        import torch

        from ...formats.pt2 import packed
        from ...nets.extract import copy_of

        how: dict[str, Any] = {"exporter": "torch.export"}
        # The network may live on a device; the file is written for the one that it is to run on.
        place = self.device if self.compile == "aot" else "cpu"
        if place == "cuda":
            self._require_cuda()
        network, tensors = positional(copy_of(network).to(place), inputs)
        tensors = tuple(t.to(place) for t in tensors)
        if self.precision == "bfloat16":
            network.to(torch.bfloat16)
            tensors = tuple(t.to(torch.bfloat16) if t.is_floating_point() else t for t in tensors)
        if self.precision == "int8":
            how["quantised"] = quantise(network, reduced=self.form == "s7s7")
        with quiet(), torch.no_grad():
            try:
                program = torch.export.export(network, tensors)
            except Exception as error:  # torch.export raises many types
                raise BundleError(f"torch.export cannot take this network: {format_error(error)[:500]}") from error
            try:
                if self.compile == "aot":
                    about = json.dumps([[list(t.shape), str(t.dtype).removeprefix("torch.")] for t in tensors])
                    settings = {**FROZEN, "aot_inductor.metadata": {"inputs": about}}
                    package = io.BytesIO()  # where a disk is full torch ends the process
                    torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs=settings)
                    archive = package.getbuffer()
                    how["compiler"] = "AOTInductor"
                else:
                    marks = {MARK: self.form or "s8s8"} if self.precision == "int8" else {}
                    archive = packed(program, marks)
            except Exception as error:
                require_room(Path(tempfile.gettempdir()))
                verb = "compiled by AOTInductor" if self.compile == "aot" else "saved by torch.export"
                raise BundleError(f"this network cannot be {verb}: {format_error(error)[:500]}") from error
        write_atomically(path, archive)
        return how

    def guard(self, path: Path) -> None:
        from ...formats.pt2_archive import FORCED, refuse_programs

        super().guard(path)
        if self.precision == "int8":
            require_torchao()
            import torchao  # noqa: F401  # torch allows its tensors then
        refuse_programs(path)
        os.environ[FORCED] = "1"

    def open(self, path: Path, feeds: Feeds) -> Session:
        import torch

        torch.set_num_threads(self.threads)
        if self.device == "cuda":
            self._require_cuda()
            torch.backends.cudnn.allow_tf32 = False  # on by default: float32 would not be float32
        elif self.precision == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise MeasureError("torch has no fast bfloat16 on this CPU, which lacks AVX-512; measure float32 or int8")
        run, bound = self._compiled(path, feeds) if _is_compiled(path) else self._exported(path, feeds)
        try:
            return _OnCuda(run, bound, path, self.graphs) if self.device == "cuda" else _Session(run, bound, path)
        except Exception as error:  # the first inference: torch.compile compiles, operators may be missing
            raise MeasureError(f"torch cannot run {path}: {format_error(error)[:500]}") from error

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        if not _is_compiled(path):
            names, tensors = _inputs_of(self._program(path))
            return {
                name: (tuple(t.shape), "float32" if t.is_floating_point() else str(t.dtype).removeprefix("torch."))
                for name, t in zip(names, tensors, strict=True)
            }
        about = _about(self._package(path))
        if about is None:
            return super().signature(path)
        return {
            f"input{i}": (tuple(shape), "float32" if "float" in kind else kind) for i, (shape, kind) in enumerate(about)
        }

    def free(self, path: Path) -> Mapping[str, Mapping[int, str]]:
        if _is_compiled(path):
            return {}
        program = self._program(path)
        names, _ = _inputs_of(program)
        taken = [n.meta["val"] for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
        return {
            name: {d: str(n) for d, n in enumerate(value.shape) if not isinstance(n, int)}
            for name, value in zip(names, (v for v in taken if hasattr(v, "shape")), strict=False)
        }

    def usage(self, file: str) -> str:
        if self.compile == "aot":
            return f'import torch\n\nnetwork = torch._inductor.aoti_load_package("{file}")\n'
        also = ", torchao" if self.precision == "int8" else ""
        return f'import torch{also}\n\nnetwork = torch.export.load("{file}").module()\n'

    def describe(self) -> dict[str, Any]:
        found = {**super().describe(), "device": self.device}
        if self.device == "cuda":
            import torch

            if torch.cuda.is_available():
                found["gpu"], found["cuda"] = torch.cuda.get_device_name(), torch.version.cuda
        return found

    @property
    def programs(self) -> bool:
        return self.compile == "aot"

    @property
    def slowest_s(self) -> float:
        return 600.0 if self.compile == "inductor" else super().slowest_s

    def _require_cuda(self) -> None:
        import torch

        if not torch.cuda.is_available():
            build = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device is found"
            raise MeasureError(f"torch: device=cuda cannot be had here, {build}; measure with device=cpu")

    def _exported(self, path: Path, feeds: Feeds) -> tuple[Callable[[], Any], dict[str, Any]]:
        """An archive of torch.export, on its inputs, and these by name."""
        import torch

        from ...nets.inputs import each_tensor

        program = self._program(path)
        names, examples = _inputs_of(program)
        if self.device == "cuda":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, "cuda")
        given = in_order(names, feeds, path)
        bound = {n: self._tensor(v, e.dtype) for (n, v), e in zip(given.items(), examples, strict=True)}
        tensors = iter(bound.values())
        args, kwargs = each_tensor(program.example_inputs, lambda _: next(tensors))
        network = program.module()
        if self.compile == "inductor":
            _own_cache()
            network = torch.compile(network, dynamic=False, options={"freezing": True, "compile_threads": 1})
        elif self.compile == "aot":
            raise MeasureError(f"{path} is not compiled by AOTInductor; measure with compile=inductor, or without")
        return lambda: network(*args, **kwargs), bound

    def _compiled(self, path: Path, feeds: Feeds) -> tuple[Callable[[], Any], dict[str, Any]]:
        """A package of AOTInductor, on its inputs, which it takes in order, and these by name."""
        import torch

        if self.compile != "aot":
            raise MeasureError(f"{path} is compiled by AOTInductor; measure with compile=aot")
        package = self._package(path)
        made_for = package.loader.get_metadata().get("AOTI_DEVICE_KEY", self.device)
        if made_for != self.device:
            raise MeasureError(f"{path} is compiled for {made_for}; measure with device={made_for}")
        about = _about(package)
        kinds = [None] * len(feeds) if about is None else [getattr(torch, kind) for _, kind in about]
        if len(kinds) != len(feeds):
            raise MeasureError(f"{path} takes {len(kinds)} inputs, but {len(feeds)} were given")
        bound = {name: self._tensor(v, kind) for (name, v), kind in zip(feeds.items(), kinds, strict=True)}
        inference = package.loader.boxed_run
        return lambda: inference(list(bound.values())), bound

    def _tensor(self, value: np.ndarray, kind: Any) -> Any:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(value))
        if kind is not None and not torch.can_cast(tensor.dtype, kind):
            raise MeasureError(f"inputs of {value.dtype} cannot stand for {str(kind).removeprefix('torch.')}")
        return tensor.to(self.device, kind, copy=True)

    def _program(self, path: Path) -> Any:
        import torch

        if self.precision == "int8":
            require_torchao()
            import torchao  # noqa: F401  # its operators are in the file
        try:
            with quiet():
                return torch.export.load(path)
        except Exception as error:  # zip, JSON and torch's own types
            raise MeasureError(f"torch.export cannot load {path}: {format_error(error)[:500]}") from error

    def _package(self, path: Path) -> Any:
        import torch

        try:
            with quiet():
                return torch._inductor.aoti_load_package(str(path))
        except Exception as error:
            raise MeasureError(f"AOTInductor cannot load {path}: {format_error(error)[:500]}") from error


class _Session(Session):
    """On the CPU. The first inference is run at once: it is then that torch.compile compiles.

    Args:
        run: one inference of the inputs that are bound.
        bound: the tensors that it reads, by name.
        path: the path of the file.
    """

    def __init__(self, run: Callable[[], Any], bound: Mapping[str, Any], path: Path) -> None:
        import torch

        self._run, self._bound, self._path, self._mode = run, bound, path, torch.inference_mode
        with quiet():
            self.run()

    def run(self) -> object:
        with self._mode():
            return self._run()

    def feed(self, feeds: Feeds) -> None:
        import torch

        for name, value in in_order(list(self._bound), feeds, self._path).items():
            self._bound[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def outputs(self) -> list[np.ndarray]:
        from ...nets.inputs import tensors_in

        return [t.float().numpy(force=True) for t in tensors_in(self.run())]


class _OnCuda(_Session):
    """On a CUDA device, whose events tell the time; clocks and temperature at the beginning are in the notes."""

    def __init__(self, run: Callable[[], Any], bound: Mapping[str, Any], path: Path, graphs: bool) -> None:
        import torch

        self._cuda = torch.cuda
        super().__init__(_recorded(run) if graphs else run, bound, path)
        self.notes = {"gpu": gpu_state(), "graphs": graphs}

    def run(self) -> object:
        found = super().run()
        self._cuda.synchronize()
        return found

    def device_ms(self, calls: int) -> float | None:
        begin, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        with self._mode():
            for _ in range(calls):
                self._run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / calls


def _own_cache() -> None:
    """Keep what inductor compiles apart for each instruction set, unless the user keeps it somewhere himself.

    Its own cache does not tell them apart: code for one is taken up where PyTorch was told to use another, and aborts
    the process or computes something else.
    """
    import torch

    with suppress(RuntimeError):  # no home: its own place then
        place = cache_folder() / "inductor" / torch.backends.cpu.get_cpu_capability()
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))


def _recorded(run: Callable[[], Any]) -> Callable[[], Any]:
    """The inference as a CUDA graph; what it returns is overwritten by the next."""
    import torch

    with torch.inference_mode():
        side = torch.cuda.Stream()  # what libraries set up on first use must not be recorded
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = run()

    def play() -> Any:
        graph.replay()
        return found

    return play


def gpu_state() -> dict[str, str]:
    """Name, driver, clocks (MHz) and temperature of the first GPU by ``nvidia-smi``; empty where it cannot be read."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader,nounits"]
    try:
        told = run_program(command, 10)
    except OSError:
        return {}
    if told.failure or not told.out:
        return {}
    return dict(zip(CLOCKS, (part.strip() for part in told.out.splitlines()[0].split(",")), strict=False))


def _inputs_of(program: Any) -> tuple[Sequence[str], list[Any]]:
    """Names and examples of the tensors that an exported program takes."""
    from ...nets.inputs import tensors_in

    if program.example_inputs is None:
        raise MeasureError("this .pt2 file does not say what it is called with; export it anew with torch.export")
    tensors = list(tensors_in(program.example_inputs))
    names = [str(name) for name in program.graph_signature.user_inputs if isinstance(name, str)]
    if len(names) != len(tensors):
        names = [f"input{i}" for i in range(len(tensors))]
    return names, tensors


def _about(package: Any) -> Any:
    """Shapes and types of the inputs that :meth:`Torch.convert` left in a package; None in those of others."""
    text = package.loader.get_metadata().get("inputs")
    return None if text is None else json.loads(text)


def _is_compiled(path: Path) -> bool:
    """Whether an archive is a package of AOTInductor. Raises :class:`MeasureError` where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/data/aotinductor/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise MeasureError(f"torch cannot read {path}: {format_error(error)}") from error
