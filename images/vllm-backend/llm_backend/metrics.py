"""vLLM's own figures as Triton custom metrics, on the server's metrics port."""

import threading
import time
from typing import Any

import triton_python_backend_utils as pb_utils

from llm_backend.figures import Collector, Figures

# Writing takes this part of the time. Where that would leave figures older than this it takes more: each request has
# five values of histograms, so from some 200 finished requests a second on.
_SHARE = 0.1
_OLDEST_SECONDS = 0.5
# When the engine has nothing left to do, so few values are written at once, and the last answer waits for them: who has
# all of its answers finds them in the metrics, as NVIDIA's own test expects.
_FEW_VALUES = 256
_LAST_ANSWER_SECONDS = 0.5

_COUNTERS = {
    "prompt_tokens_total": "Number of prefill tokens processed.",
    "generation_tokens_total": "Number of generation tokens processed.",
    "num_preemptions_total": "Number of times a request lost its KV cache to others.",
}
_GAUGES = {
    "num_requests_running": "Number of requests that the engine computes.",
    "num_requests_waiting": "Number of requests that wait for the engine.",
    "kv_cache_usage_perc": "Part of the KV cache in use; 1 is all of it.",
    "engine_up": "1 while the engine lives, 0 once it is dead.",
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
        # Until it is dead; a gauge is 0 at first.
        self._metrics["engine_up"].set(1)
        self.collector = Collector()
        self._wake, self._hurry, self._stopping = threading.Event(), threading.Event(), False
        # How often figures were to be written at once, and how many of these times they have been.
        self._urgent = self._settled = 0
        self._written = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _create(self, name: str, text: str, kind: Any, buckets: list[float] | None = None) -> Any:
        family = pb_utils.MetricFamily(name=f"vllm:{name}", description=text, kind=kind)
        self._families.append(family)
        if buckets is None:
            return family.Metric(labels=self._labels)
        return family.Metric(labels=self._labels, buckets=buckets)

    def wake(self, idle: bool) -> None:
        """Write what the collector holds: soon, or at once if the engine is idle and it is not much."""
        if idle and self.collector.values <= _FEW_VALUES:
            self._urgent += 1
            self._hurry.set()
        self._wake.set()

    def tell_death(self) -> None:
        """The engine is dead: it does nothing any more, whatever its last figures said."""
        for name in _GAUGES:
            self.collector.set(name, 0)
        self.wake(idle=True)

    def settle(self) -> None:
        """Wait until what was to be written at once is written; not for long."""
        with self._written:
            self._written.wait_for(lambda: self._settled >= self._urgent, _LAST_ANSWER_SECONDS)

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._wake.wait()
            self._wake.clear()
            self._hurry.clear()
            urgent, stopping = self._urgent, self._stopping
            began = time.monotonic()
            self._try_to_write()
            with self._written:
                self._settled = urgent
                self._written.notify_all()
            rest = (time.monotonic() - began) * (1 / _SHARE - 1)
            self._hurry.wait(min(rest, _OLDEST_SECONDS))

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


def create_metrics(model: str, version: str, max_model_len: int) -> TritonMetrics | None:
    """The metrics of one model; None where the server was started without its metrics port."""
    try:
        return TritonMetrics(model, version, max_model_len)
    except pb_utils.TritonModelException as error:
        if "metrics not supported" not in str(error):
            raise
        pb_utils.Logger.log_info("[vllm] Metrics not supported")
        return None
