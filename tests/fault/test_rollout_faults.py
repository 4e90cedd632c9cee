"""Updates by what is free, where the API server is in the way."""

import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, serving
from fault.test_faults import WEB, Operator, new_cluster, serving_body, started
from support.nodes import H100, node_body
from triton_vllm_operator.api.names import READINESS_GATE
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.place_lister import PlaceLister
from triton_vllm_operator.kube.resources import DEPLOYMENT, JOB, LLM_DEPLOYMENT, NODE, POD, REVISION
from triton_vllm_operator.reconcile.reconciler import NotSettled

GPUS = {"accelerator": {"nvidiaGPU": {}}, "runtime": {"version": "26.08"}, "memory": {"policy": "Off"}}


async def served(api: FakeApi, operator: Operator) -> None:
    """One pod of the LLMDeployment holds the only GPU of the only node."""
    await operator.settle(api)
    api.put(NODE, {**node_body("a", H100, 1), "metadata": {"name": "a", "namespace": ""}})
    (revision,) = api.of_kind(REVISION)
    pod = serving_body(revision["metadata"]["name"].rsplit("-", 1)[-1])
    pod["spec"] = {
        "nodeName": "a",
        "containers": [{"name": "triton", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
    }
    api.put(POD, pod)
    await operator.settle(api)


async def generating(api: FakeApi, client: KubeClient, session: aiohttp.ClientSession) -> Operator:
    """The pod generates, and is asked how its engine runs."""
    operator = await started(client)
    operator.reconciler._inspector = Inspector(client, session)
    await served(api, operator)
    serve_now(api)
    await operator.settle(api)
    return operator


def edit(api: FakeApi, **spec: Any) -> None:
    body = api.objects[LLM_DEPLOYMENT, "ns", "web"]
    body["spec"] |= spec or {"engine": {"maxNumSeqs": 9}}
    body["metadata"]["generation"] += 1
    api.put(LLM_DEPLOYMENT, body)


def rollout(api: FakeApi) -> dict[str, Any]:
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    return dict(body["status"].get("rollout") or {})


def newest_revision(api: FakeApi) -> str:
    """Its name."""
    return str(max(api.of_kind(REVISION), key=lambda body: body["revision"])["metadata"]["name"])


def strategy(api: FakeApi) -> object:
    (body,) = api.of_kind(DEPLOYMENT)
    return body["spec"]["strategy"]["rollingUpdate"]["maxSurge"]


async def test_the_turn_is_said_before_the_deployment_takes_it() -> None:
    """An operator that is killed between the two finds why pods are replaced."""
    api = new_cluster(**GPUS)
    async with serving(api) as client:
        operator = await started(client)
        await served(api, operator)
        edit(api)
        seen: list[tuple[str, object]] = []

        def note(method: str, path: str) -> web.Response | None:
            if method == "PATCH" and "/deployments/" in path:
                seen.append((str(rollout(api).get("reason")), strategy(api)))
            return None

        api.fault = note
        await operator.settle(api)
    assert seen == [("ReplacingNoSpareGpu", 1)], "it still surges, and it is said that it will not"
    assert rollout(api)["way"] == "Replace"


async def test_a_rollback_is_said_before_the_pods_go_that_tell_why() -> None:
    """An operator that is killed between the two would find no reason, and deploy the same revision again."""
    api = new_cluster(rollout={"onFailure": "Rollback", "strategy": "Replace"})
    async with serving(api) as client, aiohttp.ClientSession() as session:
        operator = await generating(api, client, session)
        edit(api)
        await operator.settle(api)
        newest = newest_revision(api)
        late = serving_body(newest.rsplit("-", 1)[-1])
        placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T01:00:00Z"}
        late["status"] = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [placed]}
        api.put(POD, late)
        seen: list[object] = []

        def note(method: str, path: str) -> web.Response | None:
            if method == "PATCH" and "/deployments/" in path:
                (body,) = api.of_kind(LLM_DEPLOYMENT)
                seen.append(body["status"].get("rollback", {}).get("revision"))
            return None

        api.fault = note
        await operator.settle(api)
    assert seen == [newest]


async def test_what_may_not_be_listed_is_unknown_and_a_new_pod_is_tried() -> None:
    api = new_cluster(**GPUS)
    async with serving(api) as client:
        operator = await started(client)
        await served(api, operator)
        edit(api)
        refusal = web.Response(status=403, text=json.dumps({"message": "no"}), content_type="application/json")
        api.fault = lambda method, path: refusal if (method, path) == ("GET", "/api/v1/pods") else None
        await operator.settle(api)
    assert (rollout(api)["reason"], strategy(api)) == ("CapacityUnknown", 1)


async def test_an_edit_that_is_refused_again_and_again_is_said_once() -> None:
    api = new_cluster(**GPUS)
    async with serving(api) as client:
        operator = await started(client)
        await served(api, operator)
        edit(api)

        def refuse(method: str, path: str) -> web.Response | None:
            is_new = method == "PATCH" and "/deployments/" in path
            return web.Response(status=403, text=json.dumps({"message": "no"})) if is_new else None

        api.fault = refuse
        for _ in range(2):
            await _try(operator, api)
        api.writes.clear()
        for _ in range(3):
            await _try(operator, api)
    assert [write for write in api.writes if "LLMDeployment" in write] == []
    assert rollout(api) == {}


async def test_a_deployment_whose_revision_is_refused_stays() -> None:
    """Else it would go back and forth between two templates, and nobody would ever answer."""
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await served(api, operator)
        (revision,) = api.of_kind(REVISION)
        edit(api)
        known = revision["metadata"]["name"]
        api.fault = lambda method, path: (
            refusing("/controllerrevisions/")(method, path) if not path.endswith(known) else None
        )
        seen = []
        for _ in range(4):
            await _try(operator, api)
            (body,) = api.of_kind(DEPLOYMENT)
            seen.append(body["spec"]["template"]["metadata"]["labels"]["triton-vllm.dev/revision"])
    assert len(set(seen)) == 1
    assert seen[0] not in known
    (llm,) = api.of_kind(LLM_DEPLOYMENT)
    assert llm["status"]["conditions"][0]["reason"] == "RefusedByAPIServer"


async def test_that_a_rollout_is_over_is_said_once_the_deployment_is_left_as_it_should_be() -> None:
    """An operator that is killed between the two would leave it replacing: a restart of it would take what serves."""
    api = new_cluster(**GPUS)
    async with serving(api) as client, aiohttp.ClientSession() as session:
        operator = await generating(api, client, session)
        edit(api)
        await operator.settle(api)
        assert (rollout(api)["way"], strategy(api)) == ("Replace", 0)
        (pod,) = api.of_kind(POD)
        api.put(POD, {**pod, "metadata": serving_body(newest_revision(api).rsplit("-", 1)[-1])["metadata"]})
        seen: list[object] = []

        def note(method: str, path: str) -> web.Response | None:
            if method == "PATCH" and path.endswith("/status") and "/llmdeployments/" in path:
                seen.append(strategy(api))
            return None

        api.fault = note
        await operator.settle(api)
    assert (rollout(api), strategy(api), seen[-1]) == ({}, 1, 1)
    assert set(seen) == {1}


async def _try(operator: Operator, api: FakeApi) -> None:
    operator.see(api)
    try:
        await operator.work(WEB)
    except NotSettled:
        return


def refusing(part: str, method: str = "PATCH", status: int = 403) -> Any:
    """The API server takes nothing of such a path."""
    body = json.dumps({"message": "exceeded quota: count/jobs.batch"})

    def refuse(asked: str, path: str) -> web.Response | None:
        is_meant = asked == method and part in path
        return web.Response(status=status, text=body, content_type="application/json") if is_meant else None

    return refuse


def serve_now(api: FakeApi, ready: str = "True", since: str = "2026-11-22T23:00:00Z") -> None:
    """The pod generates since then, and its node runs it."""
    (pod,) = api.of_kind(POD)
    gate = {"type": READINESS_GATE, "status": "True", "reason": "Generates", "message": "containerd://1: it generated",
            "lastTransitionTime": since}  # fmt: skip
    container = {"name": "triton", "containerID": "containerd://1", "ready": True, "state": {"running": {}}}
    conditions = [{"type": "Ready", "status": ready}, gate]
    pod["status"] = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions,
                     "containerStatuses": [container]}  # fmt: skip
    api.put(POD, pod)


