"""What counting costs where every block is a choice, in CPU seconds, at the size of OFA MobileNetV3 (Cai et al. 2020).

Each of its 20 searched blocks becomes a menu: nothing (where the block adds its input), a narrow inverted residual with
a window of 3, and the block itself; ``wrap`` finds the menus, and the widths, windows and depths in their options.

- ``table``: the first count, which makes the table.
- ``one``: ``net.count`` of a candidate that was not counted before; ``of 1,000``: the same within ``net.counts``.
- ``traced``: a candidate without the table.
- ``active / extracted``: what running through menus costs, as the median ratio of neighbouring forward passes on one
  thread (images of 224 pixels, batch 1).

The counts from the table and from traces are compared.

    python benchmarks/menus.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import netwright as nw
from netwright.nets.families.inverted_residual import InvertedResidual
from netwright.nets.families.ofa import ofa_mobilenet_v3
from netwright.nets.families.ofa_mobilenet import Residual

STAGES, BLOCKS = range(1, 6), range(4)


def network() -> nn.Module:
    """OFA MobileNetV3 with a menu in the place of every searched block."""
    module = ofa_mobilenet_v3().module.eval()
    for stage in (module.get_submodule(f"stage{s}") for s in STAGES):
        for name in [f"block{b}" for b in BLOCKS]:
            whole: Any = stage._modules[name]
            into, out = whole.expand.conv.in_channels, whole.project.conv.out_channels
            narrow = InvertedResidual(into, out, 3 * into, 3, whole.filter.conv.stride[0])
            nothing = {"nothing": nn.Identity()} if isinstance(whole, Residual) else {}
            stage._modules[name] = nw.oneof(**nothing, narrow=narrow, whole=whole)
    return module.eval()


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def ratio(net: nw.SuperNet, candidate: Any, images: torch.Tensor, times: int = 15) -> float:
    """Active to extracted, forward."""
    twin, found = net.extract(candidate).eval(), list[float]()
    with torch.no_grad(), net.active(candidate) as module:
        for _ in range(times):
            found.append(spent(lambda: module(images)) / spent(lambda: twin(images)))
    return statistics.median(found)


def main() -> None:
    """Print one row for each figure."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randn(1, 3, 224, 224)
    begin = time.process_time()
    net = nw.wrap(network(), images)
    menus = sum(isinstance(axis, nw.OneOf) for axis in net.axes)
    print(f"{menus} menus, {len(net.axes)} axes, wrapped in {time.process_time() - begin:.1f} CPU s")
    table = spent(lambda: net.count(net.largest))
    print(f"table    {table:8.2f} s, from which all is counted: {net._counter._table is not None}")
    rng = np.random.default_rng(0)
    candidates = [net.space.sample(rng) for _ in range(1020)]
    one = statistics.median(spent(partial(net.count, c)) for c in candidates[:20])
    many = spent(lambda: net.counts(candidates[20:])) / 1000
    traced, exact = list[float](), list[Any]()
    for candidate in candidates[:10]:
        begin = time.process_time()
        exact.append(net._counter._trace(candidate))
        traced.append(time.process_time() - begin)
    each = statistics.median(traced)
    print(f"one      {1e3 * one:8.2f} ms\nof 1,000 {1e3 * many:8.3f} ms\ntraced   {1e3 * each:8.1f} ms")
    print(f"traced / one {each / one:.0f}, traced / of 1,000 {each / many:.0f}")
    assert exact == [net.count(candidate) for candidate in candidates[:10]], "table and trace differ"
    ratios = [ratio(net, c, images) for c in (net.largest, net.smallest, *candidates[:3])]
    print(f"active / extracted {statistics.median(ratios):.3f} ({', '.join(f'{r:.3f}' for r in ratios)})")
    print(f"extract  {1e3 * statistics.median(spent(partial(net.extract, c)) for c in candidates[:5]):8.1f} ms")


if __name__ == "__main__":
    main()
