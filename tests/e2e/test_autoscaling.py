"""An HPA on a real metrics API owns the replicas of an LLMDeployment, and the operator follows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from cluster.kubectl import kubectl_json, wait_until
from cluster.paths import REPOSITORY
from support.client_pod import run_client_beside
from support.llm import apply, get_llm, pods_of, wait_ready
from support.metrics_api import metrics_api
from support.pretended import pretended_gpus, pretended_llm

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME: Final = "scaled"
SAMPLES: Final = REPOSITORY / "samples/scaling"
RULES: Final = REPOSITORY / "charts/triton-vllm-operator/files/rules.yaml"
MOST: Final = 3
TARGET: Final = 2
"""Requests for each pod."""
STREAMS: Final = 6
TOKENS: Final = 5000
"""Of each, at 20 ms: the HPA looks every 15 s, and a pod loads for 3 s."""


@pytest.fixture(scope="module", autouse=True)
def _gpus(cluster: str) -> Iterator[None]:
    with pretended_gpus(MOST):
        yield


def make_hpa(namespace: str) -> dict[str, Any]:
    """The sample, for fewer requests and without its long rest before pods go."""
    hpa: dict[str, Any] = yaml.safe_load((SAMPLES / "hpa.yaml").read_text())
    hpa["metadata"] = {"name": NAME, "namespace": namespace}
    spec = hpa["spec"]
    spec["scaleTargetRef"]["name"] = NAME
    spec["maxReplicas"] = MOST
    (metric,) = spec["metrics"]
    metric["external"]["metric"]["selector"]["matchLabels"]["llmdeployment"] = NAME
    metric["external"]["target"]["averageValue"] = str(TARGET)
    spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0
    return hpa


def replicas(namespace: str) -> int:
    return int(get_llm(namespace, NAME)["spec"].get("replicas", 1))


def test_an_hpa_owns_the_replicas(namespace: str, tmp_path: Path) -> None:
    apply(pretended_llm(NAME, namespace))
    wait_ready(namespace, NAME)
    (pod,) = pods_of(namespace, NAME)
    url = f"http://{pod['status']['podIP']}:8000/v2/models/{NAME}/generate_stream"
    seen: list[int] = []

    def is_scaled_to(count: int) -> bool:
        now = replicas(namespace)
        if seen[-1:] != [now]:
            seen.append(now)
        return now == count

    def scale_up_and_down() -> None:
        apply(make_hpa(namespace))
        wait_until("there are more", 120, lambda: is_scaled_to(MOST))
        wait_ready(namespace, NAME, 60)
        wait_until("there is one again", 240, lambda: is_scaled_to(1))
        wait_ready(namespace, NAME, 120)

    words = ("long_streams.py", str(TOKENS), *[url] * STREAMS)
    with metrics_api(tmp_path, SAMPLES / "prometheus-adapter.yaml", RULES):
        ended = run_client_beside(namespace, scale_up_and_down, *words, seconds=400)
        hpa = kubectl_json("-n", namespace, "get", "hpa", NAME)
    print(f"replicas: {seen}; {hpa['status']['conditions'][0]['message']}")
    assert seen == sorted(seen[: seen.index(MOST) + 1]) + sorted(seen[seen.index(MOST) + 1 :], reverse=True)
    assert [each["ended_by"] for each in ended.values()] == ["length"]
    llm = kubectl_json("-n", namespace, "get", "llm", NAME, "--show-managed-fields")
    assert writers_of_replicas(llm) == {"kube-controller-manager"}


def writers_of_replicas(llm: dict[str, Any]) -> set[str]:
    entries = llm["metadata"]["managedFields"]
    return {each["manager"] for each in entries if "f:replicas" in each.get("fieldsV1", {}).get("f:spec", {})}
