"""Updates that something happens to on the way: an edit, a scale, a refusal, a pause, a node that is cordoned."""

from dataclasses import replace
from typing import Any

import pytest

from support.nodes import make_node
from support.pods import OWN_QUOTA, make_pod, make_serving
from support.simulate import World
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict
from triton_vllm_operator.reconcile.model import Refusal
from triton_vllm_operator.reconcile.reconciler import still_held
from unit.test_pausing import pause
from unit.test_rollback import DEADLINE, late, template_revision
from unit.test_rollback import edited as rolled
from unit.test_rolling import FULL, SPARE, SPEC, bounds, make_placed, serving

SURGES, REPLACES = (1, 0), (0, 1)
TOO_SMALL_QUOTA = "exceeded quota: a, requested: requests.cpu=90, used: requests.cpu=4, limited: requests.cpu=6"
UNSCHEDULABLE = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]


def surging(**spec: Any) -> World:
    """Of two GPUs one serves, and a new pod loads on the other."""
    world = serving(**spec)
    world.changes["places"] = SPARE
    world.edit(engine={"maxNumSeqs": 7}).settle()
    loading = replace(make_placed(make_pod(world.revision, "llama-2")), created_at=world.now)
    world.pods = (*world.pods, loading)
    world.settle()
    assert bounds(world) == SURGES
    return world


def two() -> World:
    """Two GPUs, on each of which a pod serves."""
    world = World(spec={**SPEC, "replicas": 2}).settle()
    world.pods = tuple(make_placed(make_serving(world.revision, f"llama-{number}")) for number in (1, 2))
    return world.settle().settle()


def nodes(names: str, cordoned: str = "") -> Places:
    """Of one GPU each; one named c is of another kind."""
    made = (
        make_node(name, {"kind": "new"} if name == "c" else {}, 1, taints=UNSCHEDULABLE if name in cordoned else None)
        for name in names
    )
    return Places(tuple(made))


def on_two_nodes() -> World:
    """A pod serves on each of the nodes a and b."""
    world = World(spec={**SPEC, "replicas": 2}).settle()
    world.pods = tuple(replace(make_serving(world.revision, f"llama-{name}"), node=name) for name in "ab")
    return world.settle().settle()


def make_waiting(world: World, name: str = "llama-9") -> Any:
    return make_pod(
        world.revision,
        name,
        scheduled_at=None,
        phase="Pending",
        running=False,
        ip=None,
        unschedulable="0/1 nodes are available",
        created_at=world.now,
    )


def refuse(world: World, message: str, **counters: int) -> None:
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    failure = {"type": "ReplicaFailure", "status": "True", "message": message}
    deployment.body["status"] = {"conditions": [failure], **counters}


def rolled_back() -> tuple[World, str]:
    world, good, _ = rolled()
    late(world).settle()
    world.pods = (make_serving(world.revision, "llama-3"),)
    world.settle()
    assert runs(world, good)
    return world, good


def runs(world: World, name: str) -> bool:
    return template_revision(world) == name.rsplit("-", 1)[-1]


def test_an_edit_during_a_surge_takes_the_pod_that_loads_and_not_the_one_that_serves() -> None:
    world = surging()
    world.edit(engine={"maxNumSeqs": 8}).settle()
    assert bounds(world) == SURGES
    assert "there will be room for a new pod once those have ended that do not serve" in world.message("Progressing")


def test_nobody_goes_without_an_answer_where_the_first_spec_comes_back() -> None:
    world = surging()
    world.edit(engine={}).settle()
    assert "nobody answers" not in world.message("Progressing")


def test_an_edit_while_a_pod_goes_that_was_too_many_waits_for_its_place() -> None:
    world = two()
    world.edit(replicas=1).settle()
    world.pods = (replace(world.pods[0], terminating=True), world.pods[1])
    world.changes["places"] = SPARE
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert bounds(world) == SURGES


def test_fewer_pods_amid_updates_take_no_generation_away_by_its_size() -> None:
    """As many stay at first as there are; the Deployment controller sees that, and lets those go that do not serve."""
    world = two()
    world.changes["places"] = Places((make_node("a", {}, 3),))
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert bounds(world) == SURGES
    world.edit(engine={"maxNumSeqs": 8}, replicas=1).settle()
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    deployment.body["metadata"]["generation"], deployment.body["status"] = 7, {"observedGeneration": 6}
    assert (bounds(world), world.settle().decide().writes) == ((2, 0), ())
    assert as_dict(deployment.body["spec"])["paused"] is True, "else so many new ones would be made"
    deployment.body["status"] = {"observedGeneration": 7}
    assert bounds(world.settle()) == SURGES
    assert "paused" not in as_dict(world.of_kind(DEPLOYMENT.kind)[0].body["spec"])


