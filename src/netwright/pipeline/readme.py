"""What the README of an exported network says, and how a network is run without netwright."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.text import markdown, markdown_code
from ..formats.base import Format
from ..measure.latency import Latency

RUN = """\
import numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
"""

RUN_ON_ZEROS = """\
import json, numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
example = json.load(open("manifest.json"))["example"]
inputs = {i.name: np.zeros(example[i.name]["shape"], example[i.name]["dtype"]) for i in session.get_inputs()}
print("output:", session.run(None, inputs)[0].shape)
"""

README = """\
# Network {id}: {role}

A stand-alone network; it needs onnxruntime or torch, and not netwright. `manifest.json` says which network it is,
what was measured of it, where, and with which versions.
{own}
With ONNX Runtime, from this directory:

```python
{run}```

{files}"""


def _files(formats: Sequence[Format]) -> str:
    """What a README says of a bundle's files."""
    lines = [f"- {markdown_code(each.file)}{': ' * bool(each.purpose)}{each.purpose}" for each in formats]
    return (
        "The files; which of their sizes (batch, length, height, width) are free is told under `written` in "
        "`manifest.json`:\n\n" + "\n".join(lines) + "\n" + "".join(each.usage for each in formats)
    )


OWN_FILE = """
{file} is what the target {target} runs, and what latency and size under `test` in `manifest.json` are of.
"""

OWN_QUALITY = """\
So is the {metric} there: {single} is that of `model.onnx`, which computes more precisely. How far the outputs of the
two are apart, whatever the {metric}, is under `validation`: `outputs_difference`, relative to their size, and where
there are classes `confidence_change` and `same_answers`.
"""


def run_snippet(latency: Latency, script: str) -> str:
    """How an exported network is run without netwright: the target's own file where ONNX Runtime runs that.

    Args:
        latency: on the target.
        script: what is done with the ``session``, see :func:`netwright.pipeline.held_out.run_script`; empty where there
            are no test data.
    """
    code = RUN + script if script else RUN_ON_ZEROS
    return code.replace("model.onnx", latency.file_name) if latency.file_name.endswith(".onnx") else code


def readme(id_: str, role: str, formats: Sequence[Format], latencies: Sequence[Latency], metric: str, run: str) -> str:
    """The README of an exported network.

    Args:
        id_: of the network.
        role: what it is among those that are handed back.
        formats: of its files.
        latencies: on each target.
        metric: what the network is judged by on the test data; empty where there are none.
        run: see :func:`run_snippet`.
    """
    own = "".join(_own_file(each, metric) for each in latencies if each.file_name != "model.onnx")
    return README.format(role=markdown(role), id=id_, run=run, own=own, files=_files(formats))


def _own_file(latency: Latency, metric: str) -> str:
    """What is said of the target's own file: how it is run, where it is another than ``model.onnx``."""
    file, runtime = latency.file_name, latency.runtime
    said = OWN_FILE.format(file=markdown_code(file), target=markdown_code(latency.where))
    if metric and latency.lossy:
        said += OWN_QUALITY.format(metric=markdown(metric), single=markdown_code(f"{metric}_float32"))
    usage = runtime.usage(file)
    return f"{said}\nWith {runtime.packages[0]}:\n\n```python\n{usage}```\n" if usage else said
