"""Updates by what is free: real pods on a real scheduler, with pretended GPUs and a pretended server."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.client_pod import run_client
from support.install import operator_image
from support.llm import apply, condition, get_llm, pods_of, wait_for, wait_ready
from support.pretended import (
    AGAIN,
    ANOTHER_VERSION,
    MISSING_VERSION,
    offer_gpus,
    pretended_gpus,
    pretended_llm,
)

pytestmark = pytest.mark.e2e
NAME = "updated"
LOAD_SECONDS = 3
SLACK_SECONDS = 20
"""For a pod to end, be scheduled and be found generating, beside its load."""


@pytest.fixture(scope="module", autouse=True)
def _gpus(cluster: str) -> Iterator[None]:
    with pretended_gpus(1):
        yield


@pytest.fixture(autouse=True)
def _gone_afterwards(namespace: str) -> Iterator[None]:
    yield
    kubectl("-n", namespace, "delete", "llm", NAME, "--ignore-not-found", timeout=180)
    wait_until("its pods are gone", 120, lambda: not kubectl_json("-n", namespace, "get", "pods")["items"])


def edited(namespace: str, number: int, **spec: Any) -> dict[str, Any]:
    return pretended_llm(NAME, namespace, engine={"maxNumSeqs": 8 + number}, **spec)


def serve(namespace: str, **spec: Any) -> None:
    apply(edited(namespace, 0, **spec))
    wait_ready(namespace, NAME)


def update(namespace: str, number: int, **spec: Any) -> list[tuple[str, str]]:
    """Edit, and wait until the new pods serve; each reason of Progressing that was seen, with its message."""
    apply(edited(namespace, number, **spec))
    return watch_until_ready(namespace)


def watch_until_ready(namespace: str, seconds: float = 180) -> list[tuple[str, str]]:
    said: dict[str, str] = {}

    def is_ready() -> bool:
        llm = get_llm(namespace, NAME)
        if llm["status"].get("observedGeneration") != llm["metadata"]["generation"]:
            return False
        progressing = condition(llm, "Progressing")
        said.setdefault(progressing["reason"], progressing["message"])
        return bool(condition(llm, "Ready")["status"] == "True")

    wait_until(f"{NAME} is ready", seconds, is_ready, every=0.2)
    return list(said.items())


def asked(namespace: str, seconds: int, work: Callable[[], object]) -> dict[str, Any]:
    """What a client of the Service saw, for so many seconds, in which something is done."""
    url = f"http://{NAME}.{namespace}.svc:8000/v2/models/{NAME}/generate"
    with ThreadPoolExecutor(1) as pool:
        found: Future[str] = pool.submit(run_client, namespace, "gaps.py", url, str(seconds), seconds=seconds + 120)
        wait_until("the client asks", 60, lambda: is_asking(namespace))
        work()
    return dict(json.loads(found.result()))


def is_asking(namespace: str) -> bool:
    return "answered" in kubectl("-n", namespace, "logs", "client", "--ignore-errors")


def test_the_last_gpu_is_handed_over(namespace: str) -> None:
    serve(namespace)
    said: list[tuple[str, str]] = []
    seen = asked(namespace, 40, lambda: said.extend(update(namespace, 1)))
    print(f"one GPU: {seen}, {said}")
    message = dict(said)["ReplacingNoSpareGpu"]
    assert "the nearest has 0 of 1 nvidia.com/gpu free; nobody answers until the new pod generates, about" in message
    assert LOAD_SECONDS < seen["longest_gap"] < LOAD_SECONDS + SLACK_SECONDS
    assert get_llm(namespace, NAME)["status"].get("rollout") is None


def test_with_a_spare_gpu_nobody_notices(namespace: str) -> None:
    offer_gpus(2)
    try:
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
    finally:
        offer_gpus(1)


def test_a_place_that_the_scheduler_does_not_give_is_not_waited_for_for_ever(namespace: str) -> None:
    """By the anti-affinity of a pod that is no part of the estimate."""
    offer_gpus(2)
    try:
        serve(namespace, rollout={"surgeTimeoutSeconds": 8})
        keep_new_pods_off(namespace)
        said = dict(update(namespace, 1, rollout={"surgeTimeoutSeconds": 8}))
        print(f"never placed: {said}")
        assert "within 8 s (spec.rollout.surgeTimeoutSeconds)" in said["SurgeTimedOut"]
    finally:
        offer_gpus(1)


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


def test_the_node_has_the_new_image_before_the_old_pod_goes(namespace: str) -> None:
    serve(namespace)
    said = dict(update(namespace, 0, runtime={"version": ANOTHER_VERSION}))
    print(f"another image: {said}")
    assert "before an old pod goes, " in said["PreparingNode"]
    assert f"gets what the new one needs: {AGAIN.name}" in said["PreparingNode"]
    assert "ReplacingNoSpareGpu" in said
    wait_until("its Job is gone", 20, lambda: not kubectl_json("-n", namespace, "get", "jobs")["items"])


def test_an_image_that_is_not_there_takes_no_pod_away(namespace: str) -> None:
    serve(namespace)
    (before,) = pods_of(namespace, NAME)
    apply(edited(namespace, 0, runtime={"version": MISSING_VERSION}))
    wait_for(namespace, NAME, "is held", 60, lambda x: condition(x, "Progressing").get("reason") == "ImagePullFailed")
    time.sleep(15)
    message = condition(get_llm(namespace, NAME), "Ready")["message"]
    print(f"an image that is not there: {message}")
    assert "spec.runtime" in message
    assert "what was accepted before keeps running" in message
    (after,) = pods_of(namespace, NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["ready"]
    apply(edited(namespace, 0))
    watch_until_ready(namespace)
    (after,) = pods_of(namespace, NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not kubectl_json("-n", namespace, "get", "jobs")["items"]


def test_the_last_pod_ends_its_requests_first(namespace: str) -> None:
    waits = {"rollout": {"waitForIdleSeconds": 60}}
    serve(namespace, **waits)
    url = stream_url(pods_of(namespace, NAME)[0])
    said: list[tuple[str, str]] = []
    found = streamed(namespace, 500, [url], lambda: said.extend(update(namespace, 1, **waits)))
    print(f"a pod with a request: {found}, {said}")
    assert "has requests, and nobody else would answer" in dict(said)["WaitingForIdle"]
    assert found[url] == {"tokens": 500, "ended_by": "length"}


def test_fewer_pods_begin_with_those_that_have_no_request(namespace: str) -> None:
    offer_gpus(3)
    try:
        serve(namespace, replicas=3)
        pods = pods_of(namespace, NAME)
        busy, idle = pods[1:], pods[0]
        found = streamed(namespace, 500, [stream_url(pod) for pod in busy], lambda: scale(namespace, 2))
        print(f"of three pods two have requests: {found}")
        left = {pod["metadata"]["uid"] for pod in pods_of(namespace, NAME)}
        assert left == {pod["metadata"]["uid"] for pod in busy}, idle["metadata"]["name"]
        assert [each["ended_by"] for each in found.values()] == ["length", "length"]
    finally:
        offer_gpus(1)


def scale(namespace: str, replicas: int) -> None:
    kubectl("-n", namespace, "scale", "llm", NAME, f"--replicas={replicas}")
    wait_until(f"{replicas} pods", 60, lambda: len(pods_of(namespace, NAME)) == replicas)


def stream_url(pod: dict[str, Any]) -> str:
    return f"http://{pod['status']['podIP']}:8000/v2/models/{NAME}/generate_stream"


def streamed(namespace: str, tokens: int, urls: list[str], work: Callable[[], object]) -> dict[str, Any]:
    """What became of long streams in which something is done."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(run_client, namespace, "long_streams.py", str(tokens), *urls, seconds=180)
        wait_until("the streams flow", 60, lambda: is_asking(namespace))
        work()
        return dict(json.loads(found.result()))


def test_what_never_generates_goes_back(namespace: str) -> None:
    offer_gpus(2)
    try:
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
    finally:
        offer_gpus(1)


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


def test_a_quota_that_allows_no_second_pod_ends_the_surge(namespace: str) -> None:
    offer_gpus(2)
    try:
        serve(namespace)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one", "namespace": namespace},
                 "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}  # fmt: skip
        kubectl("apply", "-f", "-", stdin=json.dumps(quota))
        said = dict(update(namespace, 1))
        print(f"with a quota of one GPU: {said}")
        assert "exceeded quota" in said["SurgeRefused"]
    finally:
        offer_gpus(1)


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
    serve(namespace)
    times = []
    for number in range(10):
        began = time.monotonic()
        update(namespace, number + 1)
        times.append(round(time.monotonic() - began, 1))
    print(f"ten updates of the last GPU: {times} s")
    assert max(times) < LOAD_SECONDS + SLACK_SECONDS
