"""Pods that end in vain: first it is said, then they go, wherever the operator is killed meanwhile."""

import copy
from typing import Any

import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, serving, unavailable
from fault.test_faults import WEB, new_cluster, started
from fault.test_recovery_faults import pod_of
from triton_vllm_operator.api import names
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import DEPLOYMENT, LLM_DEPLOYMENT, POD

HEADS = "ValueError: Total number of attention heads (9) must be divisible by tensor parallel size (2)."


def put_ended(api: FakeApi) -> None:
    """A pod whose container has ended five times."""
    pod = pod_of(api, "web-a", dead=False)
    end = {"reason": "Error", "exitCode": 1, "message": HEADS, "containerID": "containerd://1"}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": names.CONTAINER, "state": waiting, "lastState": {"terminated": end}, "restartCount": 4}
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T00:00:00Z"}
    ]
    pod["status"]["containerStatuses"] = [status]
    api.put(POD, pod)


def replicas(api: FakeApi) -> int:
    (deployment,) = api.of_kind(DEPLOYMENT)
    return int(deployment["spec"]["replicas"])


async def test_it_is_said_and_then_done_without_another_event() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        put_ended(api)
        api.writes.clear()
        await operator.settle(api)
        assert replicas(api) == 0
        assert api.writes[:2] == ["apply LLMDeployment web status", "apply Deployment web"]
        api.remove(POD, "web-a")
        await operator.settle(api)
        api.writes.clear()
        await operator.reconciler.reconcile(WEB)
        again = await started(client)
        await again.settle(api)
    assert (replicas(api), api.writes) == (0, [])


@pytest.mark.parametrize("broken", ["/web/status", "/deployments/web"])
async def test_killed_in_the_middle_it_comes_to_the_same(broken: str) -> None:
    api = new_cluster()

    def die(method: str, path: str) -> web.Response | None:
        return unavailable() if method == "PATCH" and path.endswith(broken) else None

    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        put_ended(api)
        api.fault = die
        with pytest.raises(ApiError):
            await operator.settle(api)
        assert replicas(api) == 1
        api.fault = lambda *_: None
        again = await started(client)
        await again.settle(api)
    assert replicas(api) == 0


async def test_a_cluster_whose_crd_drops_it_stops_nothing_and_is_not_written_to_for_ever() -> None:
    api = new_cluster()

    def drop(body: dict[str, Any]) -> None:
        body.get("status", {}).pop("stopped", None)

    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        put_ended(api)
        api.rewrite = drop
        before = copy.deepcopy(api.of_kind(LLM_DEPLOYMENT))
        pause = await operator.reconciler.reconcile(WEB)
        operator.see(api)
        pause = await operator.reconciler.reconcile(WEB)
    assert before
    assert replicas(api) == 1
    assert pause is not None
    assert pause >= 60
