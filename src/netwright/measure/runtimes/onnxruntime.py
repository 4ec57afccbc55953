"""ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, one_line
from ...formats.onnx import feed, write_onnx
from ..base import Subject
from ..protocol import Run
from .base import Runtime


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """ONNX Runtime, CPU provider, float32; all graph optimisations, no spinning threads.

    Args:
        threads: that one inference may use.
        batch: how many inputs are run at once.
    """

    threads: int = 1
    batch: int = 1

    name = "onnxruntime"
    kind = "onnx"

    def file(self, subject: Subject) -> Path:
        # The search's exporter takes a tenth of the final one's time; the exported file is measured again.
        return subject.file("onnx", lambda path: write_onnx(subject.module, subject.example_inputs, path, quick=True))

    def load(self, path: Path, inputs: Any) -> Run:
        session = self.session(path)
        binding = session.io_binding()
        for name, value in feed(session, inputs).items():
            binding.bind_cpu_input(name, np.ascontiguousarray(np.repeat(value[:1], self.batch, axis=0)))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cpu")
        return lambda: session.run_with_iobinding(binding)

    def session(self, path: Path) -> Any:
        """An inference session of the file with this runtime's settings."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own, without a common base
            raise MeasureError(f"onnxruntime cannot load {path}: {one_line(error)}") from error

    def describe(self) -> dict[str, Any]:
        import onnxruntime as ort

        return {
            "runtime": self.name,
            "version": ort.__version__,
            "device": "cpu",
            "provider": "CPUExecutionProvider",
            "threads": self.threads,
            "batch": self.batch,
            "precision": "float32",
        }
