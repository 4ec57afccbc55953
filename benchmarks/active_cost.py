"""What an active sub-network costs beside its extracted twin, and what it costs to switch candidates.

Forward passes of the two run in turn (A B A B ...) at batch 64 on one thread; the table gives the median of the
ratios. Run with: make bench
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from netwright.recipes import digits


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = digits.supernet()
    rng = np.random.default_rng(0)
    candidates = {"largest": net.largest, "smallest": net.smallest}
    candidates |= {f"random {i}": net.space.sample(rng) for i in range(6)}
    inputs = torch.randn(64, 1, 8, 8)
    net.module.eval()
    print(f"{'candidate':<10} {'MACs':>9} {'active ms':>10} {'extracted ms':>13} {'ratio':>6}")
    ratios = []
    for name, candidate in candidates.items():
        network = net.extract(candidate).eval()
        with torch.no_grad(), net.active(candidate) as module:
            active, extracted, ratio = paired(partial(module, inputs), partial(network, inputs))
        ratios.append(ratio)
        print(f"{name:<10} {net.count(candidate).macs:>9} {active:>10.3f} {extracted:>13.3f} {ratio:>6.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}, largest {max(ratios):.3f} (allowed 1.15)")

    others = [net.space.sample(rng) for _ in range(200)]
    switches = []
    for candidate in others:
        begin = time.perf_counter()
        with net.active(candidate):
            switches.append((time.perf_counter() - begin) * 1e3)
    print(f"switching to a new candidate: median {statistics.median(switches):.2f} ms, "
          f"largest {max(switches):.2f} ms (allowed 5)")  # fmt: skip


def paired(one: Callable[[], object], other: Callable[[], object], pairs: int = 60) -> tuple[float, float, float]:
    """Median milliseconds of each, and the median of the ratios of neighbours."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs + 5):
        for run, found in zip((one, other), times, strict=True):
            begin = time.perf_counter()
            run()
            found.append((time.perf_counter() - begin) * 1e3)
    a, b = times[0][5:], times[1][5:]
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    main()
