"""Families: each a function that lists the axes of a plain module that it builds, or of a given model."""

from .bert import bert
from .cifar_resnet import cifar_resnet
from .decoder import decoder
from .detector import detector
from .gpt2 import gpt2
from .inverted_residual import inverted_residual
from .mobile_menus import mobile_menus
from .mobilenet import mobilenet_v1, mobilenet_v2
from .nas_bench_201 import nas_bench_201
from .ofa import from_ofa, load_ofa, ofa_mobilenet_v3, ofa_proxyless, ofa_resnet50, to_ofa
from .resnet8 import resnet8
from .simplenet import simplenet
from .tinynas import from_json
from .translation import translation
from .vit import vit
from .wide_resnet import wide_resnet

__all__ = [
    "bert",
    "cifar_resnet",
    "decoder",
    "detector",
    "from_json",
    "from_ofa",
    "gpt2",
    "inverted_residual",
    "load_ofa",
    "mobile_menus",
    "mobilenet_v1",
    "mobilenet_v2",
    "nas_bench_201",
    "ofa_mobilenet_v3",
    "ofa_proxyless",
    "ofa_resnet50",
    "resnet8",
    "simplenet",
    "to_ofa",
    "translation",
    "vit",
    "wide_resnet",
]
