"""All models of the zoo."""

from __future__ import annotations

from . import packages, plain_dense, plain_images, plain_sequences
from .case import Case

PLAIN: dict[str, Case] = {**plain_images.plain, **plain_sequences.plain}
"""Hand-written, in plain torch; tiny."""

PACKAGES: dict[str, Case] = {**packages.packages, **plain_dense.plain}
"""Of torchvision, timm, transformers and diffusers, and hand-written ones of their size."""
