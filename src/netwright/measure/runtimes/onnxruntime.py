"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, nearest, one_line
from .base import Feeds, Runtime, Session, in_order

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """ONNX Runtime: all graph optimisations, no spinning threads.

    Args:
        threads: that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, or ``int8``: weights of 8 bits with a sign, per channel, and activations of 8 bits
            without (with a sign they run slower than float32 on x86). Convolutions are quantised with constant
            ranges; networks without any, such as transformers, with the ranges of each input.
        provider: ``cpu``, ``cuda`` or ``tensorrt``. One that cannot take the network is an error, never another one.
    """

    provider: str = "cpu"

    name = "onnxruntime"
    packages = ("onnxruntime",)
    modules = ("onnxruntime",)
    suffix = ".onnx"
    reads = (".onnx",)
    precisions = ("float32", "int8")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.provider not in PROVIDERS:
            raise MeasureError(f"onnxruntime has no provider {self.provider!r}; {nearest(self.provider, PROVIDERS)}")

    def convert(self, network: Any, inputs: Any, path: Path) -> Mapping[str, Any]:
        from ...formats.onnx import write_onnx

        how = write_onnx(network, inputs, path)
        if self.precision == "int8":
            from ...formats.quantised import quantise_onnx

            how["quantised"] = quantise_onnx(path, inputs)
        return how

    def open(self, path: Path, feeds: Feeds) -> Session:
        return _Session(self.session(path), path, feeds)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
        whole = {f"tensor({t})": t for t in ("int64", "int32", "int16", "int8", "uint8", "bool")}
        return {
            i.name: (
                tuple(n if isinstance(n, int) and n > 0 else 1 for n in i.shape),
                {**types, **whole}.get(i.type, "float32"),
            )
            for i in self.session(path).get_inputs()
        }

    def free(self, path: Path) -> Mapping[str, Mapping[int, str]]:
        return {
            i.name: {
                d: n if isinstance(n, str) else "" for d, n in enumerate(i.shape) if not isinstance(n, int) or n < 1
            }
            for i in self.session(path).get_inputs()
        }

    def session(self, path: Path) -> Any:
        """An inference session of the file with this runtime's settings."""
        import onnxruntime as ort

        wanted = PROVIDERS[self.provider]
        if wanted not in ort.get_available_providers():
            raise MeasureError(
                f"this onnxruntime has no {wanted}, it has {', '.join(ort.get_available_providers())}; "
                "install onnxruntime-gpu on a machine with the device, or measure with provider=cpu"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.provider != "cpu":  # what the device cannot take would otherwise run on the CPU in silence
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(path), options, providers=[wanted])
        except Exception as error:  # onnxruntime raises types of its own, without a common base
            raise MeasureError(f"onnxruntime cannot load {path}: {one_line(error)}") from error
        if session.get_providers()[0] != wanted:
            raise MeasureError(f"onnxruntime fell back to {session.get_providers()[0]} from {wanted}")
        return session

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "device": "cpu" if self.provider == "cpu" else "cuda"}


class _Session(Session):
    """Inputs and outputs are bound once: copies of them are not timed."""

    def __init__(self, session: Any, path: Path, feeds: Feeds) -> None:
        self._session, self._binding = session, session.io_binding()
        for name, value in in_order([i.name for i in session.get_inputs()], feeds, path).items():
            self._binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def run(self) -> object:
        return self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[np.ndarray]:
        self.run()
        return [np.asarray(x) for x in self._binding.copy_outputs_to_cpu()]
