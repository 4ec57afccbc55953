"""What a decoder costs that writes text: the prompt at once, then token by token with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..core.errors import CallError, MeasureError, format_error
from ..core.metric import Measurement, Metric
from .base import EvaluationContext, Measurer, Place
from .clocks import Clock
from .sampling import SamplingPlan, measure_latency

TOKEN = Metric("token_latency", "ms", "min")
PREFILL = Metric("prefill_latency", "ms", "min")
RATE = Metric("tokens_per_s", "/s", "max")
CACHE = Metric("cache_bytes", "B", "min")


class Decoding(Measurer):
    """How fast a decoder of ``transformers`` writes, run by PyTorch on the CPU of this process.

    ``token_latency`` is the time of one token after the prompt, ``prefill_latency`` that of the prompt,
    ``tokens_per_s`` how many tokens a second follow one another, and ``cache_bytes`` what the cache of keys and values
    holds at the prompt's length: a decoder needs it beside its weights.

    Args:
        prompt: tokens of the prompt.
        batch: texts that are written at once.
        threads: of PyTorch.
        plan: when to stop measuring.
    """

    metrics = (TOKEN, PREFILL, RATE, CACHE)
    on_device = True

    def __init__(self, prompt: int = 128, batch: int = 1, threads: int = 1, plan: SamplingPlan | None = None) -> None:
        for name, value in (("prompt", prompt), ("batch", batch), ("threads", threads)):
            if type(value) is not int or value < 1:
                raise CallError(f"Decoding: {name} is a number of 1 or more, not {value!r}")
        self.prompt, self.batch, self.threads, self.plan = prompt, batch, threads, plan or SamplingPlan()

    @property
    def place(self) -> Place:
        return Place(cores=self.threads)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        import torch

        network: Any = context.module
        config = getattr(network, "config", None)
        if not hasattr(network, "generate") or config is None:
            raise MeasureError(
                f"{type(network).__name__} does not write text: Decoding measures decoders of transformers, such as "
                "LlamaForCausalLM"
            )
        most = getattr(config, "max_position_embeddings", self.prompt + 1)
        if self.prompt >= most:
            raise MeasureError(f"Decoding: the model takes {most} tokens; give a prompt of {most - 1} or fewer")
        ids = torch.arange(self.batch * self.prompt).view(self.batch, -1) % config.vocab_size
        try:
            with _threads(self.threads), torch.no_grad():
                return self._measured(network, ids)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise MeasureError(
                f"{type(network).__name__} cannot be run with a cache of keys and values: {format_error(error)}"
            ) from error

    def _measured(self, network: Any, ids: Any) -> dict[str, Measurement]:
        clock: Clock = "cpu" if self.threads == 1 else "wall"
        cache = network(input_ids=ids, use_cache=True).past_key_values
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.is_initialized)
        prefill = measure_latency(lambda: network(input_ids=ids, use_cache=True), self.plan, clock)

        def write() -> None:
            network(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True)
            cache.crop(-1)

        token = measure_latency(write, self.plan, clock)
        rate = self.batch * 1e3 / token.value
        return {
            TOKEN.name: token,
            PREFILL.name: prefill,
            RATE.name: Measurement(rate, "/s", ci95=rate * token.ci95 / token.value, n=token.n),
            CACHE.name: Measurement(held, "B", kind="exact"),
        }

    def provenance(self) -> Mapping[str, Any]:
        return {"prompt": self.prompt, "batch": self.batch, "threads": self.threads, "plan": vars(self.plan)}


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """PyTorch with so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
