"""Metrics of each LLMDeployment: a few series for each that there is, and none for what is gone."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.standing import Standing

_HOUR: Final = 3600.0
LABELS: Final = ("namespace", "name")
_GAUGES: Final[tuple[tuple[str, str, Callable[[Standing], float]], ...]] = (
    ("ready", "1 if all pods of the spec generate.", lambda standing: standing.is_ready),
    ("available", "1 if any pod generates, of whatever revision.", lambda standing: standing.is_available),
    ("wanted_pods", "Pods that the spec wants.", lambda standing: standing.wanted),
    ("serving_pods", "Pods that generate, also those of an earlier revision.", lambda standing: standing.serving),
    ("planned_kv_tokens", "Tokens of the KV cache as planned; 0 without a plan.", lambda standing: standing.planned),
    ("measured_kv_tokens", "Tokens of the KV cache as measured; 0 before.", lambda standing: standing.measured),
)


class Standings(Collector):
    """What reconciles found last. A restart finds it again, as it reconciles all."""

    def __init__(self, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._prefix = f"{prefix}_llmdeployment"
        self._found: dict[Key, Standing] = {}

    def note(self, key: Key, standing: Standing | None) -> None:
        """How one stands now; None if it is gone."""
        if standing is None:
            self._found.pop(key, None)
        else:
            self._found[key] = standing

    def collect(self) -> Iterable[Metric]:
        """For a scrape."""
        found = sorted(self._found.items())
        for name, text, read in _GAUGES:
            family = GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=LABELS)
            for key, standing in found:
                family.add_metric([key.namespace, key.name], read(standing))
            yield family
        yield self._replaced(found)
        reasons = GaugeMetricFamily(
            f"{self._prefix}_not_ready", "1 for the reason why it is not ready.", labels=(*LABELS, "reason")
        )
        for key, standing in found:
            if not standing.is_ready:
                reasons.add_metric([key.namespace, key.name, standing.reason], 1)
        yield reasons

    def _replaced(self, found: list[tuple[Key, Standing]]) -> Metric:
        """As of now: of one that is well nothing is reconciled any more."""
        family = GaugeMetricFamily(
            f"{self._prefix}_replaced_pods", "Pods that were replaced within the last hour.", labels=LABELS
        )
        for key, standing in found:
            recent = sum(at > self._clock() - _HOUR for at in standing.replaced_at)
            family.add_metric([key.namespace, key.name], recent)
        return family
