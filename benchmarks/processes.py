"""How many images a second several processes train, against one: the same super-network, batches and images in all.

One process, then two, each with one thread:

    python benchmarks/processes.py
    torchrun --nproc-per-node=2 benchmarks/processes.py

Images are random numbers of CIFAR's shape in memory: what is measured is computing and talking, not reading. The wall
clock means something only where each process has a core of its own; CPU seconds an image do on any machine, and their
ratio bounds what two processes gain: 2 x (of one) / (of two).

Measured on two free cores (Zen 4, one run each): 46.7 images a second by one process and 102.9 by two, 2.2 times as
many; an image takes less CPU time in the halves of a batch too, 0.0182 s instead of 0.0214. On two cores shared with
others (--steps 14 --batch 64) it took 0.0312 instead of 0.0294, so that two processes gain at most 1.88 times there.
"""

from __future__ import annotations

import argparse
import os
import time

import torch

import netwright as nw
from netwright.core.launch import launched
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.training.run import Progress

WARM = 4
"""Steps that are not counted."""


def main() -> None:
    """Train for some steps and say how fast it went; the first process speaks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch", type=int, default=128, help="of all processes together")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = inverted_residual(3, 10, 32)
    images = torch.randn(given.batch * given.steps, 3, 32, 32)
    loader = nw.TensorLoader(nw.Split(images, torch.arange(len(images)) % 10), given.batch, shuffle=True)
    began: list[tuple[float, float]] = []

    def told(progress: Progress) -> None:
        if progress.step in (WARM, given.steps):
            began.append((time.perf_counter(), time.process_time()))

    nw.train(net, loader, epochs=1, callback=told)
    rank, size = launched()
    if rank:
        return
    (wall, cpu), (wall_end, cpu_end) = began
    count = given.batch * (given.steps - WARM)
    print(f"{size} processes on {os.cpu_count()} cores, {count} images")
    print(f"images/s by the wall clock: {count / (wall_end - wall):.1f}")
    print(f"CPU seconds an image, of all processes: {(cpu_end - cpu) * size / count:.5f}")


if __name__ == "__main__":
    main()
