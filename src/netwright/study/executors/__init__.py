"""Where candidates are evaluated: one executor per file."""

from ...core.errors import CallError
from ...core.registry import Registry
from .base import Executor

EXECUTORS: Registry[Executor] = Registry("executor", Executor, __name__, {"local": "local:Local", "ray": "ray:Ray"})


def executor_of(executor: Executor | str, timeout: float | None, memory: str) -> Executor:
    """The executor of a search whose limits for one evaluation are given beside it.

    Raises :class:`CallError` where the executor has no such limits, or its own.
    """
    limits = {**({"timeout": timeout} if timeout else {}), **({"memory": memory} if memory else {})}
    made = EXECUTORS.make(executor, **limits)
    for name, value in limits.items():
        if getattr(made, name, None) != value:
            raise CallError(f"{name} is given beside the executor, which has its own or none: write it in there alone")
    return made
