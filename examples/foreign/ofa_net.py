"""The once-for-all MobileNetV3 of the ``ofa`` package as a super-network: 2 x 10^19 networks.

pip install ofa gdown torchvision
netwright search examples/foreign/ofa.yaml

The weights are random, which is enough for latency and counts. ``ofa.model_zoo.ofa_net(name)`` instead of
``OFAMobileNetV3(...)`` downloads trained ones; accuracy then needs ``data:`` in the recipe.
"""

import torch
import torchvision_ops  # noqa: F401  before ofa, which imports torchvision
from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3  # type: ignore
from torch import nn

import netwright as nw


class Ofa:
    def __init__(self, net: OFAMobileNetV3, size: int = 224) -> None:
        self.net, self.example_inputs = net, torch.zeros(1, 3, size, size)
        stages, blocks = len(net.block_group_info), max(net.depth_list)
        choices = [nw.Choice(f"d.{stage}", net.depth_list) for stage in range(stages)]
        for i in range(stages * blocks):
            runs = {f"d.{i // blocks}": [depth for depth in net.depth_list if depth > i % blocks]}
            choices += [nw.Choice(f"ks.{i}", net.ks_list, runs), nw.Choice(f"e.{i}", net.expand_ratio_list, runs)]
        self.space = nw.Space(choices)

    def extract(self, candidate: nw.Candidate) -> nn.Module:
        d, ks, e = ([candidate.get(c.name) for c in self.space if c.name.startswith(k)] for k in ("d.", "ks.", "e."))
        self.net.set_active_subnet(ks=ks, e=e, d=d)  # None, where a block does not run, changes nothing
        return self.net.get_active_subnet()


def supernet() -> Ofa:
    return Ofa(OFAMobileNetV3(ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]))
