"""Faults of the environment, exhaustively: the outcome depends on the cluster alone."""

import contextlib
import copy
import json
import random
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, client_of, serving, unavailable
from support.looks import see_nothing
from support.pods import make_pod
from support.simulate import CATALOGUE, CPU_SPEC
from triton_vllm_operator.api.names import LABEL_REVISION, child_labels
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.resync import Resync
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError, Unavailable
from triton_vllm_operator.kube.pod import Ended
from triton_vllm_operator.kube.resources import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    LLM_DEPLOYMENT,
    POD,
    REVISION,
    SERVICE,
    Key,
)
from triton_vllm_operator.reconcile.reconciler import NotSettled, Reconciler

WEB = Key("ns", "web")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FIRST = ["Service", "ConfigMap", "Deployment", "ControllerRevision"]


class Operator:
    """One process of the operator, without kopf: its cache, its reconciler and what it was told."""

    def __init__(self, client: KubeClient, outcome: Outcome = Outcome.UNREACHABLE) -> None:
        self.cache = Cache()
        self.changed: set[Key] = set()
        self.metrics = Metrics()

        async def probe(_: ProbeTarget, _connected: object) -> ProbeResult:
            return ProbeResult(outcome, "", 0)

        self.probes = probes = ProbeWatcher(probe, see_nothing, self.changed.add, lambda *_: None)
        self.resync = Resync(self.cache, client, (), self.changed.add, Metrics())
        # Nothing serves here: no pod is asked how its engine runs.
        unused: Any = None
        inspector = Inspector(client, unused)
        self.reconciler = Reconciler(self.cache, client, probes, inspector, CATALOGUE, lambda: NOW, self.metrics)

    def see(self, api: FakeApi, lost: float = 0.0, chance: random.Random | None = None) -> None:
        """Take over the events of the watches; some are lost on the way."""
        for happened, kind, body in api.take_events():
            if chance is not None and chance.random() < lost:
                continue
            key = self.cache.drop(kind, body) if happened == "DELETED" else self.cache.put(kind, body)
            if key:
                self.changed.add(key)

    async def work(self, key: Key) -> None:
        """Reconcile one key, and look again at once if that is wanted."""
        self.changed.discard(key)
        if await self.reconciler.reconcile(key) == 0.0:
            self.changed.add(key)

    async def settle(self, api: FakeApi) -> None:
        """Work until nothing is left to do."""
        for _ in range(20):
            self.see(api)
            if not self.changed:
                return
            for key in sorted(self.changed):
                await self.work(key)
        raise AssertionError("it does not settle")


def new_cluster(**spec: Any) -> FakeApi:
    api = FakeApi()
    api.put(LLM_DEPLOYMENT, {"metadata": {"name": "web", "generation": 1}, "spec": {**copy.deepcopy(CPU_SPEC), **spec}})
    return api


async def started(client: KubeClient, outcome: Outcome = Outcome.UNREACHABLE) -> Operator:
    operator = Operator(client, outcome)
    await operator.resync.once()
    return operator


def children(api: FakeApi) -> list[str]:
    return sorted(f"{b['kind']} {b['metadata']['name']}" for kind in CHILDREN for b in api.of_kind(kind))


async def test_a_new_resource_is_served_in_one_sequence() -> None:
    api = new_cluster()
    async with serving(api) as client:
        await (await started(client)).settle(api)
    applied = [write.split()[1] for write in api.writes]
    assert applied == [*FIRST, "LLMDeployment"]


async def test_radio_silence_once_settled() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        api.writes.clear()
        for _ in range(3):
            await operator.reconciler.reconcile(WEB)
            await operator.resync.once()
        restarted = await started(client)
        await restarted.settle(api)
    assert api.writes == []


@pytest.mark.parametrize("seed", range(20))
async def test_lost_events_are_healed_by_a_resync(seed: int) -> None:
    chance, api = random.Random(seed), new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        for _ in range(10):
            kind = chance.choice([DEPLOYMENT, SERVICE, CONFIG_MAP])
            if bodies := api.of_kind(kind):
                api.remove(kind, chance.choice(bodies)["metadata"]["name"])
            operator.see(api, lost=0.3, chance=chance)
            for key in list(operator.changed):
                await operator.work(key)
        await operator.resync.once()
        await operator.settle(api)
    assert [name.split()[0] for name in children(api)] == sorted(FIRST)


