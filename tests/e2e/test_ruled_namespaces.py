"""Namespaces with quotas, LimitRanges and Pod Security at restricted: served, or refused in Kubernetes' own words."""

import contextlib
import time
from typing import Any

import pytest

from support.forward import forwarded
from support.generate import ask
from support.hub_pod import REPOSITORY
from support.llm import apply, condition, get_llm, is_scaled_to_zero, make_llm, wait_for, wait_ready
from support.rules import limit_range, resource_quota, ruled_namespace

pytestmark = pytest.mark.e2e

STRICT_QUOTA = resource_quota(
    requests__cpu="3",
    limits__cpu="4",
    requests__memory="12Gi",
    limits__memory="12Gi",
    requests__ephemeral_storage="4Gi",
    limits__ephemeral_storage="4Gi",
    pods="3",
)
STRICT_RANGE = limit_range(
    maxLimitRequestRatio={"cpu": "2", "memory": "1"},
    min={"cpu": "100m", "memory": "64Mi"},
    max={"cpu": "2", "memory": "8Gi"},
)
FULL = {
    "requests": {"cpu": "1", "memory": "5Gi", "ephemeral-storage": "1Gi"},
    "limits": {"cpu": "2", "memory": "5Gi", "ephemeral-storage": "1Gi"},
}


def hub_model(repository: str = REPOSITORY) -> dict[str, Any]:
    """A model that a Job looks up. No hub of this address is there: the Job's pod is what is looked at."""
    return {"huggingFace": {"repository": repository, "endpoint": "http://127.0.0.1:9"}}


def test_a_strict_namespace_is_served(cluster: str) -> None:
    with ruled_namespace(STRICT_QUOTA, STRICT_RANGE) as namespace:
        apply(make_llm("web", namespace, resources=FULL))
        apply(make_llm("hub", namespace, model=hub_model(), replicas=0))
        # The Job's pod runs: it says of the hub what it found, and not of the namespace.
        wait_for(namespace, "hub", "has asked the hub", 60, lambda x: "127.0.0.1:9" in _message(x))
        wait_ready(namespace, "web")
        with forwarded(namespace, "svc/web", 8000) as port:
            assert "Paris" in ask(port, "web", "What is the capital of France?")


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # rule, resources of the spec, what is said of the serving pods, and of the Job's
    "limits that a quota counts": (
        resource_quota(limits__cpu="8"),
        {"requests": {"cpu": "300m"}},
        "failed quota: team: must specify limits.cpu for: prepare,triton; write spec.resources.limits.cpu",
        "",
    ),
    "a quota of memory": (
        resource_quota(requests__memory="1Gi"),
        {"requests": {"memory": "2Gi"}},
        "exceeded quota: team, requested: requests.memory=2Gi",
        "",
    ),
    "no room at all": (resource_quota(pods="0"), {}, "exceeded quota: team, requested: pods=1", "exceeded quota: team"),
    "a quota of cpu that the fetch exceeds": (
        resource_quota(requests__cpu="100m"),
        {"requests": {"cpu": "50m"}},
        "",
        "exceeded quota: team, requested: requests.cpu=250m",
    ),
    "a largest cpu": (
        limit_range(max={"cpu": "100m"}),
        {"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}},
        "maximum cpu usage per Container is 100m, but limit is 200m; the LimitRange of the namespace says so: mend "
        "spec.resources",
        "maximum cpu usage per Container is 100m, but limit is 250m; the LimitRange of the namespace says so: mend "
        "spec.fetch.resources",
    ),
    "a least memory": (
        limit_range(min={"memory": "6Gi"}),
        {"requests": {"memory": "5Gi"}, "limits": {"memory": "7Gi"}},
        "minimum memory usage per Container is 6Gi, but request is 5Gi",
        "minimum memory usage per Container is 6Gi",
    ),
    "a ratio": (
        limit_range(maxLimitRequestRatio={"cpu": "2"}),
        {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
        "cpu max limit to request ratio per Container is 2, but provided ratio is 10",
        "",
    ),
}


def test_a_refusal_is_said_in_kubernetes_own_words_within_20_seconds(cluster: str) -> None:
    with contextlib.ExitStack() as stack:
        places = {name: stack.enter_context(ruled_namespace(rule)) for name, (rule, *_) in REFUSALS.items()}
        for name, (_, resources, serving, fetching) in REFUSALS.items():
            if serving:
                apply(make_llm("web", places[name], resources=resources))
            if fetching:
                apply(make_llm("hub", places[name], model=hub_model(), resources=resources, replicas=0))
        time.sleep(18)
        said = {
            (name, llm): _message(get_llm(places[name], llm))
            for name, (_, _, *wanted) in REFUSALS.items()
            for llm, text in zip(("web", "hub"), wanted, strict=True)
            if text
        }
    wrong = {
        place: text for place, text in said.items() if REFUSALS[place[0]][2 if place[1] == "web" else 3] not in text
    }
    assert wrong == {}


@pytest.mark.full
def test_a_fetch_of_its_own_resources_passes_where_the_default_does_not(cluster: str) -> None:
    small = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "100m", "memory": "256Mi"}}
    with ruled_namespace(limit_range(max={"cpu": "150m"})) as namespace:
        apply(make_llm("hub", namespace, model=hub_model(), replicas=0))
        wait_for(namespace, "hub", "is refused", 30, lambda x: condition(x, "Ready").get("reason") == "PodsRefused")
        apply(make_llm("hub", namespace, model=hub_model(), replicas=0, fetch={"resources": small}))
        wait_for(namespace, "hub", "has asked the hub", 90, lambda x: "127.0.0.1:9" in _message(x))


@pytest.mark.full
def test_a_default_of_the_namespace_is_enough(cluster: str) -> None:
    defaults = limit_range(default={"cpu": "500m", "memory": "1Gi"}, defaultRequest={"cpu": "100m", "memory": "256Mi"})
    with ruled_namespace(resource_quota(limits__cpu="4", limits__memory="8Gi"), defaults) as namespace:
        apply(make_llm("none", namespace, resources=None, replicas=0))
        wait_for(namespace, "none", "is settled", 30, is_scaled_to_zero)
        apply(make_llm("one", namespace, resources=None))
        wait_for(namespace, "one", "has a pod", 30, lambda x: x.get("status", {}).get("replicas") == 1)


def _message(llm: dict[str, Any]) -> str:
    return str(condition(llm, "Ready").get("message", ""))