async def test_a_quota_that_takes_no_job_refuses_no_spec() -> None:
    """What only prepares a node is left out: the spec is accepted, and the old pod serves meanwhile."""
    api = new_cluster(**GPUS)
    async with serving(api) as client, aiohttp.ClientSession() as session:
        operator = await generating(api, client, session)
        edit(api, runtime={"version": "26.07"})
        api.fault = refusing("/jobs/")
        for _ in range(3):
            await _try(operator, api)
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    conditions = {each["type"]: each for each in body["status"]["conditions"]}
    assert conditions["Accepted"]["status"] == "True"
    assert conditions["Progressing"]["reason"] == "PreparingNode"
    assert api.of_kind(JOB) == []


@pytest.mark.parametrize("status", [403, 500], ids=["no right", "a webhook that fails"])
async def test_pods_that_take_no_annotation_are_scaled_down_all_the_same(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def loads(*_: object) -> dict[str, int | None]:
        return {"web-1-a": 3, "web-1-b": 0}

    monkeypatch.setattr(Inspector, "loads", loads)
    api = new_cluster(**GPUS, replicas=2)
    async with serving(api) as client, aiohttp.ClientSession() as session:
        operator = await started(client)
        operator.reconciler._inspector = Inspector(client, session)
        await served(api, operator)
        serve_now(api)
        (pod,) = api.of_kind(POD)
        api.put(POD, {**pod, "metadata": {**pod["metadata"], "name": "web-1-b", "uid": "q"}})
        await operator.settle(api)
        edit(api, replicas=1)
        api.fault = refusing("/pods/", status=status)
        for _ in range(2):
            await _try(operator, api)
    assert [code for _, path, code, _ in api.requests if path.endswith("pods")][-1] == status, "it was tried"
    (deployment,) = api.of_kind(DEPLOYMENT)
    assert deployment["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("since", "reason", "lists"),
    [("2026-11-22T23:00:00Z", "NodeNotReady", 1), ("2026-11-22T23:59:59Z", "Starting", 0)],
    ids=["it was ready", "it has just generated"],
)
async def test_the_node_of_a_pod_that_is_not_ready_is_looked_at(since: str, reason: str, lists: int) -> None:
    api = new_cluster(**GPUS)
    async with serving(api) as client, aiohttp.ClientSession() as session:
        operator = await started(client)
        operator.reconciler._inspector = Inspector(client, session)
        await served(api, operator)
        node = node_body("a", H100, 1)
        node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting."}]
        api.put(NODE, {**node, "metadata": {"name": "a", "namespace": ""}})
        api.requests.clear()
        serve_now(api, "False", since)
        await operator.settle(api)
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    ready = next(each for each in body["status"]["conditions"] if each["type"] == "Ready")
    assert ready["reason"] == reason
    assert len([request for request in api.requests if request[1] == "nodes"]) == lists


async def test_a_new_pod_is_asked_while_what_is_free_cannot_be_listed() -> None:
    """It becomes ready by its probes alone, and the old one is gone."""
    api = new_cluster(**GPUS)
    async with serving(api) as client:
        operator = await started(client)
        await served(api, operator)
        edit(api)
        await operator.settle(api)
        assert strategy(api) == 0
        loaded = serving_body(newest_revision(api).rsplit("-", 1)[-1])
        loaded["metadata"] |= {"name": "web-2", "uid": "uid-web-2"}
        container = {"name": "triton", "containerID": "containerd://1", "state": {"running": {}}}
        loaded["status"] = {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [container]}
        api.put(POD, loaded)
        operator.reconciler._places = PlaceLister(client)
        api.fault = lambda method, path: web.Response(status=503) if (method, path) == ("GET", "/api/v1/pods") else None
        operator.see(api)
        with pytest.raises(ApiError):
            await operator.work(WEB)
        assert len(operator.probes) == 1
        await operator.probes.stop()
