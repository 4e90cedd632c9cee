"""A revision that never generates: held, or taken back to the one that did."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.pods import make_pod, make_serving
from support.simulate import World
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.health.failures.last_words import find_last_words
from triton_vllm_operator.kube.pod import Ended, Pod
from triton_vllm_operator.kube.resources import as_dict, metadata_of, name_of

DEADLINE = 1801
IN_VAIN = "Total number of attention heads (9) must be divisible by tensor parallel size (2)."


def edited(on_failure: str = "Rollback") -> tuple[World, str, str]:
    """An LLMDeployment that served and was edited, with the names of both revisions."""
    world = World()
    world.spec |= {"rollout": {"onFailure": on_failure, "strategy": "Replace"}}
    world.settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    good = world.status.revision
    world.edit(engine={"maxNumSeqs": 7}).settle()
    bad = world.status.revision
    assert good is not None
    assert bad is not None
    assert world.status.generated == good
    return world, good, bad


def fresh(world: World, **changes: Any) -> Pod:
    return make_pod(world.revision, "llama-2", scheduled_at=world.now, **changes)


def template_revision(world: World) -> str:
    (child,) = world.of_kind("Deployment")
    template = as_dict(as_dict(child.body["spec"])["template"])
    return str(as_dict(metadata_of(template)["labels"])["triton-vllm.dev/revision"])


def late(world: World) -> World:
    """Its only pod has not generated in time."""
    world.pods = (fresh(world),)
    return world.settle().later(DEADLINE)


def test_one_that_no_node_takes_is_looked_at_when_it_is_late() -> None:
    """Nothing else may happen then: of larger weights it is later than Kubernetes' own deadline."""
    world, good, _ = edited()
    unplaced = fresh(world)
    world.pods = (replace(unplaced, scheduled_at=None, created_at=world.now, running=False, unschedulable="0/1 nodes"),)
    looks = world.settle().decide().look_again_at
    assert looks is not None
    world.now = looks
    world.settle()
    assert world.status.revision == good


def test_what_never_generates_is_held() -> None:
    world, _, bad = edited("Hold")
    late(world).settle()
    assert world.status.revision == bad
    assert world.condition("Ready") == ("False", "StartupDeadlineExceeded")
    assert world.status.rollback is None


def test_or_the_last_good_revision_runs_again() -> None:
    world, good, bad = edited()
    late(world).settle()
    assert world.status.revision == good
    assert template_revision(world) == good.rsplit("-", 1)[-1]
    assert world.status.rollback is not None
    assert (world.status.rollback.revision, world.status.rollback.to) == (bad, good)
    assert world.condition("Ready")[0] == "False"
    # The newest is the one that runs: a restarted operator, and one that has lost the status, see what there is.
    assert world.decide().writes == ()
    world.pods = (make_serving(world.revision, "llama-3"),)
    world.settle()
    assert world.condition("Ready") == ("False", "RolledBack")
    assert world.condition("Available")[0] == "True"
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert f"{good} runs again since" in world.message("Ready")
    assert f"for {bad}, which the spec asks for, did not generate" in world.message("Ready")
    assert "to go back to the spec that runs: kubectl llm rollout undo llama;" in world.message("Ready")
    settled = world.later(3600).decide()
    assert (settled.writes, settled.prunes, settled.status) == ((), (), None)


def test_what_is_told_of_it_names_no_log_that_is_gone_with_its_pod() -> None:
    world, good, bad = edited()
    killed = Ended("OOMKilled", 137, "", container_id="containerd://1")
    world.pods = (fresh(world, ended=killed, running=False, restarts=3),)
    found = [news for _ in range(4) for news in world.later(DEADLINE).step().news]
    assert world.status.rollback is not None
    assert world.status.rollback.message == (
        "pod llama-2 used too much memory and was killed (OOMKilled), 4 times by now; "
        "raise spec.resources.limits.memory"
    )
    (told,) = (news.message for news in found if news.reason == "RevisionChanged")
    why = f"since those of {bad}, which the spec asks for, did not generate (OutOfMemory)"
    assert told == f"pods are replaced by those of {good}, {why}"


def test_what_ends_in_vain_is_not_waited_for() -> None:
    world, good, _ = edited()
    ended = Ended("Error", 1, IN_VAIN, container_id="containerd://1")
    world.pods = (fresh(world, running=False, ended=ended, restarts=4),)
    world.changes["last_words"] = {"llama-2": find_last_words(IN_VAIN)}
    world.settle()
    assert world.status.revision == good
    assert world.status.rollback is not None
    assert world.status.rollback.reason == "HeadsAgainstTp"


@pytest.mark.parametrize(
    "pods",
    [
        # One has generated, it is only slow, or it has no node.
        lambda world: (make_serving(world.revision, "llama-2"), fresh(world)),
        lambda world: (replace(fresh(world), scheduled_at=world.now + timedelta(seconds=DEADLINE - 10)),),
        lambda world: (replace(fresh(world), scheduled_at=None, created_at=world.now + timedelta(seconds=9)),),
        lambda _: (),
    ],
)
def test_what_may_still_generate_goes_on(pods: Any) -> None:
    world, _, bad = edited()
    world.pods = pods(world)
    world.settle().later(DEADLINE).settle()
    assert (world.status.revision, world.status.rollback) == (bad, None)


