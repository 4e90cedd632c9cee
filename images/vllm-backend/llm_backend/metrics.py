"""vLLM's own figures as Triton custom metrics, on the server's metrics port."""

import threading
import time
from typing import Any

import triton_python_backend_utils as pb_utils
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from llm_backend.figures import Collector, Figures

# Writing takes this part of the time. Where that would leave figures older than this it takes more: each request has
# five values of histograms, so from some 200 finished requests a second on.
_SHARE = 0.1
_OLDEST_SECONDS = 0.5

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
    "time_per_output_token_seconds": (_PER_TOKEN, "Seconds per output token; a sample where tokens are many."),
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
        self.collector = Collector()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _create(self, name: str, text: str, kind: Any, buckets: list[float] | None = None) -> Any:
        family = pb_utils.MetricFamily(name=f"vllm:{name}", description=text, kind=kind)
        self._families.append(family)
        if buckets is None:
            return family.Metric(labels=self._labels)
        return family.Metric(labels=self._labels, buckets=buckets)

    def wake(self) -> None:
        """Write what the collector holds, soon."""
        self._wake.set()

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            self._try_to_write()
            rest = (time.monotonic() - began) * (1 / _SHARE - 1)
            self._stopping.wait(min(rest, _OLDEST_SECONDS))
        self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self._write(self.collector.take())
        except Exception as error:  # one figure that the server refuses must not end all others
            pb_utils.Logger.log_error(f"[vllm] metrics could not be written: {error!r}")

    def _write(self, figures: Figures) -> None:
        for name, value in figures.gauges.items():
            self._metrics[name].set(value)
        for name, value in figures.counters.items():
            self._metrics[name].increment(value)
        for name, value in figures.values:
            self._metrics[name].observe(value)


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
        collector = self._metrics.collector
        if scheduler_stats is not None:
            collector.set("num_requests_running", scheduler_stats.num_running_reqs)
            collector.set("num_requests_waiting", scheduler_stats.num_waiting_reqs)
            collector.set("kv_cache_usage_perc", scheduler_stats.kv_cache_usage)
        if iteration_stats is not None:
            _collect(collector, iteration_stats)
        self._metrics.wake()

    def log_engine_initialized(self) -> None:
        """Nothing: the engine's own log says it."""


def _collect(collector: Collector, stats: IterationStats) -> None:
    collector.increment("prompt_tokens_total", stats.num_prompt_tokens)
    collector.increment("generation_tokens_total", stats.num_generation_tokens)
    collector.increment("num_preemptions_total", stats.num_preempted_reqs)
    collector.observe("time_to_first_token_seconds", stats.time_to_first_tokens_iter)
    collector.observe_tokens("time_per_output_token_seconds", stats.inter_token_latencies_iter)
    collector.observe("request_params_n", [float(n) for n in stats.n_params_iter])
    for finished in stats.finished_requests:
        collector.observe("e2e_request_latency_seconds", [finished.e2e_latency])
        collector.observe("request_prompt_tokens", [float(finished.num_prompt_tokens)])
        collector.observe("request_generation_tokens", [float(finished.num_generation_tokens)])
