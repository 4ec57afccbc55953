"""Tests run on one thread, are the same every time, and keep converted files in a folder of their own."""

import os
import tempfile

# Before NumPy is imported: its idle threads spin, and count as CPU time of what is measured here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

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
