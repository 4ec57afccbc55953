"""Runtimes: what turns a network into something that runs on a device, one per file."""
