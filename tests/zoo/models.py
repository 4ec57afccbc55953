"""All models of the zoo."""

from __future__ import annotations

from . import packages, plain_images, plain_sequences
from .case import Case

PLAIN: dict[str, Case] = {**plain_images.plain, **plain_sequences.plain}
"""Hand-written, in plain torch; tiny."""

PACKAGES: dict[str, Case] = dict(packages.packages)
"""Of torchvision, timm and transformers."""
