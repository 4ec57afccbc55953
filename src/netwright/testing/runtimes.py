"""The contract of a runtime, for people who write their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import MeasureError, NetwrightError
from ..core.temporary import TemporaryFolder
from ..measure.agreement import allowed, differences
from ..measure.convert import example, feeds_of, outputs_of
from ..measure.latency import Latency
from ..measure.runtimes import RUNTIMES, from_json, to_json
from ..measure.runtimes.base import Runtime
from ..measure.sampling import SamplingPlan
from ..measure.targets import Target, parse_target
from ..nets.inputs import Inputs, each_tensor

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)


def check_runtime(runtime: Runtime, network: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """Raise AssertionError where a runtime breaks what netwright relies on.

    It is converted to and run in a measuring process, as a study does it; nothing is opened in this process.

    Args:
        runtime: with the settings to check; its package must be installed.
        network: small, and one that the runtime can take.
        inputs: what it is called with, one example.

    Returns:
        The measurements, by metric name.
    """
    kind = type(runtime)
    kind.require()
    assert from_json(json.loads(json.dumps(to_json(runtime)))) == runtime, "settings do not survive JSON"
    text = RUNTIMES.text(runtime)
    assert parse_target(text).runtime == runtime, f"{text!r} is read as another runtime"
    assert runtime.suffix in runtime.reads, f"it writes {runtime.suffix} but reads {', '.join(runtime.reads)}"
    target = Target(runtime)
    assert {"runtime", "device", "threads", "batch", "precision", "versions", "cpu"} <= target.described.keys()
    json.dumps(target.described)
    latency = Latency(target, QUICK)
    network = network.eval()
    inputs = example(inputs, runtime.batch, network)
    with TemporaryFolder() as folder:
        path = folder / f"network{runtime.suffix}"
        json.dumps(dict(runtime.convert(network, inputs, path)))
        assert [p for p in folder.iterdir() if p != path] == [], "a network is one file"
        feeds, expected = feeds_of(inputs), outputs_of(network, inputs)
        found = latency.run(path, feeds, expected, trust=True)
        assert found["latency"].value > 0 and found["file_bytes"].value == path.stat().st_size
        others = each_tensor(inputs, lambda t: t.flip(-1) if t.is_floating_point() else t)
        several = zip(*(outputs_of(network, one) for one in (inputs, others)), strict=True)
        apart = differences(
            latency.outputs(path, [inputs, others], trust=True), [np.stack(each) for each in several], kind.name
        )
        assert apart <= allowed(runtime.precision, real=False), "it computes something else of the second of two inputs"
        assert found["throughput"].value * found["latency"].value <= 1001 * runtime.batch
        wrong = [e + 10 * max(float(np.abs(e).max()), 1.0) for e in expected]
        assert "something else" in _reason(latency, path, feeds, wrong), "a wrong answer is measured"
        (broken := folder / f"broken{runtime.suffix}").write_bytes(b"no network" * 100)
        assert _reason(latency, broken, feeds, None), "a file that is none is measured"
        missing = folder / f"missing{runtime.suffix}"
        assert _reason(latency, missing, feeds, None), "a file that is not there is measured"
        again = latency.run(path, feeds, expected, trust=True)
        assert again["latency"].value > 0, "it does not run after a failure"
    return {name: m.to_json() for name, m in found.items()}


def _reason(latency: Latency, path: Path, feeds: Any, expected: list[np.ndarray] | None) -> str:
    try:
        latency.run(path, feeds, expected, trust=True)
    except MeasureError as error:
        return str(error)
    except NetwrightError as error:
        raise AssertionError(f"a {type(error).__name__} where MeasureError is expected: {error}") from error
    return ""
