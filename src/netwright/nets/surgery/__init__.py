"""Surgery: what is taken out of a network, or made anew of its weights, one kind per file."""

from .adapters import add_adapters, merge_adapters, save_adapters
from .block_order import block_importance, sort_blocks
from .dynamic_rank import DynamicRanks
from .experts import ExpertMixture, to_experts
from .foldable_norm import to_foldable_norm
from .free_experts import add_free_experts
from .grow import grow
from .low_rank import to_low_rank
from .merge_experts import merge_experts
from .order import part_importance, sort_parts
from .share import share_layers

__all__ = [
    "DynamicRanks",
    "ExpertMixture",
    "add_adapters",
    "add_free_experts",
    "block_importance",
    "grow",
    "merge_adapters",
    "merge_experts",
    "part_importance",
    "save_adapters",
    "share_layers",
    "sort_blocks",
    "sort_parts",
    "to_experts",
    "to_foldable_norm",
    "to_low_rank",
]