def test_what_no_node_takes_goes_back_too() -> None:
    world, good, _ = edited()
    world.pods = (replace(fresh(world), scheduled_at=None, created_at=world.now, unschedulable="no node"),)
    world.settle().later(DEADLINE).settle()
    assert world.status.revision == good
    assert world.status.rollback is not None
    assert world.status.rollback.reason == "Unschedulable"


def test_rollback_is_chosen_after_no_pod_was_kept() -> None:
    world, good, bad = edited("Hold")
    ended = Ended("Error", 1, IN_VAIN, container_id="containerd://1")
    world.pods = (fresh(world, running=False, ended=ended, restarts=4),)
    world.changes["last_words"] = {"llama-2": find_last_words(IN_VAIN)}
    world.settle().settle()
    assert world.status.stopped is not None
    world.pods = ()
    world.edit(rollout={"onFailure": "Rollback", "strategy": "Replace"}).settle()
    assert (world.status.revision, world.status.stopped) == (good, None)
    assert world.status.rollback is not None
    assert world.status.rollback.revision == bad


def test_a_good_revision_is_known_that_an_earlier_operator_did_not_note() -> None:
    world, good, _ = edited()
    world.status = world.status.model_copy(update={"generated": None})
    (old,) = world.pods
    world.pods = (old, fresh(world))
    world.settle()
    assert world.status.generated == good


def test_another_spec_tries_anew() -> None:
    world, good, _ = edited()
    late(world).settle()
    world.edit(engine={"maxNumSeqs": 9}).settle()
    assert world.status.rollback is None
    assert world.status.revision != good


def test_the_spec_as_it_was_is_no_rollback_any_more() -> None:
    world, good, _ = edited()
    late(world).settle()
    world.pods = (make_serving(world.revision, "llama-3"),)
    world.edit(engine={}).settle()
    assert (world.status.rollback, world.status.revision) == (None, good)
    assert world.condition("Ready")[0] == "True"


def test_a_restart_tries_the_spec_again() -> None:
    world, _, bad = edited()
    late(world).settle()
    world.pods = ()
    (child,) = world.of_kind("Deployment")
    template = as_dict(as_dict(child.body["spec"])["template"])
    as_dict(template["metadata"])["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026-11-23T13:00:00Z"}
    world.settle()
    assert world.status.revision == bad


def test_where_nothing_ever_generated_there_is_nowhere_to_go_back_to() -> None:
    world = World()
    world.spec |= {"rollout": {"onFailure": "Rollback"}}
    world.settle()
    late(world).settle()
    assert world.status.rollback is None
    assert world.condition("Ready") == ("False", "StartupDeadlineExceeded")


def refused(world: World, since: int) -> World:
    """Kubernetes makes no pod of the newest revision."""
    told = format_time(world.now - timedelta(seconds=since))
    message = 'pods "llama-" is forbidden: no PriorityClass with name typo was found'
    failure = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": told, "message": message}
    (child,) = world.of_kind("Deployment")
    child.body["status"] = {"conditions": [failure]}
    world.pods = ()
    return world.settle()


def test_pods_that_kubernetes_never_makes_are_taken_back_at_the_deadline() -> None:
    """Which begins with this rollout, though it refused those of another before."""
    world, good, bad = edited()
    refused(world, since=7200)
    assert world.later(DEADLINE - 2).settle().status.revision == bad
    looks = world.decide().look_again_at
    assert looks is not None
    world.now = looks
    world.settle()
    assert world.status.revision == good
    assert world.status.rollback is not None
    assert world.status.rollback.reason == "PodsRefused"
    assert "no PriorityClass with name typo" in world.status.rollback.message


def test_none_that_are_wanted_are_no_failure() -> None:
    world, _, bad = edited()
    world.edit(replicas=0).settle()
    world.pods = ()
    assert world.settle().later(DEADLINE * 2).settle().status.revision == bad


@pytest.mark.parametrize(("often", "goes_back"), [(1, False), (5, True)])
def test_pods_that_nodes_end_one_after_the_other_share_one_deadline(often: int, goes_back: bool) -> None:
    world, good, bad = edited()
    world.later(DEADLINE)
    ended = [
        replace(fresh(world), name=f"llama-{number}", uid=f"uid-{number}", phase="Failed", phase_reason="Evicted",
                running=False, created_at=world.now - timedelta(seconds=60))
        for number in range(10, 10 + often)
    ]  # fmt: skip
    world.pods = (*ended, replace(fresh(world), created_at=world.now))
    world.settle()
    assert world.status.revision == (good if goes_back else bad)
    if goes_back:
        assert world.condition("Ready")[0] == "False"


def test_the_revisions_that_generated_are_kept_however_many_fail_after_them() -> None:
    world, good, _ = edited("Hold")
    world.pods = ()
    for number in range(8, 30):
        world.edit(engine={"maxNumSeqs": number}).settle()
    assert world.status.generated == good
    assert good in {name_of(each.body) for each in world.of_kind("ControllerRevision")}
    world.pods = (make_serving(world.revision),)
    world.settle()
    assert world.status.generated == world.status.revision
    assert world.status.generated_before == (good,)
