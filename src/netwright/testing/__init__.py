"""Contracts for people who write their own axis, family or super-network: call them from a test."""

from .nets import check_axis, check_supernet

__all__ = ["check_axis", "check_supernet"]
