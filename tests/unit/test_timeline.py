"""How long each step took, from a spec to its first token, told once and never changed afterwards."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.fetches import GOOD, end_job, fetch_pod, hub_world, job_of, report
from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.api.status import LLMDeploymentStatus, MeasuredMemory, MemoryStatus
from triton_vllm_operator.api.timeline import Step, StepName, Timeline
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.kube.pod_reading import project_pod


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def started_pod(world: World, name: str = "llama-1", **changes: Any) -> Pod:
    """One whose container has just started."""
    times = {"created_at": at(1), "scheduled_at": at(3), "initialized_at": at(10), "started_at": at(12)}
    return make_pod(world.revision, name, **{**times, **changes})


def generated(pod: Pod, ready: float, proven: float) -> Pod:
    gate = Gate(True, "Generates", CONTAINER)
    return replace(pod, ready=True, gate=gate, containers_ready_at=at(ready), generates_since=at(proven))


def timeline(world: World) -> Timeline:
    assert world.status.timeline is not None
    return world.status.timeline


def seconds(world: World) -> dict[str, int | None]:
    return {step.name.value: step.seconds for step in timeline(world).steps or ()}


def test_each_step_is_told_as_it_is_done() -> None:
    world = World().settle()
    assert seconds(world) == {"Accepted": 0}
    world.pods = (make_pod(world.revision, created_at=at(1), scheduled_at=None),)
    assert seconds(world.later(2).settle()) == {"Accepted": 0, "Scheduled": None}
    world.pods = (started_pod(world),)
    assert seconds(world.later(20).settle()) == {"Accepted": 0, "Scheduled": 2, "ImagePulled": 9, "Loaded": None}
    world.pods = (generated(started_pod(world), 50, 58),)
    assert seconds(world.later(60).settle()) == {
        "Accepted": 0,
        "Scheduled": 2,
        "ImagePulled": 9,
        "Loaded": 38,
        "Generated": 8,
    }
    assert (timeline(world).generation, timeline(world).pod) == (1, "llama-1")
    assert timeline(world).revision == world.status.revision
    loaded = timeline(world).step(StepName.LOADED)
    assert loaded == Step(
        name=StepName.LOADED, start_time="2026-11-23T12:00:12Z", end_time="2026-11-23T12:00:50Z", seconds=38
    )


def test_once_told_nothing_is_written_again() -> None:
    world = World().settle()
    world.pods = (generated(started_pod(world), 50, 58),)
    world.settle()
    told = timeline(world)
    # It is started again, it dies, another one comes.
    for pods in (
        (replace(world.pods[0], started_at=at(500), generates_since=None),),
        (),
        (started_pod(world, "llama-2", created_at=at(600)),),
        (generated(started_pod(world, "llama-2", created_at=at(600)), 700, 710),),
    ):
        world.pods = pods
        assert timeline(world.later(100).settle()) == told
    assert world.decide().status is None


def test_the_time_until_it_is_accepted_counts_from_its_creation() -> None:
    world = World(now=at(7))
    world.changes["resource"] = replace(world.observe().resource, created_at=NOW)
    world.settle()
    assert seconds(world) == {"Accepted": 7}


def test_a_look_whose_job_is_gone_is_over() -> None:
    world = World().settle()
    world.pods = (started_pod(world),)
    world.settle()
    step = Step(name=StepName.INSPECTED, start_time="2026-11-23T12:00:00Z")
    told = timeline(world).model_copy(update={"steps": (*(timeline(world).steps or ()), step)})
    world.status = world.status.model_copy(update={"timeline": told})
    world.later(6).settle()
    assert seconds(world)["Inspected"] == 6
    assert seconds(world.later(60).settle())["Inspected"] == 6


def test_a_spec_that_is_refused_has_only_begun() -> None:
    world = World().edit(runtime={"version": "no-such"})
    world.generation = 1
    world.settle()
    assert seconds(world) == {"Accepted": None}
    world.later(60).edit(runtime={"version": "cpu-0.32.0"}).settle()
    # What was wrong was mended by an edit: that is where it begins.
    assert (timeline(world).generation, seconds(world)) == (2, {"Accepted": 0})


def test_a_model_that_is_fetched() -> None:
    world = hub_world().settle()
    assert seconds(world) == {"Accepted": 0}
    started = {**job_of(world).body, "status": {"startTime": at(2).isoformat()}}
    world.children["Job", job_of(world).name] = replace(job_of(world), body=started)
    world.changes["fetch_pods"] = (fetch_pod(world),)
    assert seconds(world.later(5).settle()) == {"Accepted": 0, "Fetched": None}
    world.changes["fetch_pods"] = ()
    body = job_of(report(end_job(world, "Complete"), GOOD)).body
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": at(43).isoformat()}
    status = {"startTime": at(2).isoformat(), "conditions": [condition]}
    world.children["Job", job_of(world).name] = replace(job_of(world), body={**body, "status": status})
    world.later(40).settle()
    fetched = timeline(world).step(StepName.FETCHED)
    assert fetched is not None
    assert (fetched.seconds, fetched.total_bytes, fetched.bytes_per_second) == (41, 123, 3)
    assert timeline(world).revision == world.status.revision


def test_a_pod_that_goes_before_it_generates_is_told_no_more() -> None:
    world = World().settle()
    world.pods = (started_pod(world),)
    world.settle()
    world.pods = (started_pod(world, "llama-2", created_at=at(100), scheduled_at=at(130), started_at=None),)
    world.later(200).settle()
    assert timeline(world).pod == "llama-2"
    assert seconds(world) == {"Accepted": 0, "Scheduled": 30, "ImagePulled": None}


def test_an_edit_that_restarts_nothing_changes_nothing_and_one_that_rolls_begins_anew() -> None:
    world = World().settle()
    world.pods = (generated(started_pod(world), 50, 58),)
    told = timeline(world.settle())
    assert timeline(world.later(100).edit(replicas=2).settle()) == told
    assert timeline(world.edit(runtime={"version": "no-such"}).settle()) == told
    world.edit(runtime={"version": "cpu-0.32.0"}, engine={"maxModelLen": 512}).settle()
    assert (timeline(world).generation, seconds(world)) == (4, {"Accepted": 0})
    assert timeline(world).revision == world.status.revision != told.revision


def test_what_was_there_before_timelines_were_kept_gets_none() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    world.status = world.status.model_copy(update={"timeline": None})
    assert world.decide().status is None
    assert LLMDeploymentStatus.model_validate({}).timeline is None


def test_the_times_of_a_pod_are_read_from_it() -> None:
    def condition(kind: str, second: int) -> dict[str, str]:
        return {"type": kind, "status": "True", "lastTransitionTime": f"2026-11-23T12:00:{second:02}Z"}

    running = {"running": {"startedAt": "2026-11-23T12:00:12Z"}}
    done = {"terminated": {"startedAt": "2026-11-23T12:00:04Z", "finishedAt": "2026-11-23T12:00:09Z", "exitCode": 0}}
    conditions = [
        condition("PodScheduled", 3),
        condition("Initialized", 10),
        condition("ContainersReady", 50),
        condition("triton-vllm.dev/generates", 58),
    ]
    status = {
        "conditions": conditions,
        "containerStatuses": [{"name": "triton", "state": running}],
        "initContainerStatuses": [{"name": "prepare", "state": done}],
    }
    pod = project_pod({"metadata": {"name": "p", "creationTimestamp": "2026-11-23T12:00:01Z"}, "status": status})
    assert (pod.created_at, pod.scheduled_at, pod.prepare_began) == (at(1), at(3), at(4))
    assert (pod.initialized_at, pod.started_at) == (at(10), at(12))
    assert (pod.containers_ready_at, pod.generates_since) == (at(50), at(58))
    assert project_pod({"metadata": {"name": "p", "creationTimestamp": "yesterday"}}).created_at is None


def test_of_several_pods_the_oldest_is_told_of_and_stays_so() -> None:
    world = World().settle()
    world.pods = (started_pod(world, "b", created_at=at(5)), started_pod(world, "a", created_at=at(1)))
    assert timeline(world.settle()).pod == "a"
    # An older one that comes to light later is not the one that was told of.
    world.pods = (*world.pods, started_pod(world, "c", created_at=at(0)))
    assert timeline(world.later(5).settle()).pod == "a"


def test_what_the_engine_says_of_its_compilation_is_a_step_of_its_own_revision() -> None:
    world = World().settle()
    world.pods = (generated(started_pod(world), 50, 58),)
    world.settle()
    memory = MemoryStatus(measured=MeasuredMemory(compile_seconds=21))
    world.status = world.status.model_copy(update={"memory_plan": memory})
    assert seconds(world.settle())["Compiled"] == 21
    told = timeline(world)
    assert [step.name for step in told.steps or ()][-2:] == [StepName.COMPILED, StepName.GENERATED]
    # What another revision's engine measured is none of it.
    other = told.model_copy(
        update={"revision": "another", "steps": tuple((told.steps or ())[:-2]) + (told.steps or ())[-1:]}
    )
    world.status = world.status.model_copy(update={"timeline": other})
    assert "Compiled" not in seconds(world.settle())


def test_where_each_pod_fetches_that_is_a_step_of_the_pod() -> None:
    world = hub_world(cache=None).settle()
    report(end_job(world, "Complete"), GOOD).later(10).settle()
    world.changes["fetch_pods"] = ()
    world.pods = (started_pod(world, prepare_began=at(4), initialized_at=at(10), started_at=at(12)),)
    world.later(20).settle()
    found = seconds(world)
    assert (found["Fetched"], found["ImagePulled"]) == (6, 2)
    fetched = timeline(world).step(StepName.FETCHED)
    assert fetched is not None
    assert (fetched.total_bytes, fetched.bytes_per_second) == (123, 20)


def test_an_edit_begins_when_it_is_seen_and_not_with_the_resource() -> None:
    world = World(now=at(7))
    world.changes["resource"] = replace(world.observe().resource, created_at=NOW, generation=2)
    assert seconds(world.settle()) == {"Accepted": 0}
