"""What is done before an old pod goes for a new one, as the children and the status of an LLMDeployment show it."""

from dataclasses import replace
from typing import Any

import pytest

from support.pods import make_pod, make_serving
from support.simulate import CATALOGUE, World
from triton_vllm_operator.api.names import NAME_LIMIT
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, JOB, REVISION, as_dict, name_of
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.prepull import build_prepull_job
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.decide import decide
from unit.test_rolling import FULL, SPARE, SPEC, UNKNOWN, bounds, make_placed

ANOTHER_MODEL = {"model": {"image": {"reference": "registry/model:2"}}}


def serving(**spec: Any) -> World:
    world = World(spec={**SPEC, **spec}).settle()
    world.pods = (make_placed(make_serving(world.revision)),)
    world.settle().settle()
    world.changes["places"] = FULL
    return world


def template_of(world: World) -> dict[str, Any]:
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    return as_dict(as_dict(deployment.body["spec"])["template"])


def image_of(world: World) -> object:
    """The model that the Deployment's pods have."""
    volumes = as_dict(template_of(world)["spec"])["volumes"]
    return next(volume["image"]["reference"] for volume in volumes if volume["name"] == "weights")


def newest(world: World) -> Revision:
    found = world.observe().newest
    assert found is not None
    return found


def end_job(world: World, condition: str, reason: str = "PodFailurePolicy") -> None:
    (job,) = world.of_kind(JOB.kind)
    ended = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    ending = {"type": condition, "status": "True", "reason": reason, "message": "it failed"}
    status = {"startTime": ended, "conditions": [{**ending, "lastTransitionTime": ended}]}
    world.children[JOB.kind, job.name] = replace(job, body={**job.body, "status": status})


def pulling(world: World, **changes: Any) -> Pod:
    (job,) = world.of_kind(JOB.kind)
    return make_pod("", "pull-1", phase="Pending", running=False, job_uid=job.uid, **changes)


def test_a_node_gets_the_images_before_the_old_pod_goes() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle().settle()
    (job,) = world.of_kind(JOB.kind)
    assert world.condition("Progressing") == ("True", "PreparingNode")
    assert "before an old pod goes, node a gets what the new one needs: registry/model:2" in world.message(
        "Progressing"
    )
    assert world.condition("Available")[0] == "True"
    assert (image_of(world), bounds(world)) == ("registry/model:1", (1, 0))
    # Nothing more is written while it waits.
    settled = world.later(5).decide()
    assert (settled.writes, settled.prunes, settled.status) == ((), (), None)

    end_job(world, "Complete")
    world.settle()
    assert image_of(world) == "registry/model:2"
    assert world.condition("Progressing") == ("True", "ReplacingNoSpareGpu")
    assert world.status.rollout is not None
    assert world.status.rollout.held is None
    assert job.name not in {child.name for child in world.of_kind(JOB.kind)}


def test_the_pod_that_pulls_asks_for_no_gpu_and_stands_on_the_node_of_the_old_one() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    (job,) = world.of_kind(JOB.kind)
    pod = as_dict(as_dict(as_dict(job.body["spec"])["template"])["spec"])
    assert "nvidia.com/gpu" not in str([each["resources"] for each in (*pod["initContainers"], *pod["containers"])])
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    assert [volume["image"]["reference"] for volume in pod["volumes"]] == ["registry/model:2"]
    assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} == {"weights"}
    longest = build_prepull_job(Owner("ns", "x" * NAME_LIMIT, "u"), newest(world), "a", frozenset())
    assert len(name_of(longest)) <= 63


@pytest.mark.parametrize("places", [SPARE, FULL])
def test_nothing_is_prepared_where_the_images_are_the_same(places: object) -> None:
    world = serving()
    world.changes["places"] = places
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert not world.of_kind(JOB.kind)
    assert world.status.rollout is not None


def test_nothing_is_prepared_for_a_surge() -> None:
    world = serving()
    world.changes["places"] = SPARE
    world.edit(**ANOTHER_MODEL).settle()
    assert (world.of_kind(JOB.kind), image_of(world), bounds(world)) == ([], "registry/model:2", (1, 0))


