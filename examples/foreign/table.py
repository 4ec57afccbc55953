"""A table of measured networks, searched like a super-network: each network's figures are looked up.

netwright fit examples/foreign/table.yaml

``measured.csv`` holds 50 sub-networks of the once-for-all MobileNetV3 (width 1.0) with their ImageNet top-1 (%, at 224
pixels, the mean where one was evaluated several times), multiply-accumulates and parameters. They are the random first
population of the search logs in ``notebooks/data`` of github.com/IntelLabs/DyNAS-T (Apache-2.0, Copyright 2022 Intel
Corporation; files ``mbnv3w10_*.csv`` of November 2022). The columns ``d``, ``ks`` and ``e`` have one digit per choice:
the depth of 5 stages, the kernel and the expansion of 20 layers, and 0 for a layer that does not run.
"""

from pathlib import Path

import netwright as nw


def measured() -> nw.TabularBenchmark:
    """Accuracy is what a search would have to pay for; the counts can be computed for any network."""
    return nw.TabularBenchmark.read(
        Path(__file__).with_name("measured.csv"),
        digits=["d", "ks", "e"],
        absent="0",
        metrics=[
            nw.Metric("top1", "%", "max"),
            nw.Metric("macs", exact=True),
            nw.Metric("params", exact=True),
        ],
    )
