"""Which blocks of a trained ResNet-56 are left out: the last ones, or those that are worth least.

As many blocks of each of the three stages, after nothing but new normalisation statistics (of 512 training images), on
the first images of CIFAR-10's test set. Importance is found on 256 training images. Needs ``cifar10`` and
``weights_cifar10_resnet`` of the shared data.

    python benchmarks/block_order.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from cifar10 import augmented, first_of, trained

import netwright as nw
from netwright.nets.families.cifar_resnet import cifar_resnet


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--left-out", type=int, nargs="+", default=[2, 4, 6])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = cifar_resnet(56, shares=())
    net.module.load_state_dict(trained(arguments.data, 56).state_dict())
    train = first_of(arguments.data, "train", 512)
    batches = [augmented(part) for part in train.inputs.split(256)]
    judge = nw.Accuracy(nw.TensorLoader(first_of(arguments.data, "test", arguments.images), 250))
    nets = {
        "the last ones": net,
        "by influence": nw.sort_blocks(net, batches[:1], "influence"),
        "by outputs": nw.sort_blocks(net, batches[:1], "outputs"),
    }
    for name, each in nets.items():
        for axis in each.axes:
            print(f"{name}: {axis.name}", [path.rpartition(".")[2] for path in getattr(axis, "order", ())])
    print(f"whole: {judge.of(net.module.eval()).value:.1f} %; left out of each stage: {', '.join(nets)}")
    for count in arguments.left_out:
        kept = [judge.of(nw.recalibrate(_without(each, count), batches)).value for each in nets.values()]
        print(f"{count}: {', '.join(f'{value:.1f}' for value in kept)}", flush=True)


def _without(net: nw.SuperNet, count: int) -> torch.nn.Module:
    """The network without some blocks of each stage."""
    network = net.extract(net.space.build(lambda choice: choice.options[-1 - count]))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
