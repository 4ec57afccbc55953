"""The rank at which a Transformer's feed-forward network gets faster on ONNX Runtime, by the length of the text.

    python benchmarks/low_rank.py                          # MiniLM's: 384 to 1536 and back
    python benchmarks/low_rank.py --size 768 --hidden 3072 --lengths 16 128

Both layers are factorised (``to_low_rank``) and cut to a rank. One thread, CPU time. Each round runs all networks one
after the other, and a time is divided by the dense one's in the same round; the median of the rounds is told, and below
1.00 the rank pays. Weights do not matter for it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import session, timed
from torch import nn

import netwright as nw
from netwright.nets.axes.rank import Factorised


def exported(network: nn.Module, length: int, size: int, folder: Path) -> Any:
    """A session of the network's file."""
    path = folder / "m.onnx"
    torch.onnx.export(network, (torch.randn(1, length, size),), path, input_names=["x"], dynamo=False)
    return session(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--hidden", type=int, default=1536)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--ranks", type=int, nargs="+", default=[32, 64, 96, 128, 160, 192, 224, 256, 288, 304])
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(args.size, args.hidden), nn.GELU(), nn.Linear(args.hidden, args.size)).eval()
    low = nn.Sequential(nn.Linear(args.size, args.hidden), nn.GELU(), nn.Linear(args.hidden, args.size)).eval()
    x = torch.randn(1, 16, args.size)
    nw.to_low_rank(low, x)
    ranks = [r for r in args.ranks if r < args.size]
    axes = [nw.Rank.of(low, own, own, (*ranks, args.size)) for own in ("0", "2")]
    net = nw.SuperNet(low, axes, x)
    pair: Any = low[0]
    assert isinstance(pair, Factorised)
    print(f"{args.size} to {args.hidden} and back: two layers cost what one does at a rank of {pair.pays_below:.0f}")
    print(f"| rank | MACs |{''.join(f' {length} tokens |' for length in args.lengths)}")
    print(f"|---|---|{'---|' * len(args.lengths)}")
    shares: dict[int, list[str]] = {r: [] for r in ranks}
    whole: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for length in args.lengths:
            feed = {"x": np.random.default_rng(0).normal(size=(1, length, args.size)).astype(np.float32)}
            runs = {0: (exported(dense, length, args.size, Path(folder)), feed)}
            for rank in ranks:
                network = net.extract({"0": rank, "2": rank})
                runs[rank] = exported(network, length, args.size, Path(folder)), feed
            found = timed(runs, args.rounds, 3)
            whole.append(f" {found[0][0]:.2f} ms |")
            for rank in ranks:
                shares[rank].append(f" {found[rank][1]:.2f} |")
    print(f"| dense | 1.00 |{''.join(whole)}")
    for rank in ranks:
        print(f"| {rank} | {rank / pair.pays_below:.2f} |{''.join(shares[rank])}")


if __name__ == "__main__":
    main()
