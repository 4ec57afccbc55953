"""Families: each a function that builds a plain module and lists its axes, one per file."""
