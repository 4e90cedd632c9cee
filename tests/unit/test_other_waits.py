"""A new pod that waits for something else than room."""

from dataclasses import replace

import pytest

from support.nodes import make_node
from support.pods import make_pod
from triton_vllm_operator.kube.place_lister import Places
from unit.test_odd_rollouts import REPLACES, SURGES, make_waiting
from unit.test_rolling import FULL, SPARE, bounds, make_placed, serving


@pytest.mark.parametrize(
    "says",
    [
        'persistentvolumeclaim "typo" not found',
        "pod has unbound immediate PersistentVolumeClaims",
        'persistentvolumeclaim "old" is being deleted',
        # Nobody has looked: the scheduler is down, or there is none of that name.
        "",
    ],
)
def test_no_pod_goes_for_one_that_waits_for_something_else_than_room(says: str) -> None:
    world = serving()
    world.changes["places"] = SPARE
    world.edit(engine={"maxNumSeqs": 7}).settle()
    world.pods = (*world.pods, replace(make_waiting(world), unschedulable=says))
    world.settle().later(61).settle().later(3600).settle()
    assert bounds(world) == SURGES
    assert world.status.rollout is not None
    assert world.status.rollout.reason == ("Unschedulable" if says else "SurgeFits")
    assert says in world.status.rollout.message
    again = world.decide()
    assert (again.writes, again.status) == ((), None)
    # What it waited for has come.
    placed = make_placed(replace(world.pods[1], unschedulable="", scheduled_at=world.now, running=True))
    world.pods = (world.pods[0], placed)
    world.settle()
    assert bounds(world) == SURGES


def test_the_gap_that_is_told_is_that_of_the_pod_that_goes() -> None:
    world = serving(drain={"timeoutSeconds": 3600})
    world.changes["places"] = FULL
    world.edit(drain={"timeoutSeconds": 60}).settle()
    assert bounds(world) == REPLACES
    assert world.status.rollout is not None
    assert "(3620 s at most)" in world.status.rollout.message


@pytest.mark.parametrize(("shares", "goes"), [("2", True), ("1", False)])
def test_a_share_of_a_gpu_whose_memory_the_old_pod_has_is_no_place(shares: str, goes: bool) -> None:
    """To the scheduler it is one. A GPU of its own that is not free yet will be, without anybody's going."""
    labels = {"nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": shares}
    world = serving()
    world.changes["places"] = Places((make_node("a", labels, 2),))
    world.edit(engine={"maxNumSeqs": 7}).settle()
    waiting = make_placed(make_pod(world.revision, "llama-2", created_at=world.now, waits_for_memory="GPU 0 has 8 GiB"))
    world.pods = (*world.pods, waiting)
    world.settle().later(61).settle().settle()
    assert bounds(world) == (REPLACES if goes else SURGES)
    if goes:
        assert world.status.rollout is not None
        assert "it has a share of a GPU, and not its memory: GPU 0 has 8 GiB" in world.status.rollout.message
    again = world.decide()
    assert (again.writes, again.status) == ((), None)
