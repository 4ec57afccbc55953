"""Where candidates are evaluated: one executor per file."""

from ...core.registry import Registry
from .base import Executor

EXECUTORS: Registry[Executor] = Registry("executor", Executor, __name__, {"local": "local:Local"})
