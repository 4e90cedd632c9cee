"""The operator's own metrics."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from triton_vllm_operator.controller.standings import Standings
from triton_vllm_operator.health.verdict import ProbeResult
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.standing import Standing

PREFIX: Final = "triton_vllm_operator"


class Metrics:
    """Counters and gauges of one process, with a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._standings = Standings(PREFIX)
        self.registry.register(self._standings)
        self._reconciles = self._counter("reconciles", "Reconciles by result.", ["result"])
        self._reconcile_seconds = Histogram(
            f"{PREFIX}_reconcile_seconds", "Seconds of one reconcile.", registry=self.registry
        )
        self._requests = self._counter("api_requests", "Requests to the API server.", ["verb", "resource", "code"])
        self._request_seconds = Histogram(
            f"{PREFIX}_api_request_seconds", "Seconds of one request.", ["verb", "resource"], registry=self.registry
        )
        self._probes = self._counter("probes", "Generate probes by outcome.", ["outcome"])
        self._probe_seconds = Histogram(
            f"{PREFIX}_probe_seconds",
            "Seconds of one generate probe.",
            registry=self.registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self._plan_errors = Histogram(
            f"{PREFIX}_memory_plan_error_ratio",
            "By how much planned KV tokens differ from those that the engine measured, as a part of these.",
            registry=self.registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
        )
        self._replacements = self._counter("replacements", "Pods that were replaced, by what was found.", ["reason"])
        self._events = self._counter("watch_events", "Events of the watches.", ["resource"])
        self._resyncs = self._counter("resyncs", "Comparisons of the cache with fresh lists.", ["result"])

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is scraped."""
        Gauge(f"{PREFIX}_{name}", text, registry=self.registry).set_function(read)

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile is over."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def requested(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """One request to the API server is over; status 0 means no answer."""
        self._requests.labels(verb, resource, str(status)).inc()
        self._request_seconds.labels(verb, resource).observe(seconds)

    def probed(self, result: ProbeResult) -> None:
        """One probe is over."""
        self._probes.labels(result.outcome.value).inc()
        self._probe_seconds.observe(result.seconds)

    def planned(self, error: float) -> None:
        """A start was measured; by how much its plan was off."""
        self._plan_errors.observe(abs(error))

    def stands(self, key: Key, standing: Standing | None) -> None:
        """How an LLMDeployment stands now; None if it is gone."""
        self._standings.note(key, standing)

    def replaced(self, reason: str) -> None:
        """A pod was replaced since its engine was dead."""
        self._replacements.labels(reason).inc()

    def event(self, resource: str) -> None:
        """One event came in."""
        self._events.labels(resource).inc()

    def resynced(self, result: str) -> None:
        """One resync is over."""
        self._resyncs.labels(result).inc()

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
