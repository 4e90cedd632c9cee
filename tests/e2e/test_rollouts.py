"""Updates by what is free: real pods on a real scheduler, with pretended GPUs and a pretended server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.install import operator_image
from support.llm import apply, condition, get_llm, pods_of, wait_for
from support.pretended import offer_gpus, pretended_llm
from support.updates import NAME, asked, edited, serve, update, watch_until_ready

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_gpu", "nothing_left")]
LOAD_SECONDS = 3
SLACK_SECONDS = 20
"""For a pod to end, be scheduled and be found generating, beside its load."""


@pytest.fixture
def two_gpus() -> Iterator[None]:
    offer_gpus(2)
    yield
    offer_gpus(1)


def test_the_last_gpu_is_handed_over(namespace: str) -> None:
    serve(namespace)
    said: list[tuple[str, str]] = []
    seen = asked(namespace, 40, lambda: said.extend(update(namespace, 1)))
    print(f"one GPU: {seen}, {said}")
    message = dict(said)["ReplacingNoSpareGpu"]
    assert "the nearest has 0 of 1 nvidia.com/gpu free; nobody answers until the new pod generates, about" in message
    assert LOAD_SECONDS < seen["longest_gap"] < LOAD_SECONDS + SLACK_SECONDS
    assert get_llm(namespace, NAME)["status"].get("rollout") is None


@pytest.mark.usefixtures("two_gpus")
def test_with_a_spare_gpu_nobody_notices(namespace: str) -> None:
    serve(namespace)
    said: list[tuple[str, str]] = []
    seen = asked(namespace, 40, lambda: said.extend(update(namespace, 1)))
    print(f"two GPUs: {seen}, {said}")
    assert "there is room for 1 nvidia.com/gpu" in dict(said)["SurgeFits"]
    assert seen["errors"] == []
    # What surged last does so again, unless it is told otherwise: the second GPU is gone by now.
    offer_gpus(1)
    kubectl("-n", namespace, "rollout", "restart", f"deployment/{NAME}")
    kubectl("-n", namespace, "rollout", "status", f"deployment/{NAME}", "--timeout=120s", timeout=130)


@pytest.mark.usefixtures("two_gpus")
def test_a_place_that_the_scheduler_does_not_give_is_not_waited_for_for_ever(namespace: str) -> None:
    """By the anti-affinity of a pod that is no part of the estimate."""
    serve(namespace, rollout={"surgeTimeoutSeconds": 8})
    keep_new_pods_off(namespace)
    said = dict(update(namespace, 1, rollout={"surgeTimeoutSeconds": 8}))
    print(f"never placed: {said}")
    assert "within 8 s (spec.rollout.surgeTimeoutSeconds)" in said["SurgeTimedOut"]


def test_a_pod_waits_for_the_memory_of_its_gpu_and_says_so(namespace: str) -> None:
    apply(pretended_llm(NAME, namespace, engine={"extraArgs": {"seed": 125}}))
    said = dict(watch_until_ready(namespace))
    print(f"memory that is taken for a while: {said}")
    assert (
        "waits for GPU memory: GPU 0 has 79.2 GiB free, and the engine asks for 128.6 GiB"
        in said["WaitingForGpuMemory"]
    )
    (pod,) = pods_of(namespace, NAME)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.usefixtures("two_gpus")
def test_what_never_generates_goes_back(namespace: str) -> None:
    again = {"rollout": {"onFailure": "Rollback"}, "probe": {"startupDeadlineSeconds": 10, "periodSeconds": 2}}
    serve(namespace, **again)
    (first,) = pods_of(namespace, NAME)
    seen = asked(namespace, 40, lambda: fail_to_update(namespace, again))
    message = condition(get_llm(namespace, NAME), "Ready")["message"]
    print(f"rolled back: {seen}, {message}")
    assert seen["errors"] == []
    assert "which the spec asks for, did not generate" in message
    assert [pod["metadata"]["uid"] for pod in pods_of(namespace, NAME)] == [first["metadata"]["uid"]]
    assert get_llm(namespace, NAME)["spec"]["engine"] == {"extraArgs": {"seed": 99}}, "the spec is its owner's"


def fail_to_update(namespace: str, again: dict[str, Any]) -> None:
    """To an engine that loads for longer than it may."""
    apply(pretended_llm(NAME, namespace, engine={"extraArgs": {"seed": 99}}, **again))
    wait_for(namespace, NAME, "is rolled back", 60, lambda x: condition(x, "Ready").get("reason") == "RolledBack")


def test_while_it_is_paused_nothing_changes(namespace: str) -> None:
    serve(namespace)
    kubectl("-n", namespace, "annotate", "llm", NAME, "triton-vllm.dev/paused=true")
    before = kubectl_json("-n", namespace, "get", "deployment", NAME)["metadata"]["resourceVersion"]
    apply(edited(namespace, 1))
    apply(edited(namespace, 2))
    wait_for(namespace, NAME, "is paused", 20, lambda x: condition(x, "Ready").get("reason") == "Paused")
    time.sleep(5)
    assert kubectl_json("-n", namespace, "get", "deployment", NAME)["metadata"]["resourceVersion"] == before
    kubectl("-n", namespace, "annotate", "llm", NAME, "triton-vllm.dev/paused-")
    watch_until_ready(namespace)
    revisions = kubectl_json("-n", namespace, "get", "controllerrevisions")["items"]
    assert len(revisions) == 2, "the latest spec alone"


@pytest.mark.usefixtures("two_gpus")
def test_a_quota_that_allows_no_second_pod_ends_the_surge(namespace: str) -> None:
    serve(namespace)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one", "namespace": namespace},
             "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    said = dict(update(namespace, 1))
    print(f"with a quota of one GPU: {said}")
    assert "exceeded quota" in said["SurgeRefused"]


@pytest.mark.usefixtures("two_gpus")
def test_what_is_refused_in_any_place_takes_no_pod_away(namespace: str) -> None:
    serve(namespace)
    (before,) = pods_of(namespace, NAME)
    too_small = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": namespace},
                 "spec": {"limits": [{"type": "Container", "max": {"cpu": "1m", "memory": "1Mi"}}]}}  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(too_small))
    apply(edited(namespace, 1))
    wait_for(namespace, NAME, "is refused", 60, lambda x: condition(x, "Ready").get("reason") == "PodsRefused")
    time.sleep(10)
    print(f"with a LimitRange: {condition(get_llm(namespace, NAME), 'Ready')['message']}")
    (after,) = pods_of(namespace, NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    kubectl("-n", namespace, "delete", "limitrange", "small")
    watch_until_ready(namespace)


@pytest.mark.usefixtures("two_gpus")
def test_an_edit_while_the_new_pod_loads_takes_none_that_serves(namespace: str) -> None:
    serve(namespace)
    said: list[tuple[str, str]] = []

    def edit_twice() -> None:
        # This engine loads for longer than anybody waits.
        apply(pretended_llm(NAME, namespace, engine={"extraArgs": {"seed": 99}}))
        wait_until("a new pod loads", 60, lambda: len(_running(namespace)) == 2)
        said.extend(update(namespace, 2))

    seen = asked(namespace, 60, edit_twice)
    print(f"an edit after an edit: {seen}, {said}")
    assert seen["errors"] == []


@pytest.mark.usefixtures("two_gpus")
def test_fewer_are_wanted_amid_two_updates_and_the_pod_that_serves_stays(namespace: str) -> None:
    """Of three generations as large as one another Kubernetes itself would take the oldest first, which serves."""
    offer_gpus(3)
    serve(namespace)
    said: list[tuple[str, str]] = []

    def scale_amid_updates() -> None:
        # These engines load for longer than anybody waits.
        apply(pretended_llm(NAME, namespace, engine={"extraArgs": {"seed": 98}}))
        wait_until("a new pod loads", 60, lambda: len(_running(namespace)) == 2)
        apply(pretended_llm(NAME, namespace, engine={"extraArgs": {"seed": 99}}, replicas=2))
        wait_until("a third one loads", 60, lambda: len(_running(namespace)) == 3)
        kubectl("-n", namespace, "scale", "llm", NAME, "--replicas=1")
        wait_until("one goes that never served", 60, lambda: len(pods_of(namespace, NAME)) == 2)
        said.extend(update(namespace, 2, replicas=1))

    seen = asked(namespace, 90, scale_amid_updates)
    print(f"a scale-down amid updates: {seen}, {said}")
    assert seen["errors"] == []


def _running(namespace: str) -> list[dict[str, Any]]:
    return [pod for pod in pods_of(namespace, NAME) if pod["status"]["phase"] == "Running"]


def keep_new_pods_off(namespace: str) -> None:
    """Until the first pod is gone, no other may stand beside it on the node: of the estimate this is no part."""
    (pod,) = pods_of(namespace, NAME)
    own = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": NAME}},
        "topologyKey": "kubernetes.io/hostname",
    }
    jealous = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "jealous", "namespace": namespace, "ownerReferences": [owner_of(pod)]},
        "spec": {
            "nodeName": pod["spec"]["nodeName"],
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "jealous", "image": operator_image(), "command": ["sleep", "3600"]}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}},
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(jealous))


def owner_of(pod: dict[str, Any]) -> dict[str, Any]:
    """It goes with the pod."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


@pytest.mark.full
def test_the_last_gpu_is_handed_over_ten_times(namespace: str) -> None:
    began = time.monotonic()
    serve(namespace)
    start = time.monotonic() - began
    times = []
    for number in range(10):
        began = time.monotonic()
        update(namespace, number + 1)
        times.append(round(time.monotonic() - began, 1))
    print(f"ten updates of the last GPU: {times} s; a first start: {start:.1f} s")
    assert max(times) < start + SLACK_SECONDS, "the old pod's end and a start, as long as that takes on this machine"