async def test_a_deletion_that_no_watch_told_of_is_noticed() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        api.remove(SERVICE, "web")
        api.take_events()
        await operator.resync.once()
        await operator.settle(api)
    assert "Service web" in children(api)


@pytest.mark.parametrize("survived", range(1, 6))
async def test_killed_after_any_write_it_ends_in_the_same_state(survived: int) -> None:
    reference = new_cluster()
    async with serving(reference) as client:
        await (await started(client)).settle(reference)
    api = new_cluster()

    def die(method: str, _path: str) -> web.Response | None:
        return unavailable() if method == "PATCH" and len(api.writes) >= survived else None

    api.fault = die
    async with serving(api) as client:
        operator = await started(client)
        operator.see(api)
        if survived < 5:
            with pytest.raises(ApiError):
                await operator.settle(api)
        api.fault = lambda *_: None
        await (await started(client)).settle(api)
    assert children(api) == children(reference)


async def test_a_status_that_could_not_be_written_is_written_later() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        api.fault = lambda _m, path: unavailable() if path.endswith("/status") else None
        with pytest.raises(Unavailable):
            await operator.settle(api)
        with pytest.raises(Unavailable):
            await operator.reconciler.reconcile(WEB)
        assert api.told == [], "each try would tell the same again"
        api.fault = lambda *_: None
        await operator.reconciler.reconcile(WEB)
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    assert body["status"]["observedGeneration"] == 1