def test_fewer_pods_and_another_spec_at_once() -> None:
    world = two()
    world.changes["places"] = SPARE
    world.edit(replicas=1, engine={"maxNumSeqs": 7}).settle()
    assert bounds(world) == SURGES


@pytest.mark.parametrize(
    ("message", "wanted", "reason"),
    [
        (f'pods "x-" is forbidden: {OWN_QUOTA}', REPLACES, "SurgeRefused"),
        # Room for what the old one has, and for no more.
        (TOO_SMALL_QUOTA, SURGES, "PodsRefused"),
        ('pods "x-" is forbidden: error looking up service account a/b: not found', SURGES, "PodsRefused"),
        ('admission webhook "policy" denied the request: no', SURGES, "PodsRefused"),
        ('pods "x-" is forbidden: violates PodSecurity "restricted:latest"', SURGES, "PodsRefused"),
    ],
)  # fmt: skip
def test_no_pod_goes_for_one_that_would_be_refused_in_its_place_too(
    message: str, wanted: tuple[int, int], reason: str
) -> None:
    world = serving()
    world.changes["places"] = SPARE
    world.edit(engine={"maxNumSeqs": 7}).settle()
    refuse(world, message)
    world.settle().later(5).settle().settle()
    assert bounds(world) == wanted
    if wanted == SURGES:
        assert world.condition("Ready") == ("False", reason)
    else:
        assert world.status.rollout is not None
        assert world.status.rollout.reason == reason
    again = world.decide()
    assert (again.writes, again.status) == ((), None)


def test_the_place_of_a_new_pod_is_no_place_for_the_next() -> None:
    world = on_two_nodes()
    world.changes["places"] = nodes("abc")
    world.edit(scheduling={"nodeSelector": {"kind": "new"}}).settle()
    assert bounds(world) == SURGES
    new = replace(make_serving(world.revision, "llama-c"), node="c", created_at=world.now)
    world.pods = (world.pods[1], new, make_waiting(world))
    world.settle()
    assert bounds(world) == SURGES, "the last old pod would go for one that fits nowhere"
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "Unschedulable"


def test_a_node_that_is_cordoned_in_the_middle_keeps_its_pod() -> None:
    world = on_two_nodes()
    world.changes["places"] = nodes("ab")
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert bounds(world) == REPLACES
    world.pods = (world.pods[1], replace(make_pod(world.revision, "llama-c"), node="a", created_at=world.now))
    world.changes["places"] = nodes("ab", cordoned="b")
    world.settle().later(20).settle()
    assert bounds(world) == SURGES


@pytest.mark.parametrize(("strategy", "wanted"), [("Auto", SURGES), ("Surge", SURGES), ("Replace", REPLACES)])
def test_a_restart_begins_as_the_strategy_says(strategy: str, wanted: tuple[int, int]) -> None:
    assert bounds(serving(rollout={"strategy": strategy})) == wanted


def test_also_after_a_replacement() -> None:
    world = serving()
    world.changes["places"] = FULL
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert bounds(world) == REPLACES
    world.pods = (make_placed(make_serving(world.revision, "llama-2")),)
    world.settle()
    assert bounds(world) == SURGES
    assert world.decide().writes == ()


def test_a_restart_under_a_quota_that_is_used_up_replaces() -> None:
    """There is no pod of the new template, and those that are there are not it."""
    world = serving()
    world.changes["places"] = SPARE
    refuse(world, OWN_QUOTA, updatedReplicas=0)
    world.settle().later(5).settle()
    assert bounds(world) == REPLACES
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "SurgeRefused"
    world.pods = (
        replace(world.pods[0], template="1"),
        make_pod(world.revision, "llama-9", template="2", created_at=world.now),
    )
    world.settle()
    assert "1 pod is left to replace" in world.message("Progressing")


def test_a_pod_that_never_goes_is_not_waited_for_for_ever() -> None:
    world = surging()
    stuck = replace(world.pods[0], terminating=True, ends_at=world.now, name="llama-0", uid="u")
    waiting = make_waiting(world)
    world.pods = (world.pods[0], stuck, waiting)
    world.settle().later(14).settle()
    assert world.status.rollout is not None
    assert world.status.rollout.waiting_since is None
    looks = world.decide().look_again_at
    assert looks is not None
    world.now = looks
    world.settle().later(60).settle()
    assert bounds(world) == REPLACES


