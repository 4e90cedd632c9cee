"""What keeps a new pod from starting, and takes no old one away: claims, accounts, classes, others' places."""

from decimal import Decimal
from typing import Any

import pytest

from support.nodes import make_node
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.pod import Ended
from triton_vllm_operator.kube.resources import JOB, as_dict
from unit.test_holding import ANOTHER_MODEL, end_job, pulling, serving, template_of
from unit.test_rolling import bounds

CACHE: dict[str, Any] = {"cache": {"persistentVolumeClaim": {"claimName": "compiled"}}}


def test_a_claim_that_is_new_is_mounted_before_the_old_pod_goes() -> None:
    world = serving().edit(**CACHE).settle().settle()
    assert "node a gets what the new one needs: PersistentVolumeClaim compiled" in world.message("Progressing")
    (job,) = world.of_kind(JOB.kind)
    pod = as_dict(as_dict(as_dict(job.body["spec"])["template"])["spec"])
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert claims == ["compiled"]
    end_job(world, "Complete")
    assert bounds(world.settle()) == (0, 1)


def test_a_claim_that_is_not_there_takes_no_pod_away() -> None:
    world = serving().edit(**CACHE).settle()
    lacking = 'persistentvolumeclaim "compiled" not found'
    world.changes["fetch_pods"] = (pulling(world, scheduled_at=None, ip=None, unschedulable=lacking),)
    world.settle().later(1900).settle().settle()
    assert bounds(world) == (1, 0)
    assert world.condition("Available")[0] == "True"
    assert world.condition("Stalled") == ("True", "Unschedulable")
    assert lacking in world.message("Ready")
    again = world.decide()
    assert (again.writes, again.status) == ((), None)
    # Somebody makes it.
    world.changes["fetch_pods"] = ()
    end_job(world, "Complete")
    assert bounds(world.settle()) == (0, 1)


@pytest.mark.parametrize(
    ("message", "goes"),
    [
        ('pods "a" is forbidden: error looking up service account ns/cloud: serviceaccount "cloud" not found', False),
        ('pods "web-pull-" is forbidden: pod rejected: RuntimeClass "typo" not found', False),
        ('pods "web-pull-" is forbidden: no PriorityClass with name typo was found', False),
        # The pod that serves asks for more.
        ("minimum memory usage per Container is 1Gi, but request is 128Mi", True),
    ],
)  # fmt: skip
def test_what_would_keep_the_new_pod_from_being_made_takes_no_pod_away(message: str, goes: bool) -> None:
    world = serving().edit(scheduling={"priorityClassName": "typo"}).settle()
    (job,) = world.of_kind(JOB.kind)
    world.changes["podless"] = {job.name: message}
    world.settle().later(61).settle().settle()
    assert bounds(world) == ((0, 1) if goes else (1, 0))
    if not goes:
        assert world.condition("Ready") == ("False", "PodsRefused")


def test_a_container_beside_the_one_that_pulls_holds_nothing_up() -> None:
    """A mesh puts one into each pod, and the Job never ends."""
    world = serving().edit(**ANOTHER_MODEL).settle()
    pulled = Ended("Completed", 0, "", container_id="containerd://9")
    world.changes["fetch_pods"] = (pulling(world, ended=pulled),)
    assert bounds(world.settle()) == (0, 1)


def test_a_new_pod_that_fits_nowhere_preempts_nobody() -> None:
    """The old pod's node is cordoned, and of the other one somebody else has the GPU."""
    world = serving(scheduling={"priorityClassName": "high"})
    cordoned = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    taken = {"b": {"nvidia.com/gpu": Decimal(1)}}
    world.changes["places"] = Places((make_node("a", {}, 1, taints=cordoned), make_node("b", {}, 1)), taken)
    template = template_of(world)
    world.edit(engine={"maxNumSeqs": 7}).settle().settle()
    assert template_of(world) == template
    assert world.condition("Ready") == ("False", "Unschedulable")
    assert "a new pod would preempt others" in world.message("Ready")
    again = world.later(20).decide()
    assert (again.writes, again.status) == ((), None)
    world.changes["places"] = Places((make_node("a", {}, 1, taints=cordoned), make_node("b", {}, 1)))
    world.settle()
    assert template_of(world) != template
    assert bounds(world) == (1, 0)
