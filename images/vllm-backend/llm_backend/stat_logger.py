"""What vLLM says of each step of its engine, on its way to the metrics."""

from typing import Any

import triton_python_backend_utils as pb_utils
from vllm.v1.engine import FinishReason
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from llm_backend.figures import Collector
from llm_backend.metrics import TritonMetrics


class TritonStatLogger(StatLoggerBase):
    """What vLLM calls after each step of the engine."""

    def __init__(self, metrics: TritonMetrics) -> None:
        self._metrics = metrics
        self._failed = False

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,  # noqa: ARG002 - vLLM's interface
        engine_idx: int = 0,  # noqa: ARG002 - vLLM's interface
    ) -> None:
        """Take over the figures of one step."""
        try:
            self._metrics.wake(_collect(self._metrics.collector, scheduler_stats, iteration_stats))
        except Exception as error:  # vLLM would answer nobody any more, and its figures change with its versions
            if not self._failed:
                pb_utils.Logger.log_error(f"[vllm] the engine's figures cannot be read: {error!r}")
            self._failed = True

    def log_engine_initialized(self) -> None:
        """Nothing: the engine's own log says it."""


def _collect(collector: Collector, scheduler: SchedulerStats | None, iteration: IterationStats | None) -> bool:
    """Whether the engine has nothing left to do."""
    left = 0
    if scheduler is not None:
        # Newer versions count those apart that wait for something else: a grammar, room for an adapter.
        waiting = scheduler.num_waiting_reqs + getattr(scheduler, "num_skipped_waiting_reqs", 0)
        left = scheduler.num_running_reqs + waiting
        collector.set("num_requests_running", scheduler.num_running_reqs)
        collector.set("num_requests_waiting", waiting)
        collector.set("kv_cache_usage_perc", scheduler.kv_cache_usage)
    if iteration is None:
        return left == 0
    _collect_iteration(collector, iteration)
    # A request that ended at a stop string is still counted: the scheduler hears of it later.
    return left <= sum(finished.finish_reason is FinishReason.STOP for finished in iteration.finished_requests)


def _collect_iteration(collector: Collector, stats: IterationStats) -> None:
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
