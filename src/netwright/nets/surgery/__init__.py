"""Surgery: what is taken out of a network, or made anew of its weights, one kind per file."""

from .dynamic_rank import DynamicRanks
