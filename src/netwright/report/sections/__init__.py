"""Sections of the report: one figure or table per file."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Section as Section

SECTIONS: Registry[Section] = Registry(
    "report section",
    Section,
    __name__,
    {
        "summary": "summary:Summary",
        "front": "front:FrontChart",
        "objectives": "objectives:Objectives",
        "front_table": "front_table:FrontTable",
        "plain": "plain:Plain",
        "networks": "networks:Networks",
        "others": "others:Others",
        "progress": "progress:Progress",
        "reasons": "reasons:Reasons",
        "predictability": "predictability:Predictability",
        "conditions": "conditions:Conditions",
    },
    error=RecipeError,
)

STANDARD = tuple(SECTIONS.ours)
"""The sections of a report by default, in their order."""
