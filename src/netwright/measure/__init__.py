"""Measuring: what can be said of a network, and how well it is known."""
