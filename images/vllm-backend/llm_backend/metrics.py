"""vLLM's own figures as Triton custom metrics, on the server's metrics port."""

import queue
import threading
from typing import Any

import triton_python_backend_utils as pb_utils
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

_COUNTERS = {
    "prompt_tokens_total": "Number of prefill tokens processed.",
    "generation_tokens_total": "Number of generation tokens processed.",
    "num_preemptions_total": "Number of times a request lost its KV cache to others.",
}
_GAUGES = {
    "num_requests_running": "Number of requests that the engine computes.",
    "num_requests_waiting": "Number of requests that wait for the engine.",
    "kv_cache_usage_perc": "Part of the KV cache in use; 1 is all of it.",
}
# Bounds of histograms, in seconds: those of NVIDIA's backend, and longer ones for long answers.
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
_PER_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_WHOLE = (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 300.0, 600.0)
_COMPLETIONS = (1.0, 2.0, 5.0, 10.0, 20.0)
_TOKENS: tuple[float, ...] = ()
"""Stands for bounds up to the model's longest sequence."""

_HISTOGRAMS = {
    "time_to_first_token_seconds": (_FIRST_TOKEN, "Seconds until the first token."),
    "time_per_output_token_seconds": (_PER_TOKEN, "Seconds per output token."),
    "e2e_request_latency_seconds": (_WHOLE, "Seconds from arrival to the last token."),
    "request_prompt_tokens": (_TOKENS, "Prompt tokens of a finished request."),
    "request_generation_tokens": (_TOKENS, "Generated tokens of a finished request."),
    "request_params_n": (_COMPLETIONS, "The parameter n of a request."),
}


def token_bounds(longest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to the longest sequence in tokens."""
    bounds = (float(digit * 10**power) for power in range(len(str(longest))) for digit in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= longest)


class TritonMetrics:
    """The metric families of one model; a thread of its own talks to the server."""

    def __init__(self, model: str, version: str, max_model_len: int) -> None:
        self._labels = {"model": model, "version": version}
        # A metric lives only as long as its family.
        self._families: list[Any] = []
        family = pb_utils.MetricFamily
        self._metrics: dict[str, Any] = {}
        for name, text in _COUNTERS.items():
            self._metrics[name] = self._create(name, text, family.COUNTER)
        for name, text in _GAUGES.items():
            self._metrics[name] = self._create(name, text, family.GAUGE)
        for name, (buckets, text) in _HISTOGRAMS.items():
            bounds = buckets or token_bounds(max_model_len)
            self._metrics[name] = self._create(name, text, family.HISTOGRAM, list(bounds))
        self._updates: queue.SimpleQueue[tuple[str, str, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _create(self, name: str, text: str, kind: Any, buckets: list[float] | None = None) -> Any:
        family = pb_utils.MetricFamily(name=f"vllm:{name}", description=text, kind=kind)
        self._families.append(family)
        if buckets is None:
            return family.Metric(labels=self._labels)
        return family.Metric(labels=self._labels, buckets=buckets)

    def increment(self, name: str, value: float) -> None:
        """Add to a counter."""
        if value > 0:
            self._updates.put((name, "increment", value))

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._updates.put((name, "set", value))

    def observe(self, name: str, values: list[float]) -> None:
        """Put values into a histogram."""
        for value in values:
            self._updates.put((name, "observe", value))

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        self._updates.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (update := self._updates.get()) is not None:
            name, method, value = update
            getattr(self._metrics[name], method)(value)


class TritonStatLogger(StatLoggerBase):
    """What vLLM calls after each step of the engine."""

    def __init__(self, metrics: TritonMetrics) -> None:
        self._metrics = metrics

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,  # noqa: ARG002 - vLLM's interface
        engine_idx: int = 0,  # noqa: ARG002 - vLLM's interface
    ) -> None:
        """Take over the figures of one step."""
        metrics = self._metrics
        if scheduler_stats is not None:
            metrics.set("num_requests_running", scheduler_stats.num_running_reqs)
            metrics.set("num_requests_waiting", scheduler_stats.num_waiting_reqs)
            metrics.set("kv_cache_usage_perc", scheduler_stats.kv_cache_usage)
        if iteration_stats is None:
            return
        metrics.increment("prompt_tokens_total", iteration_stats.num_prompt_tokens)
        metrics.increment("generation_tokens_total", iteration_stats.num_generation_tokens)
        metrics.increment("num_preemptions_total", iteration_stats.num_preempted_reqs)
        metrics.observe("time_to_first_token_seconds", iteration_stats.time_to_first_tokens_iter)
        metrics.observe("time_per_output_token_seconds", iteration_stats.inter_token_latencies_iter)
        metrics.observe("request_params_n", [float(n) for n in iteration_stats.n_params_iter])
        for finished in iteration_stats.finished_requests:
            metrics.observe("e2e_request_latency_seconds", [finished.e2e_latency])
            metrics.observe("request_prompt_tokens", [float(finished.num_prompt_tokens)])
            metrics.observe("request_generation_tokens", [float(finished.num_generation_tokens)])

    def log_engine_initialized(self) -> None:
        """Nothing: the engine's own log says it."""
