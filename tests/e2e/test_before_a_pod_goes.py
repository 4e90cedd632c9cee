"""What is done before a pod goes: its node gets the new image, its requests end, of several the idle one goes."""

import time
from functools import partial
from typing import Any, Final

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.client_pod import run_client_beside
from support.llm import apply, condition, get_llm, pods_of, wait_for
from support.pretended import AGAIN, ANOTHER_VERSION, MISSING_VERSION, offer_gpus
from support.updates import NAME, edited, serve, update, watch_until_ready

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_gpu", "nothing_left")]
IDLE_SECONDS: Final = 90
TOKENS: Final = "500"
"""At 20 ms each."""


def serving(namespace: str) -> list[dict[str, Any]]:
    """Without those of Jobs."""
    return [
        pod for pod in pods_of(namespace, NAME) if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "triton-vllm"
    ]


def test_the_node_has_the_new_image_before_the_old_pod_goes(namespace: str) -> None:
    serve(namespace)
    said = dict(update(namespace, 0, runtime={"version": ANOTHER_VERSION}))
    print(f"another image: {said}")
    assert "before an old pod goes, " in said["PreparingNode"]
    assert f"gets what the new one needs: {AGAIN.name}" in said["PreparingNode"]
    assert "ReplacingNoSpareGpu" in said
    wait_until("its Job is gone", 20, lambda: not kubectl_json("-n", namespace, "get", "jobs")["items"])


MISSING_CLAIM: Final = {"cache": {"persistentVolumeClaim": {"claimName": "missing"}}}


@pytest.mark.parametrize(
    ("missing", "reason", "says"),
    [
        ({"runtime": {"version": MISSING_VERSION}}, "ImagePullFailed", "spec.runtime"),
        (MISSING_CLAIM, "Unschedulable", 'persistentvolumeclaim "missing" not found'),
    ],
    ids=["image", "claim"],
)
def test_what_is_not_there_takes_no_pod_away(namespace: str, missing: dict[str, Any], reason: str, says: str) -> None:
    serve(namespace)
    (before,) = serving(namespace)
    apply(edited(namespace, 0, **missing))
    wait_for(namespace, NAME, "is held", 60, lambda x: condition(x, "Progressing").get("reason") == reason)
    time.sleep(15)
    message = condition(get_llm(namespace, NAME), "Ready")["message"]
    print(f"what is not there: {message}")
    assert says in message
    assert "what was accepted before keeps running" in message
    (after,) = serving(namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["ready"]
    apply(edited(namespace, 0))
    watch_until_ready(namespace)
    (after,) = serving(namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not kubectl_json("-n", namespace, "get", "jobs")["items"]


def test_the_last_pod_ends_its_requests_first(namespace: str) -> None:
    waits = {"rollout": {"waitForIdleSeconds": IDLE_SECONDS}}
    serve(namespace, **waits)
    (old,) = serving(namespace)
    began = time.monotonic()

    def work() -> None:
        apply(edited(namespace, 1, **waits))
        held = "is held"
        wait_for(namespace, NAME, held, 20, lambda x: condition(x, "Progressing").get("reason") == "WaitingForIdle")
        time.sleep(4)
        assert [pod["metadata"]["uid"] for pod in serving(namespace)] == [old["metadata"]["uid"]]
        message = condition(get_llm(namespace, NAME), "Progressing")["message"]
        assert "has requests, and nobody else would answer" in message
        watch_until_ready(namespace)

    url = stream_url(old)
    found = run_client_beside(namespace, work, "long_streams.py", TOKENS, url, seconds=180)
    took = time.monotonic() - began
    print(f"a pod with a request: {found}, updated after {took:.0f} s")
    assert found[url] == {"tokens": int(TOKENS), "ended_by": "length"}
    assert took < IDLE_SECONDS, "it goes once it has none"


def test_fewer_pods_begin_with_those_that_have_no_request(namespace: str) -> None:
    offer_gpus(3)
    try:
        serve(namespace, replicas=3)
        pods = serving(namespace)
        busy, idle = pods[1:], pods[0]
        urls = [stream_url(pod) for pod in busy]
        work = partial(scale, namespace, 2)
        found = run_client_beside(namespace, work, "long_streams.py", TOKENS, *urls, seconds=180)
        print(f"of three pods two have requests: {found}")
        left = {pod["metadata"]["uid"] for pod in serving(namespace)}
        assert left == {pod["metadata"]["uid"] for pod in busy}, idle["metadata"]["name"]
        assert [each["ended_by"] for each in found.values()] == ["length", "length"]
    finally:
        offer_gpus(1)


def scale(namespace: str, replicas: int) -> None:
    kubectl("-n", namespace, "scale", "llm", NAME, f"--replicas={replicas}")
    wait_until(f"{replicas} pods", 60, lambda: len(serving(namespace)) == replicas)


def stream_url(pod: dict[str, Any]) -> str:
    return f"http://{pod['status']['podIP']}:8000/v2/models/{NAME}/generate_stream"