def test_an_edit_that_a_quota_refused_and_that_is_taken_back_replaces_nothing() -> None:
    world = serving()
    world.changes["places"] = SPARE
    first = dict(world.spec)
    world.edit(engine={"maxNumSeqs": 7}).settle()
    refuse(world, OWN_QUOTA, updatedReplicas=0)
    world.changes["places"] = FULL
    world.spec = first
    world.edit().settle()
    assert bounds(world) == SURGES
    assert world.status.rollout is None


def test_more_pods_than_a_quota_admits_restart_nothing() -> None:
    world = serving()
    world.edit(replicas=2).settle()
    refuse(world, OWN_QUOTA, updatedReplicas=1)
    world.settle().later(5).settle()
    assert bounds(world) == SURGES


def test_a_deployment_of_an_operator_before_rollouts_is_left_alone_until_an_edit() -> None:
    """An upgrade writes to none, also not on the way back."""
    world = serving()
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    as_dict(as_dict(deployment.body["spec"])["strategy"])["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": 1}
    assert bounds(world.settle()) == REPLACES
    assert world.decide().writes == ()
    world.edit(probe={"periodSeconds": 11}).settle()
    assert bounds(world) == SURGES


def test_another_strategy_counts_from_the_next_restart_on() -> None:
    world = serving(rollout={"strategy": "Replace"})
    assert bounds(world) == REPLACES
    world.edit(rollout={"strategy": "Auto"}).settle()
    assert bounds(world) == SURGES


def test_pods_beside_one_another_are_not_more_than_all() -> None:
    world = surging()
    loaded = replace(make_placed(make_serving(world.revision, "llama-2")), created_at=world.now)
    world.pods = (world.pods[0], loaded)
    world.settle()
    assert world.message("Available") == "2 pods generate, and 1 are wanted"


def test_bounds_of_somebody_else_are_put_back_as_they_were() -> None:
    world = surging()
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    as_dict(as_dict(deployment.body["spec"])["strategy"])["rollingUpdate"] = {"maxSurge": "100%", "maxUnavailable": 0}
    world.settle()
    assert bounds(world) == SURGES


def test_what_fits_nowhere_is_not_forgotten_when_nodes_are_told_no_more() -> None:
    world = serving()
    world.changes["places"] = Places((make_node("a", {}, 2),))
    world.edit(engine={"tensorParallelSize": 4}).settle()
    world.pods = (*world.pods, make_waiting(world))
    world.settle()
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "Unschedulable"
    world.later(200)
    world.changes["places"] = Places(why_unknown="403")
    world.settle()
    assert bounds(world) == SURGES


def test_a_refusal_by_the_api_server_forgets_no_rollback() -> None:
    world, good = rolled_back()
    world.changes["refusal"] = Refusal("Deployment", "llama", "failed calling webhook")
    world.settle()
    del world.changes["refusal"]
    world.settle()
    assert runs(world, good)


def test_a_revision_that_generates_after_a_pause_is_not_rolled_back() -> None:
    world, _, bad = rolled()
    revision = world.revision
    world.pods = (make_pod(revision, "llama-2", scheduled_at=world.now),)
    world.later(DEADLINE)
    pause(world).settle()
    assert world.status.rollback is None
    world.pods = (make_serving(revision, "llama-2"),)
    pause(world).settle()
    pause(world, paused=False).settle()
    assert runs(world, bad)


def test_to_hold_from_now_on_changes_no_rollback() -> None:
    world, good = rolled_back()
    world.edit(rollout={"onFailure": "Hold", "strategy": "Replace"}).settle()
    assert runs(world, good)


def test_what_was_waited_for_is_not_waited_for_again() -> None:
    """Where the write that follows fails."""
    world = serving(rollout={"waitForIdleSeconds": 600})
    world.changes["places"] = FULL
    world.changes["loads"] = {"llama-1": 3}
    world.edit(engine={"maxNumSeqs": 7}).settle()
    assert world.status.rollout is not None
    held = world.status.rollout.held
    assert held is not None
    after = world.later(601).decide().status
    assert after is not None
    assert still_held(world.status.rollout, after.rollout) == world.status.rollout
    assert any(write.manifest["kind"] == "Deployment" for write in world.later(5).decide().writes)
