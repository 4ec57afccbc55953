"""LiteRT (TensorFlow Lite) with XNNPACK."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...core.children import run_program
from ...core.errors import MeasureError, format_error
from ...core.files import replacing, require_room, write_atomically
from ...core.quiet import quiet
from ...core.temporary import TemporaryFolder
from .base import Feeds, Runtime, Session, in_order
from .exported import export, positional

PYTHON = "NETWRIGHT_LITERT_PYTHON"
"""The environment variable with the path of a Python that has litert-torch: it does not fit beside other packages."""

CONVERT_S = 600.0
"""Seconds that a conversion may take."""

HOW_TO_INSTALL = f"""\
litert needs litert-torch to convert a network, which does not fit beside other packages. Give it a Python of its own:
  python -m venv ~/litert
  ~/litert/bin/pip install torch=={{torch}} litert-torch==0.10.0
  export {PYTHON}=~/litert/bin/python"""


@dataclass(frozen=True)
class LiteRt(Runtime):
    """LiteRT: XNNPACK takes all operators that it can, built-in kernels the rest.

    A file of which XNNPACK takes nothing is refused; the operators that it did not take are in the record.

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, or ``int8``: weights of 8 bits per channel. Networks with convolutions have activations
            of 8 bits too, inputs and outputs among them, with constant ranges, found on the given inputs; networks
            without any, such as transformers, have the ranges of each input. Small layers may stay in float32.
    """

    packages = ("ai-edge-litert",)
    modules = ("ai_edge_litert",)
    extra = "litert"
    suffix = ".tflite"
    reads = (".tflite",)
    precisions = ("float32", "int8")

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        import torch

        from ...formats.pt2 import packed

        python = _python(torch.__version__)
        module, tensors = positional(network, inputs)
        with TemporaryFolder() as place, replacing(path.resolve()) as scratch:
            job = {
                "program": f"{place}/program.pt2",
                "inputs": f"{place}/inputs.npz",
                "path": str(scratch),
                "precision": self.precision,
                "torch": torch.__version__,
            }
            with quiet():
                write_atomically(Path(job["program"]), packed(export(module, tensors)))
            samples = [positional(network, each)[1] for each in calibration or [inputs]]
            stacked = [np.stack([tensor.numpy(force=True) for tensor in each]) for each in zip(*samples, strict=True)]
            np.savez(job["inputs"], **{str(i): array for i, array in enumerate(stacked)})  # type: ignore[arg-type]
            answer = _asked(python, job, place)
            if "failed" in answer:
                for folder in (place, scratch.parent):
                    require_room(folder)
                raise MeasureError(f"litert-torch ({python}) cannot convert this network: {answer['failed']}")
        return answer

    def open(self, path: Path, feeds: Feeds) -> Session:
        interpreter = self._interpreter(path)
        if self.precision == "int8" and not any(t["dtype"] == np.int8 for t in interpreter.get_tensor_details()):
            raise MeasureError(f"nothing in {path} has 8 bits; measure with precision=float32")
        names = [op["op_name"] for op in interpreter._get_ops_details() if not _is_delegate(op)]
        left = _left(interpreter)
        if not (taken := len(names) - sum(left.values())):
            raise MeasureError(f"litert: XNNPACK takes no operator of {path} ({', '.join(sorted(set(names)))})")
        notes = {"operators": {"xnnpack": taken, "builtin": sum(left.values())}, "not_taken": dict(left)}
        return _Session(interpreter, path, feeds, notes)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        interpreter = self._interpreter(path)
        return {
            name: (tuple(int(n) for n in about["shape"]), np.dtype(about["dtype"]).name)
            for name, about in _inputs(interpreter).items()
        }

    def usage(self, file: str) -> str:
        return f'from ai_edge_litert.interpreter import Interpreter\n\nnetwork = Interpreter(model_path="{file}")\n'

    def preload(self) -> None:
        import ai_edge_litert.interpreter  # noqa: F401

    def _interpreter(self, path: Path) -> Any:
        """An interpreter of the file that is ready to run."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_path=str(path), num_threads=self.threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise MeasureError(f"litert cannot load {path}: {format_error(error)}") from error
        return interpreter


