"""Tests run on one thread, are the same every time, and keep converted files in a folder of their own."""

import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

# Before NumPy is imported: its idle threads spin, and count as CPU time of what is measured here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
os.environ["NETWRIGHT_CACHE"] = tempfile.mkdtemp(prefix="netwright-tests-")

settings.register_profile(
    "netwright",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("netwright")


@pytest.fixture
def work() -> Callable[[Callable[[], object]], int]:
    """How many functions something calls: what it costs, on any machine and beside any neighbour the same."""

    def count(function: Callable[[], object]) -> int:
        calls = 0

        def called(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(called)
        try:
            function()
        finally:
            sys.setprofile(before)
        return calls

    return count