async def test_pods_of_one_that_had_the_same_name_are_not_taken_over() -> None:
    api = new_cluster()
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    body["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z"
    api.put(LLM_DEPLOYMENT, body)
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        (revision,) = api.of_kind(REVISION)
        serves = serving_body(revision["metadata"]["name"].rsplit("-", 1)[-1])
        for created, replicas in (("2026-11-22T23:59:59Z", 0), ("2026-11-23T00:00:00Z", 1)):
            serves["metadata"] |= {"creationTimestamp": created, "resourceVersion": f"50{replicas}"}
            operator.cache.put(POD, serves)
            await operator.reconciler.reconcile(WEB)
            (body,) = api.of_kind(LLM_DEPLOYMENT)
            assert body["status"]["replicas"] == replicas


def serving_body(revision: str) -> dict[str, Any]:
    """A pod of the LLMDeployment `web`."""
    labels = {**child_labels("web"), LABEL_REVISION: revision}
    owner = {"kind": "ReplicaSet", "controller": True, "uid": "u", "name": "web-1"}
    return {
        "kind": "Pod",
        "metadata": {"name": "web-1-a", "namespace": "ns", "uid": "p", "labels": labels, "ownerReferences": [owner]},
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize("answer", ["", "1"], ids=["503", "429 with Retry-After"])
async def test_a_moment_of_trouble_is_ridden_out(answer: str) -> None:
    api, trouble = new_cluster(), iter([True, True, True, False])
    api.fault = lambda *_: unavailable(answer) if next(trouble, False) else None
    async with serving(api) as client:
        await (await started(client)).settle(api)
    assert len(children(api)) == 4
    assert {code for _, _, code, _ in api.requests} == {503 if not answer else 429, 200}


async def test_a_server_that_is_away_is_an_error_of_its_own() -> None:
    client = client_of(FakeApi(), port=1)
    with pytest.raises(Unavailable, match="no answer"):
        await started(client)
    await client.close()


async def test_an_object_of_somebody_else_is_never_written_to() -> None:
    api = new_cluster()
    theirs = api.put(SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": []}})
    before = copy.deepcopy(theirs)
    async with serving(api) as client:
        operator = await started(client)
        with pytest.raises(NotSettled, match="Service web"):
            await operator.reconciler.reconcile(WEB)
        assert api.writes == ["apply Service web", "apply LLMDeployment web status"]
        api.writes.clear()
        operator.see(api)
        with pytest.raises(NotSettled, match="Service web"):
            await operator.reconciler.reconcile(WEB)
        assert api.writes == [], "while the conflict lasts it is looked at, not written to"
        assert api.objects[SERVICE, "ns", "web"] == before
        api.remove(SERVICE, "web")
        await operator.settle(api)
    assert "Service web" in children(api)


async def test_pruning_takes_what_is_ours_and_nothing_else() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        (first,) = api.of_kind(CONFIG_MAP)
        labels = first["metadata"]["labels"]
        api.put(CONFIG_MAP, {"metadata": {"name": "of-the-user", "labels": labels}, "data": {}})
        for length in range(100, 112):
            body = api.objects[LLM_DEPLOYMENT, "ns", "web"]
            body["spec"]["engine"] = {"maxModelLen": length}
            api.put(LLM_DEPLOYMENT, body)
            await operator.settle(api)
    names = {body["metadata"]["name"] for body in api.of_kind(CONFIG_MAP)}
    assert first["metadata"]["name"] not in names
    assert "of-the-user" in names
    assert len(names) == 10 + 1


async def test_a_child_that_lost_our_labels_gets_them_back() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        service = api.objects[SERVICE, "ns", "web"]
        labels = service["metadata"].pop("labels")
        # A watch that selects by label tells of it as of a deletion.
        api.events.append(("DELETED", SERVICE, {**service, "metadata": {**service["metadata"], "labels": labels}}))
        await operator.settle(api)
    assert api.objects[SERVICE, "ns", "web"]["metadata"]["labels"] == labels


async def test_a_child_that_was_replaced_unseen_is_not_taken_over() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        api.remove(DEPLOYMENT, "web")
        theirs = api.put(DEPLOYMENT, {"metadata": {"name": "web"}, "spec": {"replicas": 9}})
        api.take_events()
        api.objects[LLM_DEPLOYMENT, "ns", "web"]["spec"]["replicas"] = 2
        api.put(LLM_DEPLOYMENT, api.objects[LLM_DEPLOYMENT, "ns", "web"])
        operator.see(api)
        with pytest.raises(NotSettled, match="Deployment web"):
            await operator.reconciler.reconcile(WEB)
    assert theirs["spec"] == {"replicas": 9}


async def test_a_refused_edit_is_said_and_what_ran_is_kept_up() -> None:
    api = new_cluster()

    def refuse(method: str, path: str) -> web.Response | None:
        return _refused() if method == "PATCH" and "/configmaps/" in path and path not in taken else None

    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        taken = {f"/api/v1/namespaces/ns/configmaps/{b['metadata']['name']}" for b in api.of_kind(CONFIG_MAP)}
        api.fault = refuse
        body = api.objects[LLM_DEPLOYMENT, "ns", "web"]
        body["spec"] |= {"engine": {"maxModelLen": 99}, "replicas": 3}
        body["metadata"]["generation"] = 2
        api.put(LLM_DEPLOYMENT, body)
        api.remove(SERVICE, "web")
        operator.see(api)
        with pytest.raises(NotSettled, match="refuses ConfigMap"):
            await operator.settle(api)
    assert api.objects[LLM_DEPLOYMENT, "ns", "web"]["status"]["conditions"][0]["reason"] == "RefusedByAPIServer"
    assert api.objects[DEPLOYMENT, "ns", "web"]["spec"]["replicas"] == 3
    assert "Service web" in children(api)


def _broken() -> web.Response:
    return web.Response(status=500, text='{"message": "failed calling webhook"}')


async def test_a_server_error_about_a_child_is_said() -> None:
    api = new_cluster()
    api.fault = lambda method, path: _broken() if method == "PATCH" and "/deployments/" in path else None
    async with serving(api) as client:
        operator = await started(client)
        with pytest.raises(NotSettled, match="failed calling webhook"):
            await operator.settle(api)
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    assert "failed calling webhook" in body["status"]["conditions"][0]["message"]


async def test_words_of_a_user_are_not_taken_for_the_servers() -> None:
    api = new_cluster()
    text = '{"message": "invalid value \'because it is being terminated\'"}'
    api.fault = lambda method, path: (
        web.Response(status=422, text=text) if method == "PATCH" and "/deployments/" in path else None
    )
    async with serving(api) as client:
        operator = await started(client)
        with pytest.raises(NotSettled):
            await operator.settle(api)


async def test_a_child_whose_instance_label_was_changed_gets_it_back() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        service = api.objects[SERVICE, "ns", "web"]
        service["metadata"]["labels"] = {**service["metadata"]["labels"], "app.kubernetes.io/instance": "evil"}
        api.put(SERVICE, service)
        await operator.settle(api)
    assert api.objects[SERVICE, "ns", "web"]["metadata"]["labels"]["app.kubernetes.io/instance"] == "web"


def test_a_pod_of_no_replica_set_of_ours_is_not_ours() -> None:
    cache = Cache()
    labels = {"app.kubernetes.io/instance": "web"}
    pod = {"metadata": {"namespace": "ns", "name": "web-1", "uid": "1", "resourceVersion": "5", "labels": labels}}
    assert cache.put(POD, pod) is None
    owner = {"kind": "ReplicaSet", "name": "web-7d4b9", "uid": "2", "controller": True}
    assert cache.put(POD, {"metadata": {**pod["metadata"], "ownerReferences": [owner]}}) == WEB


def _refused() -> web.Response:
    return web.Response(status=422, text='{"message": "no"}')


def test_what_was_under_way_does_not_bring_back_what_is_deleted() -> None:
    cache = Cache()
    old = {"metadata": {"namespace": "ns", "name": "web", "uid": "1", "resourceVersion": "5"}, "spec": {}}
    cache.put(LLM_DEPLOYMENT, old)
    cache.drop(LLM_DEPLOYMENT, {"metadata": {**old["metadata"], "resourceVersion": "7"}})
    assert cache.put(LLM_DEPLOYMENT, old) is None
    assert cache.resource(WEB) is None
    anew = {"metadata": {**old["metadata"], "uid": "2", "resourceVersion": "6"}, "spec": {}}
    assert cache.put(LLM_DEPLOYMENT, anew) == WEB
    assert cache.drop(LLM_DEPLOYMENT, {"metadata": {**old["metadata"], "resourceVersion": "5"}}) is None
    assert cache.resource(WEB) is not None, "an event of the one before does not take this one away"


async def test_what_is_deleted_is_forgotten() -> None:
    api = new_cluster()
    async with serving(api) as client:
        operator = await started(client)
        await operator.settle(api)
        for kind in (*CHILDREN, LLM_DEPLOYMENT):
            for body in api.of_kind(kind):
                api.remove(kind, body["metadata"]["name"])
        api.writes.clear()
        operator.see(api)
        await operator.reconciler.reconcile(WEB)
    assert api.writes == []
    assert operator.cache.keys() == ()


async def test_in_a_namespace_that_is_going_nothing_is_brought_back() -> None:
    api = new_cluster()
    text = '{"message": "unable to create new content in namespace ns because it is being terminated"}'
    api.fault = lambda method, _: web.Response(status=403, text=text) if method == "PATCH" else None
    async with serving(api) as client:
        operator = await started(client)
        assert await operator.reconciler.reconcile(WEB) is None
    assert children(api) == []


async def test_a_webhook_that_rewrites_a_child_is_no_hot_loop() -> None:
    api = new_cluster()

    def move_image(body: Any) -> None:
        if body["kind"] == "Deployment":
            body["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/image"

    api.rewrite = move_image
    async with serving(api) as client:
        operator = await started(client)
        with pytest.raises(NotSettled, match="Deployment web is changed by somebody"):
            await operator.reconciler.reconcile(WEB)
    (body,) = api.of_kind(LLM_DEPLOYMENT)
    assert body["status"]["conditions"][0]["status"] == "True", "it is accepted, and its status is written"


async def test_long_lists_come_in_pages() -> None:
    api = FakeApi()
    for number in range(1203):
        api.put(LLM_DEPLOYMENT, {"metadata": {"name": f"llm-{number}"}, "spec": {}})
    async with serving(api) as client:
        operator = await started(client)
    assert len(operator.cache) == 1203


async def test_a_log_that_cannot_be_read_stops_nothing() -> None:
    api = new_cluster()
    api.fault = lambda _method, path: unavailable() if path.endswith("/log") else None
    async with serving(api) as client, aiohttp.ClientSession() as session:
        inspector = Inspector(client, session)
        pod = make_pod("r1")
        assert await inspector.last_line("ns", pod) == ""
        assert await inspector.inspect("ns", pod, "model") is None
    logs = [request for request in api.requests if request[1] == "pods"]
    assert len(logs) == 2, "each is asked for once: it is not worth a back-off"


async def test_the_log_of_a_container_that_ended_is_read_once() -> None:
    api, log = new_cluster(), "ValueError: No available memory for the cache blocks."
    answers = [unavailable(), web.Response(text=log)]
    api.fault = lambda _method, path: answers.pop(0) if path.endswith("/log") else None
    async with serving(api) as client, aiohttp.ClientSession() as session:
        inspector = Inspector(client, session)
        ended = Ended("Error", 1, "", container_id="containerd://0")
        pod = make_pod("r1", ended=ended)
        assert (await inspector.last_words("ns", pod)).named is None
        assert (await inspector.last_words("ns", pod)).named is None, "it rests"
        again = Inspector(client, session)
        for _ in range(3):
            named = (await again.last_words("ns", pod)).named
            assert named is not None
            assert named.reason == "NoKvMemory"
    assert not answers


async def test_an_api_server_that_streams_no_lists_is_asked_for_lists() -> None:
    api = new_cluster()
    async with serving(api) as client:
        assert await client.streams_initial_lists(LLM_DEPLOYMENT, None)
        forbidden = (
            '{"message": "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}'
        )
        api.fault = lambda _method, _path: web.Response(status=422, text=forbidden, content_type="application/json")
        assert not await client.streams_initial_lists(LLM_DEPLOYMENT, None)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (422, "spec.template.spec.volumes[1]: Required value: must specify a volume type"),
        (
            500,
            'failed to create typed patch object: .volumes[name="w"].image: field not declared in schema',
        ),
    ],
)
async def test_a_cluster_without_image_volumes_is_named(status: int, message: str) -> None:
    api = new_cluster()

    def fault(method: str, path: str) -> web.Response | None:
        if method != "PATCH" or "/deployments/" not in path:
            return None
        text = json.dumps({"message": message})
        return web.Response(status=status, text=text, content_type="application/json")

    api.fault = fault
    async with serving(api) as client:
        await refused_for_image_volumes(api, client)


async def refused_for_image_volumes(api: FakeApi, client: KubeClient) -> Operator:
    """An operator that has tried, and has said why it cannot go on."""
    operator = Operator(client)
    await operator.resync.fill()
    operator.see(api)
    for _ in range(3):
        with contextlib.suppress(NotSettled):
            await operator.work(WEB)
    (llm,) = api.of_kind(LLM_DEPLOYMENT)
    accepted = next(c for c in llm["status"]["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "ImageVolumesUnsupported"
    assert "write persistentVolumeClaim or huggingFace in place of image" in accepted["message"]
    return operator


async def test_a_cluster_that_drops_image_volumes_gets_no_pods_without_their_model() -> None:
    api = new_cluster()
    supported: list[bool] = []

    def drop(body: Any) -> None:
        if not supported and body.get("kind") == "Deployment":
            pod = body["spec"]["template"]["spec"]
            pod["volumes"] = [volume for volume in pod["volumes"] if "image" not in volume]

    api.rewrite = drop
    async with serving(api) as client:
        operator = await refused_for_image_volumes(api, client)
        assert api.of_kind(DEPLOYMENT) == []
        # When the cluster has learned it, the next try finds out.
        supported.append(True)
        await operator.work(WEB)
        assert len(api.of_kind(DEPLOYMENT)) == 1


async def test_one_that_does_not_lead_reads_and_writes_nothing() -> None:
    api, leads = new_cluster(), False
    async with serving(api, may_write=lambda: leads) as client:
        operator = await started(client)
        with pytest.raises(Unavailable, match="another operator may lead"):
            await operator.settle(api)
        assert api.writes == []
        leads = True
        operator.changed.add(WEB)
        await operator.settle(api)
    assert [write.split()[1] for write in api.writes] == [*FIRST, "LLMDeployment"]
