"""A dead pod is replaced once, wherever the operator is killed meanwhile."""

import asyncio
import copy
from typing import Any

import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, serving, unavailable
from fault.test_faults import WEB, Operator, new_cluster, started
from triton_vllm_operator.api import names
from triton_vllm_operator.health.verdict import Outcome
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import DEPLOYMENT, LLM_DEPLOYMENT, POD

DEAD = "containerd://1: Error generating stream: EngineCore encountered an issue"


def pod_of(api: FakeApi, name: str, dead: bool) -> dict[str, Any]:
    (deployment,) = api.of_kind(DEPLOYMENT)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    gate = {"type": names.READINESS_GATE, "status": "False", "reason": "EngineDead", "message": DEAD}
    conditions = [gate, {"type": "Ready", "status": "False"}] if dead else []
    state = {"running": {"startedAt": "2026-11-23T00:00:00Z"}}
    status = {"name": names.CONTAINER, "containerID": "containerd://1", "state": state}
    owner = {"kind": "ReplicaSet", "name": "web-7d4b9", "uid": "2", "controller": True}
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions, "containerStatuses": [status]},
    }


async def with_dead_pods(api: FakeApi, operator: Operator, *pods: str) -> None:
    await operator.settle(api)
    api.writes.clear()
    for pod in pods:
        api.put(POD, pod_of(api, pod, dead=True))


async def settle(api: FakeApi, operator: Operator) -> None:
    """Until nothing is left to do, also about what the probes find."""
    try:
        await operator.settle(api)
        await asyncio.sleep(0.02)
        await operator.settle(api)
    finally:
        await operator.probes.stop()


def replaced_in_status(api: FakeApi) -> list[str]:
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    return [each["name"] for each in body["status"].get("recovery", {}).get("replaced", [])]


async def test_the_status_says_it_and_then_the_pod_is_deleted() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a")
        await settle(api, operator)
    last = api.writes.index("delete Pod web-a")
    assert api.writes[last - 1] == "apply LLMDeployment web status"
    assert replaced_in_status(api) == ["web-a"]
    assert b'replacements_total{reason="EngineDead"} 1.0' in operator.metrics.render()


@pytest.mark.parametrize("broken", ["PATCH", "DELETE", "after DELETE"])
async def test_killed_in_the_middle_it_is_replaced_once(broken: str) -> None:
    api = new_cluster()
    lost: list[str] = []

    def die(method: str, path: str) -> web.Response | None:
        if method != broken.removeprefix("after ") or not path.endswith(("/web/status", "/pods/web-a")):
            return None
        if broken.startswith("after ") and not lost:
            # It is done, and nobody hears of it.
            lost.append(path)
            api.writes.append("delete Pod web-a")
            api.remove(POD, "web-a")
        return unavailable()

    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a", "web-b")
        api.fault = die
        with pytest.raises(ApiError):
            await settle(api, operator)
        api.fault = lambda *_: None
        again = await started(client, Outcome.ENGINE_DEAD)
        await settle(api, again)
    assert api.writes.count("delete Pod web-a") == 1
    assert "delete Pod web-b" not in api.writes, "one at a time"
    assert replaced_in_status(api) == ["web-a"]


async def test_a_verdict_of_an_earlier_process_deletes_nothing_before_it_is_confirmed() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client, Outcome.GENERATED)
        await with_dead_pods(api, operator, "web-a")
        await settle(api, operator)
    assert "delete Pod web-a" not in api.writes
    assert replaced_in_status(api) == []


@pytest.mark.parametrize("status", [404, 409])
async def test_a_pod_is_not_deleted_whose_status_could_not_be_written(status: int) -> None:
    api = new_cluster()

    def refuse(method: str, path: str) -> web.Response | None:
        return web.Response(status=status, text="{}") if method == "PATCH" and path.endswith("/web/status") else None

    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a")
        api.fault = refuse
        await settle(api, operator)
    assert "delete Pod web-a" not in api.writes


async def test_a_cluster_whose_crd_drops_the_status_replaces_nothing() -> None:
    """An earlier CRD keeps nothing of what was replaced: there would be no budget."""
    api = new_cluster()

    def drop(body: dict[str, Any]) -> None:
        body.get("status", {}).pop("recovery", None)

    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a")
        api.rewrite = drop
        await settle(api, operator)
    assert "apply LLMDeployment web status" in api.writes
    assert "delete Pod web-a" not in api.writes


async def test_until_the_pod_has_gone_it_is_deleted_no_second_time() -> None:
    api = new_cluster()
    deleted: list[dict[str, Any]] = []

    def keep(method: str, path: str) -> web.Response | None:
        if method != "DELETE":
            return None
        body = copy.deepcopy(api.objects[POD, "ns", path.rpartition("/")[2]])
        body["metadata"] |= {"deletionTimestamp": "2026-11-23T00:00:05Z", "resourceVersion": "9000"}
        deleted.append(body)
        return web.json_response(body)

    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a")
        api.fault = keep
        await settle(api, operator)
        for _ in range(3):
            await operator.reconciler.reconcile(WEB)
    assert len(deleted) == 1


async def test_report_deletes_nothing() -> None:
    api = new_cluster(recovery={"policy": "Report"})
    async with serving(api) as client:
        operator = await started(client, Outcome.ENGINE_DEAD)
        await with_dead_pods(api, operator, "web-a")
        await settle(api, operator)
    assert not [write for write in api.writes if write.startswith("delete")]
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    degraded = next(c for c in body["status"]["conditions"] if c["type"] == "Degraded")
    assert "to replace it: kubectl delete pod web-a" in degraded["message"]