class _Session(Session):
    """Inputs are copied in once: the interpreter keeps them."""

    def __init__(self, interpreter: Any, path: Path, feeds: Feeds, notes: Mapping[str, Any]) -> None:
        self._interpreter, self.notes = interpreter, notes
        self._path, self._wanted = path, _inputs(interpreter)
        self.feed(feeds)

    def feed(self, feeds: Feeds) -> None:
        for name, value in in_order(list(self._wanted), feeds, self._path).items():
            about = self._wanted[name]
            if tuple(about["shape"]) != value.shape:
                raise MeasureError(f"{self._path} takes {name} of shape {tuple(about['shape'])}, not {value.shape}")
            self._interpreter.set_tensor(about["index"], _as_stored(value, about))

    def run(self) -> object:
        return self._interpreter.invoke()

    def outputs(self) -> list[np.ndarray]:
        self.run()
        return [_as_number(self._interpreter.get_tensor(o["index"]), o) for o in _outputs(self._interpreter)]


def _inputs(interpreter: Any) -> dict[str, Any]:
    """What the file takes, by name, in the order of the network's arguments where the file tells it."""
    details = {about["index"]: about for about in interpreter.get_input_details()}
    named = _signature(interpreter, "inputs")
    return {name: details[at] for name, at in named} or {about["name"]: about for about in details.values()}


def _outputs(interpreter: Any) -> list[Any]:
    details = {about["index"]: about for about in interpreter.get_output_details()}
    return [details[at] for _, at in _signature(interpreter, "outputs")] or list(details.values())


def _signature(interpreter: Any, part: str) -> list[tuple[str, int]]:
    """Names and numbers of the tensors of a file's only signature; none where it has no or several signatures."""
    signatures = list(interpreter._get_full_signature_list().values())
    if len(signatures) != 1:
        return []
    # They are kept in the order of the alphabet: args_10 before args_2.
    natural = {name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)] for name in signatures[0][part]}
    return [(name, signatures[0][part][name]) for name in sorted(natural, key=natural.__getitem__)]


def _left(interpreter: Any) -> Counter[str]:
    """The operators that a delegate did not take, by name.

    The list of operators holds all of the file, and those that delegates put in their place. What runs is what the
    outputs need, by way of the delegates where they make a tensor.
    """
    makers: dict[int, Any] = {}
    for op in interpreter._get_ops_details():  # delegates come last
        makers.update(dict.fromkeys((int(t) for t in op["outputs"]), op))
    runs: dict[int, Any] = {}
    needed = [about["index"] for about in interpreter.get_output_details()]
    while needed:
        op = makers.get(needed.pop())
        if op is not None and op["index"] not in runs:
            runs[op["index"]] = op
            needed.extend(int(t) for t in op["inputs"])
    return Counter(op["op_name"] for op in runs.values() if not _is_delegate(op))


def _is_delegate(op: Mapping[str, Any]) -> bool:
    return "delegate" in op["op_name"].lower()


def _as_stored(value: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    """Numbers as a tensor of the file holds them: in 8 bits, or in the other width of whole numbers."""
    scale, zero = about["quantization"]
    kind = about["dtype"]
    if scale and value.dtype.kind == "f" and np.dtype(kind).kind in "iu":
        limits = np.iinfo(kind)
        return np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(kind)
    return value.astype(kind) if value.dtype.kind in "iu" and np.dtype(kind).kind in "iu" else value


def _as_number(value: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    scale, zero = about["quantization"]
    return (value.astype(np.float32) - zero) * scale if scale else value


def _python(torch_version: str) -> str:
    """The Python that converts. Raises :class:`MeasureError` with what to type where there is none."""
    if own := os.environ.get(PYTHON):
        if not os.access(own, os.X_OK):
            raise MeasureError(f"{PYTHON} is {own!r}, which is no program that can be run")
        return own
    if find_spec("litert_torch") is not None:
        return sys.executable
    raise MeasureError(HOW_TO_INSTALL.format(torch=torch_version.partition("+")[0]))


def _asked(python: str, job: Mapping[str, str], place: Path) -> dict[str, Any]:
    """The answer of the script that converts."""
    file = place / "job.json"
    file.write_text(json.dumps(job))
    script = Path(__file__).with_name("litert_convert.py")
    # -I: files beside the script have names of packages that it imports.
    command = [python, "-I", str(script), str(file)]
    quiet_threads = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = run_program(command, CONVERT_S, cwd=place, env=quiet_threads)
    if ended.failure:
        return {"failed": f"it {ended.failure}"}
    try:
        answer: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
        return answer
    except (ValueError, IndexError):
        return {"failed": f"it gave no answer and said: {ended.err.strip()[-500:] or 'nothing'}"}
