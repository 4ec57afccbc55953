"""``test.npz``, the examples that nothing was chosen by, and how a network is run on them without netwright."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import NetError
from ..core.files import write_atomically
from ..formats.compare import arrays_of
from ..formats.plain import flat, input_names, output_names
from ..nets.inputs import Inputs, call, evaluating, fresh, tensors_in
from ..tasks.base import Task
from ..tasks.data import Part, Split, loader_of, read
from ..tasks.outputs import scores_of
from .run_directory import RunDirectory

MOST_BYTES = 256 * 10**6
"""Above this a loader's test examples are not copied: a person has them."""

ONE_INPUT = '{session.get_inputs()[0].name: test["inputs"]}'
SEVERAL_INPUTS = '{i.name: test["inputs." + i.name] for i in session.get_inputs()}'
RUN = "session.run(None, inputs)"
RUN_IN_BATCHES = "map(np.concatenate, zip(*parts))"
PARTS = """\
rows, batch = len(next(iter(inputs.values()))), {batch}
parts = [session.run(None, {{n: x[i : i + batch] for n, x in inputs.items()}}) for i in range(0, rows, batch)]
"""


def write_test_part(run: RunDirectory, task: Task, part: Part) -> None:
    """Write ``test.npz``: ``inputs`` and ``labels``, or where these are several tensors ``inputs.<name>`` by the names
    that exported files give them, and ``labels.<name>``.

    The batches of a loader are put together; where their shapes differ, or they are too large, nothing is written.
    """
    arrays = _test_arrays(task, part)
    if arrays is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(run.test_data, buffer.getvalue())


def _test_arrays(task: Task, part: Part) -> dict[str, np.ndarray] | None:
    if isinstance(part, Split):
        return _named(*task.split((part.inputs, part.targets)))
    batches: list[dict[str, np.ndarray]] = []
    size = 0
    for batch in read(part, "the test data"):
        batches.append(_named(*task.split(batch)))
        size += sum(array.nbytes for array in batches[-1].values())
        shapes = [
            {name: (array.dtype, array.shape[1:]) for name, array in b.items()} for b in (batches[0], batches[-1])
        ]
        if size > MOST_BYTES or shapes[0] != shapes[1]:
            return None
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _shapes(batch: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Of one example; that of all batches must be the same."""
    return {name: array.shape[1:] for name, array in batch.items()}


def _named(inputs: Inputs, targets: Any) -> dict[str, np.ndarray]:
    """The arrays of ``test.npz``."""
    keys = [*_keys("inputs", inputs, input_names(inputs)), *_keys("labels", targets, _label_names(targets))]
    return dict(zip(keys, arrays_of([*tensors_in(inputs), *tensors_in(targets)]), strict=True))


def _keys(what: str, value: Any, names: list[str]) -> list[str]:
    return [what] if isinstance(value, Tensor) else [f"{what}.{name}" for name in names]


def _label_names(targets: Any) -> list[str]:
    given = flat(targets)
    return list(given) if isinstance(given, dict) else [str(i) for i in range(len(given))]


def run_script(task: Task, part: Part, network: nn.Module, example: Inputs, batch: int = 0) -> str:
    """Lines of Python that run an ONNX Runtime ``session`` on ``test.npz`` and say how well it does.

    Args:
        task: whose example script says it.
        part: the test part.
        network: that is run.
        example: what it is called with.
        batch: examples of a run; 0 for all at once.
    """
    inputs, targets = task.split(next(iter(read(loader_of(part, 1), "the test data"))))
    lines = [
        'test = np.load("../../test.npz")',
        f"inputs = {ONE_INPUT if isinstance(inputs, Tensor) else SEVERAL_INPUTS}",
        *([PARTS.format(batch=batch).rstrip()] if batch else []),
        "names = [output.name for output in session.get_outputs()]",
        f"outputs = dict(zip(names, {RUN_IN_BATCHES if batch else RUN}))",
    ]
    if isinstance(targets, Tensor):
        labels = 'test["labels"]'
    else:
        labels = f'{{n: test["labels." + n] for n in {_label_names(targets)}}}'
    scores = _scores_name(network, example)
    lines.append(f"labels = {labels}" if scores is None else f'scores, labels = outputs["{scores}"], {labels}')
    return "\n".join(lines) + "\n" + task.example_script()


def _scores_name(network: nn.Module, example: Inputs) -> str | None:
    """What exported files call the output that holds the scores; None where that is not known."""
    with torch.no_grad(), evaluating(network):
        outputs = call(network, fresh(example))
    try:
        scores = scores_of(outputs)
    except NetError:
        return None
    at = next(i for i, tensor in enumerate(tensors_in(outputs)) if tensor is scores)
    return output_names(flat(outputs), input_names(example))[at]
