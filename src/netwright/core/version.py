"""The version of netwright."""

__version__ = "0.1.0"
