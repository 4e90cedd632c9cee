"""Metrics of the last proof of each LLMDeployment: how old it is, and how long it took."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from triton_vllm_operator.controller.standings import LABELS
from triton_vllm_operator.health.watcher import Proof
from triton_vllm_operator.kube.resources import Key


class Proofs(Collector):
    """Of the pod whose last proof is the oldest. A restart has none until each has generated again."""

    def __init__(self, prefix: str, read: Callable[[], Mapping[Key, Proof]], clock: Callable[[], float]) -> None:
        self._prefix = f"{prefix}_llmdeployment"
        self._read = read
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """For a scrape."""
        ages = GaugeMetricFamily(
            f"{self._prefix}_last_proof_age_seconds", "Seconds since it generated for a probe.", labels=LABELS
        )
        times = GaugeMetricFamily(
            f"{self._prefix}_last_proof_seconds", "Seconds that the last such answer took.", labels=LABELS
        )
        for key, proof in sorted(self._read().items()):
            ages.add_metric([key.namespace, key.name], self._clock() - proof.at)
            times.add_metric([key.namespace, key.name], proof.seconds)
        yield ages
        yield times
