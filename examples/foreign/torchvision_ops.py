"""Lets torchvision be imported beside a torch that its compiled operators were not built for (torch for CPUs alone).

It registers the operators of object detection that torchvision asks for by name; image classifiers use none of them.
"""

import importlib

import torch

try:
    importlib.import_module("torchvision")
except RuntimeError:  # operator torchvision::nms does not exist
    LIBRARY = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")
