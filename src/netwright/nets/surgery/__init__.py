"""Surgery: what is taken out of a network, or made anew of its weights, one kind per file."""

from .block_order import block_importance, sort_blocks
from .experts import ExpertMixture, to_experts
from .foldable_norm import to_foldable_norm
from .free_experts import add_free_experts
from .grow import grow
from .low_rank import to_low_rank
from .merge_experts import merge_experts
from .order import part_importance, sort_parts
from .share import share_layers

__all__ = [
    "ExpertMixture",
    "add_free_experts",
