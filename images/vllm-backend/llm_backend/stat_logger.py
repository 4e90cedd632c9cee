"""What vLLM says of each step of its engine, on its way to the metrics."""

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from llm_backend.figures import Collector
from llm_backend.metrics import TritonMetrics


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
        collector, idle = self._metrics.collector, False
        if scheduler_stats is not None:
            idle = scheduler_stats.num_running_reqs + scheduler_stats.num_waiting_reqs == 0
            collector.set("num_requests_running", scheduler_stats.num_running_reqs)
            collector.set("num_requests_waiting", scheduler_stats.num_waiting_reqs)
            collector.set("kv_cache_usage_perc", scheduler_stats.kv_cache_usage)
        if iteration_stats is not None:
            _collect(collector, iteration_stats)
        self._metrics.wake(idle)

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
