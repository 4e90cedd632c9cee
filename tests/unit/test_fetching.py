"""From a repository of the hub to pods: what is made when, and what is said meanwhile."""

import json
from dataclasses import replace
from typing import Any

import pytest

from support.fetches import COMMIT, GOOD, HUB, end_job, fetch_pod, hub_world, job_of, kinds, report
from support.pods import make_pod, make_serving
from support.simulate import NOW, World, allowing
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.kube.pod import Ended
from triton_vllm_operator.kube.pod_reading import project_pod
from triton_vllm_operator.kube.resources import JOB
from triton_vllm_operator.reconcile.model import Child
from triton_vllm_operator.sources.report import Fault, ModelFacts, Report, SourceReport, fault_report
from triton_vllm_operator.sources.task import TaskList


def test_a_model_of_the_hub_is_fetched_before_there_is_a_deployment() -> None:
    world = hub_world().settle()
    assert kinds(world) == {"Service", "Job"}
    assert world.condition("Accepted") == ("True", "Valid")
    assert world.condition("Progressing") == ("True", "FetchingModel")
    assert world.condition("Ready") == ("False", "FetchingModel")
    assert world.decide().writes == ()


def test_the_job_runs_where_the_pods_will_and_asks_for_no_gpu() -> None:
    spec = {
        "model": {"huggingFace": HUB},
        "runtime": {"version": "26.08"},
        "scheduling": {
            "nodeSelector": {"zone": "a"},
            "imagePullSecrets": [{"name": "registry"}],
            "affinity": {"nodeAffinity": {}, "podAntiAffinity": {}},
        },
    }
    pod = job_of(World(spec=spec).settle()).body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert pod["affinity"]["nodeAffinity"] == {}
    assert "podAntiAffinity" not in pod["affinity"]
    (near,) = pod["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert near["podAffinityTerm"]["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "llama"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "nvidia.com/gpu" not in str(pod["containers"][0]["resources"])
    assert pod["automountServiceAccountToken"] is False


def test_the_token_reaches_the_container_by_reference_alone() -> None:
    pod = job_of(hub_world().settle()).body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    (container,) = pod["containers"]
    (token,) = [variable for variable in container["env"] if variable["name"].startswith("TOKEN")]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
    task = TaskList.model_validate_json(container["args"][0]).tasks[0]
    assert task.repository is not None
    assert task.repository.token_variable == token["name"]


@pytest.mark.parametrize(
    ("changes", "off"), [({}, False), ({"endpoint": "http://hub"}, True), ({"offline": True}, True)]
)
def test_xet_is_off_with_a_mirror_and_offline(changes: dict[str, Any], off: bool) -> None:
    world = hub_world(**{"tokenSecretRef": None, **changes}).settle()
    pod = job_of(world).body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    assert ({"name": "HF_HUB_DISABLE_XET", "value": "1"} in pod["containers"][0]["env"]) is off


def test_what_was_fetched_becomes_a_revision_and_the_job_goes() -> None:
    world = report(hub_world().settle(), GOOD).settle()
    assert kinds(world) == {"Service", "ConfigMap", "Deployment", "ControllerRevision"}
    model_json = world.of_kind("ConfigMap")[0].body["data"]["model.json"]  # type: ignore[index, call-overload]
    assert f'"/weights/acme--tiny@{COMMIT}"' in model_json
    world.changes.clear()
    decision = world.settle().decide()
    assert (decision.writes, decision.prunes, decision.status) == ((), (), None)
    assert world.status.model is not None
    assert (world.status.model.commit, world.status.model.weight_bytes) == (COMMIT, 123)


def test_pods_find_the_weights_on_the_volume_and_fetch_nothing() -> None:
    world = report(hub_world().settle(), GOOD).settle()
    pod = world.of_kind("Deployment")[0].body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    (prepare,) = pod["initContainers"]
    (task,) = TaskList.model_validate_json(prepare["args"][0]).tasks
    assert (task.action, task.folder, task.repository) == ("Check", f"/weights/acme--tiny@{COMMIT}", None)
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "models"}} in pod["volumes"]
    assert {"name": "weights", "mountPath": "/weights", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert "TOKEN" not in str(pod)


def test_without_a_volume_each_pod_fetches_the_commit_that_was_resolved() -> None:
    world = hub_world(cache=None).settle()
    job = TaskList.model_validate_json(job_of(world).body["spec"]["template"]["spec"]["containers"][0]["args"][0])  # type: ignore[index, call-overload]
    assert [task.action for task in job.tasks] == ["Inspect"]
    report(world, GOOD).settle()
    pod = world.of_kind("Deployment")[0].body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    (prepare,) = pod["initContainers"]
    (task,) = TaskList.model_validate_json(prepare["args"][0]).tasks
    assert task.repository is not None
    assert (task.action, task.repository.revision) == ("Fetch", COMMIT)
    assert {"name": "weights", "emptyDir": {}} in pod["volumes"]


@pytest.mark.parametrize(("rank", "reserved"), [(8, None), (16, None), (24, 32), (64, 64), (300, 320)])
def test_the_rank_of_the_engine_follows_the_adapters_of_a_hub(rank: int, reserved: int | None) -> None:
    world = World()
    adapter = {"name": "sql", "huggingFace": HUB}
    world.spec["model"] = {"image": {"reference": "registry/model:1"}, "loraAdapters": [adapter]}
    found = SourceReport(volume="adapter-0", commit=COMMIT, facts=ModelFacts(lora_rank=rank))
    report(world.settle(), Report(sources=(found,))).settle()
    body: Any = world.of_kind("ConfigMap")[0].body
    assert json.loads(body["data"]["model.json"]).get("max_lora_rank") == reserved


def test_progress_is_shown() -> None:
    world = hub_world().settle()
    world.changes |= {
        "fetch_pods": (fetch_pod(world),),
        "progress": {fetch_pod(world).name: "fetching acme/tiny: 1.2 of 4.0 GiB"},
    }
    assert world.settle().message("Ready") == "fetching acme/tiny: 1.2 of 4.0 GiB"
    assert world.decide().look_again_at is not None


def test_what_is_wrong_with_a_model_is_said_and_tried_again_in_time() -> None:
    world = hub_world().settle()
    fault = Fault(reason=Reason.MODEL_ACCESS_DENIED, message="spec.model: the hub gives no access")
    end_job(report(world, fault_report(fault), "Failed"), "Failed").settle()
    assert world.condition("Ready") == ("False", "ModelAccessDenied")
    assert world.condition("Progressing") == ("False", "ModelAccessDenied")
    assert "at once after: kubectl delete job llama-fetch-" in world.message("Ready")
    assert (world.decide().writes, world.decide().prunes) == ((), ())
    job = job_of(world).name
    world.later(301).step()
    assert world.of_kind("Job") == [], "five minutes later the failed Job goes"
    world.changes.clear()
    world.settle()
    assert job_of(world).name == job, "and a new one comes"


def test_a_fetch_between_two_tries_says_why() -> None:
    world = hub_world().settle()
    fault = Fault(reason=Reason.MODEL_FETCH_FAILED, message="the hub cannot be used: it answers 503")
    ended = Ended("Error", 1, fault_report(fault).dump())
    world.changes["fetch_pods"] = (fetch_pod(world, phase="Failed", running=False, ended=ended),)
    world.settle()
    assert world.condition("Ready") == ("False", "FetchingModel")
    assert world.message("Ready") == "trying again: the hub cannot be used: it answers 503"


def test_a_fault_that_is_final_is_said_before_the_job_says_so() -> None:
    world = hub_world().settle()
    fault = fault_report(Fault(reason=Reason.MODEL_NOT_FOUND, message="acme/tiny has no revision 'nope'"))
    report(world, fault, "Failed").settle()
    assert world.condition("Ready") == ("False", "ModelNotFound")
    assert world.message("Ready") == "acme/tiny has no revision 'nope'"


def test_a_fetch_that_has_just_ended_is_no_crash() -> None:
    world = hub_world().settle()
    world.changes["fetch_pods"] = (fetch_pod(world, running=False, ended=Ended("Completed", 0, GOOD.dump())),)
    assert world.settle().condition("Ready") == ("False", "FetchingModel")


def test_the_last_fault_stays_said_until_the_next_pod_speaks() -> None:
    world = hub_world().settle()
    fault = Fault(reason=Reason.MODEL_FETCH_FAILED, message="the hub cannot be used")
    ended = Ended("Error", 1, fault_report(fault).dump(), "2026-11-23T12:00:00Z")
    failed = fetch_pod(world, phase="Failed", running=False, ended=ended)
    running = replace(fetch_pod(world), name="next")
    world.changes["fetch_pods"] = (failed, running)
    assert world.settle().message("Ready") == "trying again: the hub cannot be used"
    world.changes["progress"] = {"next": "fetching acme/tiny: 0.1 of 4.0 GiB"}
    assert world.settle().message("Ready") == "fetching acme/tiny: 0.1 of 4.0 GiB"


def test_what_keeps_the_job_from_running_is_named() -> None:
    world = hub_world().settle()
    missing = fetch_pod(
        world,
        running=False,
        waiting_reason="CreateContainerConfigError",
        waiting_message='secret "hf" not found',
    )
    world.changes["fetch_pods"] = (missing,)
    assert world.settle().condition("Ready") == ("False", "ContainerConfigInvalid")
    assert 'secret "hf" not found' in world.message("Ready")


OTHER = json.dumps({"sources": [{"volume": "other", "commit": COMMIT}]})


@pytest.mark.parametrize("text", ["Killed", "{}", OTHER])
def test_a_report_that_says_nothing_makes_no_pods_and_no_hot_loop(text: str) -> None:
    world = hub_world().settle()
    pod = fetch_pod(world, phase="Succeeded", running=False, ended=Ended("Completed", 0, text))
    world.changes["fetch_pods"] = (pod,)
    end_job(world, "Complete").settle()
    assert world.of_kind("Deployment") == []
    assert "left no report that can be read" in world.message("Ready")
    assert (world.decide().writes, world.decide().prunes) == ((), ())


def test_a_pod_of_another_job_of_that_name_is_not_listened_to() -> None:
    world = hub_world().settle()
    report(world, GOOD)
    world.changes["fetch_pods"] = (replace(world.changes["fetch_pods"][0], job_uid="another"),)
    assert world.settle().of_kind("Deployment") == []


def test_a_result_that_got_lost_is_looked_up_again() -> None:
    world = end_job(hub_world().settle(), "Complete")
    assert [child.kind for child in world.decide().prunes] == [JOB]


def test_an_edit_of_something_else_moves_no_branch() -> None:
    world = report(hub_world().settle(), GOOD).settle()
    world.changes.clear()
    world.settle().edit(engine={"maxModelLen": 64}).settle()
    body: Any = job_of(world).body
    (task,) = TaskList.model_validate_json(body["spec"]["template"]["spec"]["containers"][0]["args"][0]).tasks
    assert task.repository is not None
    assert task.repository.revision == COMMIT
    world.edit(model={"huggingFace": {**HUB, "revision": "v2"}}).settle()
    (job,) = world.of_kind("Job")
    assert COMMIT not in str(job.body), "another revision is asked for"


def test_a_job_that_gets_no_pod_is_named() -> None:
    world = hub_world().settle()
    job = job_of(world)
    started = {**job.body, "status": {"startTime": NOW.isoformat()}}
    world.children["Job", job.name] = Child(JOB, job.name, job.uid, started)
    assert world.settle().message("Ready") == "looking up the model"
    assert world.later(61).settle().message("Ready") == (
        f"Job {job.name} has no running pod; see kubectl describe job {job.name}"
    )


def test_the_fault_that_ended_the_job_is_the_one_that_is_said() -> None:
    world = hub_world().settle()
    said = {
        "a": ("2026-11-23T12:00:02Z", 3, "no such repository"),
        "b": ("2026-11-23T12:00:01Z", 1, "it answers 503"),
        "c": ("2026-11-23T12:00:00Z", 1, "it answers 429"),
    }
    pods = []
    for name, (finished, code, message) in said.items():
        fault = fault_report(Fault(reason=Reason.MODEL_FETCH_FAILED, message=message))
        ended = Ended("Error", code, fault.dump(), finished)
        pods.append(replace(fetch_pod(world, phase="Failed", running=False, ended=ended), name=name))
    world.changes["fetch_pods"] = tuple(pods[1:])
    assert world.settle().message("Ready") == "trying again: it answers 503"
    world.changes["fetch_pods"] = tuple(pods)
    assert end_job(world, "Failed").settle().message("Ready").startswith("no such repository; it is tried again")


@pytest.mark.parametrize("commit", ["../../etc", "a" * 41, "A" * 40, ""])
def test_a_result_that_names_no_commit_is_no_result(commit: str) -> None:
    world = hub_world().settle()
    forged = json.dumps({"sources": [{"volume": "weights", "commit": commit}]})
    pod = fetch_pod(world, phase="Succeeded", running=False, ended=Ended("Completed", 0, forged))
    world.changes["fetch_pods"] = (pod,)
    assert world.settle().of_kind("Deployment") == []


def test_the_old_revision_serves_while_the_new_model_comes() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    assert world.condition("Ready")[0] == "True"
    world.edit(model={"huggingFace": HUB}).settle()
    assert world.condition("Ready") == ("False", "FetchingModel")
    assert world.condition("Available")[0] == "True"
    assert len(world.of_kind("ControllerRevision")) == 1
    fault = Fault(reason=Reason.MODEL_NOT_FOUND, message="no such repository")
    end_job(report(world, fault_report(fault), "Failed"), "Failed").settle()
    assert world.condition("Ready") == ("False", "ModelNotFound")
    assert world.message("Ready").endswith("; what was accepted before keeps running")
    world.changes.clear()
    world.edit(model={"image": {"reference": "registry/model:1"}}).settle()
    assert world.condition("Ready")[0] == "True"
    assert world.of_kind("Job") == []


def test_a_token_is_sent_to_no_mirror_that_the_administrator_has_not_named() -> None:
    world = hub_world(endpoint="https://mirror.example.com").settle()
    assert world.condition("Accepted") == ("False", "ForbiddenByAdministrator")
    assert "no token be sent to https://mirror.example.com" in world.message("Accepted")
    assert kinds(world) == set()
    world.catalogue = allowing(token_endpoints=("https://mirror.example.com",))
    assert world.settle().condition("Accepted")[0] == "True"
    without = hub_world(endpoint="https://mirror.example.com", tokenSecretRef=None).settle()
    assert without.condition("Accepted")[0] == "True"


def test_an_init_container_that_refuses_the_weights_is_quoted() -> None:
    message = fault_report(Fault(reason=Reason.MODEL_NOT_SERVABLE, message="spec.model: no weights in /weights"))
    status = {"name": "prepare", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    ended = {"terminated": {"exitCode": 3, "reason": "Error", "message": message.dump()}}
    body = {
        "metadata": {"name": "llama-1", "uid": "u"},
        "status": {
            "phase": "Pending",
            "initContainerStatuses": [{**status, "lastState": ended}],
            "containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": "PodInitializing"}}}],
        },
    }
    world = World().settle()
    pod = project_pod(
        {**body, "metadata": {**body["metadata"], "labels": {"triton-vllm.dev/revision": world.revision}}}
    )  # type: ignore[dict-item]
    world.pods = (pod,)
    assert world.settle().condition("Ready") == ("False", "ModelNotServable")
    assert world.message("Ready") == "spec.model: no weights in /weights"


def test_a_pod_that_fetches_its_weights_says_so() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, running=False, prepares=True),)
    assert world.settle().message("Ready") == (
        "pod llama-1 fetches or checks its weights; see kubectl logs llama-1 -c prepare"
    )
