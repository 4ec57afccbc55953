"""Opens an ONNX file as a person does: with ONNX Runtime, and without netwright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def opened(file: dict[str, Any]) -> Callable[[dict[str, Any]], list[Any]]:
    """The file at ``path`` as a function from its inputs, by name, to all its outputs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(file["path"], options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda arrays: [np.asarray(each) for each in session.run(None, {name: arrays[name] for name in names})]