def test_an_image_that_cannot_be_had_takes_no_pod_away() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    world.changes["fetch_pods"] = (
        pulling(world, waiting_reason="ErrImagePull", waiting_message="registry/model:2: not found"),
    )
    for _ in range(3):
        world.later(600).settle()
        assert len(world.of_kind(JOB.kind)) == 1
        assert world.condition("Progressing") == ("True", "ImagePullFailed")
        assert "what was accepted before keeps running" in world.message("Progressing")
        assert image_of(world) == "registry/model:1"
    # Another edit is prepared anew.
    del world.changes["fetch_pods"]
    world.edit(model={"image": {"reference": "registry/model:3"}}).settle().settle()
    assert world.condition("Progressing") == ("True", "PreparingNode")
    assert "registry/model:3" in world.message("Progressing")
    assert len(world.of_kind(JOB.kind)) == 1


def test_an_image_that_may_not_run_takes_no_pod_away() -> None:
    """By the same security context as the new pod's."""
    world = serving().edit(**ANOTHER_MODEL).settle()
    said = "container has runAsNonRoot and image will run as root"
    refused = pulling(world, waiting_reason="CreateContainerConfigError", waiting_message=said)
    world.changes["fetch_pods"] = (refused,)
    for _ in range(2):
        world.later(600).settle()
        assert world.condition("Progressing") == ("True", "ContainerConfigInvalid")
        assert said in world.message("Progressing")
        assert image_of(world) == "registry/model:1"


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({"scheduled_at": None, "unschedulable": "0/1 nodes are available"}, 60), ({}, 1800)],
    ids=["no node takes it", "it takes too long"],
)
def test_preparing_has_its_time(changes: dict[str, Any], seconds: int) -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    (job,) = world.of_kind(JOB.kind)
    body = {**job.body, "status": {"startTime": world.now.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    world.children[JOB.kind, job.name] = replace(job, body=body)
    world.changes["fetch_pods"] = (pulling(world, **changes),)
    world.later(seconds - 1).settle()
    assert image_of(world) == "registry/model:1"
    world.later(1).settle()
    assert image_of(world) == "registry/model:2"


def test_preparing_a_node_is_no_step_of_the_timeline() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    end_job(world, "Complete")
    world.settle()
    assert world.status.timeline is not None
    assert "Fetched" not in {step.name for step in world.status.timeline.steps or ()}


def test_a_new_pod_that_gets_its_place_while_a_node_is_prepared_goes_on() -> None:
    world = serving()
    world.changes["places"] = UNKNOWN
    world.edit(**ANOTHER_MODEL).settle()
    waiting = make_pod(
        world.revision, "llama-2", scheduled_at=None, unschedulable="0/1", phase="Pending", running=False, ip=None
    )
    world.pods = (*world.pods, waiting)
    world.settle().later(61).settle().settle()
    assert world.condition("Progressing") == ("True", "PreparingNode")
    loading = make_pod(world.revision, "llama-2")
    world.pods = (world.pods[0], replace(loading, node="b"))
    world.settle()
    end_job(world, "Complete") if world.of_kind(JOB.kind) else None
    world.settle()
    assert bounds(world) == (1, 0)
    assert world.condition("Progressing") == ("True", "SurgeFits")


def test_what_keeps_the_images_from_coming_is_told() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    (job,) = world.of_kind(JOB.kind)
    world.changes["podless"] = {job.name: "pods is forbidden: exceeded quota"}
    world.settle()
    assert "registry/model:2; pods is forbidden: exceeded quota; what was" in world.message("Progressing")
    del world.changes["podless"]
    stuck = pulling(world, waiting_reason="CreateContainerError", waiting_message="no such file: true")
    world.changes["fetch_pods"] = (stuck,)
    assert image_of(world.settle()) == "registry/model:2", "its image is there"


def test_an_image_that_does_not_come_within_a_start_is_stalled() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    missing = pulling(world, waiting_reason="ErrImagePull", waiting_message="registry/model:2: not found")
    world.changes["fetch_pods"] = (missing,)
    assert world.settle().condition("Stalled")[0] == "False"
    assert world.later(1800).settle().condition("Stalled") == ("True", "ImagePullFailed")


def test_an_image_without_the_program_counts_as_pulled() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    end_job(world, "Failed")
    assert image_of(world.settle()) == "registry/model:2"


def test_a_job_that_failed_before_its_image_came_prepares_nothing() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    end_job(world, "Failed", "BackoffLimitExceeded")
    assert image_of(world.settle()) == "registry/model:1"
    assert "failed: it failed" in world.message("Progressing")
    assert image_of(world.later(1800).settle()) == "registry/model:2"


def test_a_pod_that_never_generated_is_not_waited_for() -> None:
    world = World(spec=dict(SPEC)).settle()
    world.pods = (make_placed(make_pod(world.revision)),)
    world.settle().settle()
    world.changes["places"] = FULL
    world.edit(**ANOTHER_MODEL).settle()
    assert (world.of_kind(JOB.kind), image_of(world)) == ([], "registry/model:2")


def test_a_surge_that_turns_is_prepared_too() -> None:
    """What is free was not known: the new pod waits beside the old one, and before that goes its node is prepared."""
    world = serving()
    world.changes["places"] = UNKNOWN
    world.edit(**ANOTHER_MODEL).settle()
    waiting = make_pod(world.revision, "llama-2", scheduled_at=None, phase="Pending", running=False, ip=None,
                       unschedulable="0/1 nodes are available")  # fmt: skip
    world.pods = (*world.pods, waiting)
    world.settle()
    assert (bounds(world), world.of_kind(JOB.kind)) == ((1, 0), [])
    world.later(61).settle().settle()
    assert bounds(world) == (1, 0)
    assert world.condition("Progressing") == ("True", "PreparingNode")
    end_job(world, "Complete")
    world.settle()
    assert bounds(world) == (0, 1)
    # The new pod has no place yet: the old one has not gone.
    assert world.condition("Progressing")[1] == "Unschedulable"
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "SurgeTimedOut"


def test_an_edit_in_the_middle_of_a_rollout_is_not_held_back() -> None:
    world = serving().edit(engine={"maxNumSeqs": 7}).settle()
    world.pods = (*world.pods, replace(make_pod(world.revision, "llama-2"), node="a"))
    world.edit(**ANOTHER_MODEL).settle()
    assert image_of(world) == "registry/model:2"


def idle(world: World, requests: int | None) -> World:
    (pod,) = world.pods
    world.changes["loads"] = {pod.name: requests}
    return world.settle()


def test_the_last_pod_ends_its_requests_before_it_goes() -> None:
    world = serving(rollout={"waitForIdleSeconds": 120}).edit(engine={"maxNumSeqs": 7})
    assert world.decide().wants_loads
    idle(world, 3)
    assert world.condition("Progressing") == ("True", "WaitingForIdle")
    assert "it goes once it has none, at 2026-11-23T12:02:00Z at the latest" in world.message("Progressing")
    assert world.decide().look_again_at == world.now.replace(second=2)
    assert idle(world.later(60), 1).decide().status is None
    before = template_of(world)
    assert template_of(idle(world.later(10), 0)) != before


@pytest.mark.parametrize(("requests", "seconds"), [(5, 120), (None, 0)], ids=["its time is over", "it does not say"])
def test_waiting_for_requests_has_an_end(requests: int | None, seconds: int) -> None:
    world = serving(rollout={"waitForIdleSeconds": 120}).edit(engine={"maxNumSeqs": 7})
    before = template_of(world)
    if seconds:
        idle(world, requests)
        idle(world.later(seconds - 1), requests)
        assert template_of(world) == before
        world.later(1)
    assert template_of(idle(world, requests)) != before


def test_a_pod_that_gives_no_answer_may_have_requests() -> None:
    world = serving(rollout={"waitForIdleSeconds": 120}).edit(engine={"maxNumSeqs": 7})
    world.changes["loads"] = {}
    assert world.settle().condition("Progressing") == ("True", "WaitingForIdle")


def test_requests_are_waited_for_after_the_images_are_there_and_no_longer_than_said() -> None:
    world = serving(rollout={"waitForIdleSeconds": 120}).edit(**ANOTHER_MODEL)
    idle(world, 3)
    assert world.condition("Progressing") == ("True", "PreparingNode")
    end_job(world, "Complete")
    seen = set()
    for _ in range(13):
        assert image_of(world) == "registry/model:1"
        assert [child.name for child in world.of_kind(JOB.kind)]
        idle(world.later(10), 3)
        seen.add(world.condition("Progressing")[1])
    assert "WaitingForIdle" in seen
    assert image_of(world) == "registry/model:2"
    assert not world.of_kind(JOB.kind)


def test_a_job_that_the_api_server_does_not_take_holds_nothing_up_for_long() -> None:
    world = serving().edit(**ANOTHER_MODEL)
    for _ in range(6):
        decision = world.step()
        jobs = [write for write in decision.writes if write.manifest["kind"] == "Job"]
        assert all(write.is_optional for write in jobs)
        world.children = {key: child for key, child in world.children.items() if key[0] != JOB.kind}
        assert image_of(world) == "registry/model:1"
        world.later(10)
    world.step()
    assert image_of(world) == "registry/model:2"


def test_a_job_that_a_queue_suspends_holds_nothing_up_for_long() -> None:
    world = serving().edit(**ANOTHER_MODEL).settle()
    (job,) = world.of_kind(JOB.kind)
    made = {**as_dict(job.body["metadata"]), "creationTimestamp": world.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    world.children[JOB.kind, job.name] = replace(job, body={**job.body, "metadata": made})
    assert image_of(world.later(59).settle()) == "registry/model:1"
    assert image_of(world.later(1).settle()) == "registry/model:2"


def test_what_runs_and_is_not_stored_is_not_held_back() -> None:
    """A quota on ControllerRevisions: there is no revision to stay at."""
    world = serving()
    world.children = {key: child for key, child in world.children.items() if key[0] != REVISION.kind}
    decision = world.edit(**ANOTHER_MODEL).decide()
    assert DEPLOYMENT.kind not in {child.kind.kind for child in decision.prunes}
    assert image_of(world.settle()) == "registry/model:2"


def test_where_others_answer_no_request_is_waited_for() -> None:
    world = World(spec={**SPEC, "replicas": 2, "rollout": {"waitForIdleSeconds": 120}}).settle()
    world.pods = tuple(make_placed(make_serving(world.revision, f"llama-{number}")) for number in (1, 2))
    world.settle().settle()
    world.changes["places"] = FULL
    assert not world.edit(engine={"maxNumSeqs": 7}).decide().wants_loads


def test_fewer_pods_begin_with_those_of_the_fewest_requests() -> None:
    world = World(spec={**SPEC, "replicas": 3}).settle()
    world.pods = tuple(make_placed(make_serving(world.revision, f"llama-{number}")) for number in (1, 2, 3))
    world.settle().settle()
    assert world.decide().costs == ()
    world.edit(replicas=1)
    assert world.decide().wants_loads
    observed = replace(world.observe(), loads={"llama-1": 2, "llama-2": 7})
    decision = decide(observed, CATALOGUE, world.now)
    # One that gives no answer has the most to do, as far as is known.
    assert {patch.pod_name: patch.cost for patch in decision.costs} == {"llama-1": 2, "llama-2": 7, "llama-3": 8}
    assert [write.manifest["spec"]["replicas"] for write in decision.writes] == [1]  # type: ignore[index,call-overload]
    told = tuple(replace(pod, deletion_cost=patch.cost) for pod, patch in zip(world.pods, decision.costs, strict=True))
    assert decide(replace(observed, pods=told), CATALOGUE, world.now).costs == ()
    untold = replace(observed, loads={"llama-1": None, "llama-2": None})
    assert decide(untold, CATALOGUE, world.now).costs == ()
    # Of all or none there is nothing to choose.
    world.edit(replicas=0)
    assert not world.decide().wants_loads
