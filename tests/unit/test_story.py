"""`kubectl describe llm` tells what happened, each thing once, and nothing of what stays as it is."""

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import World
from triton_vllm_operator.kube.pod import Gate
from triton_vllm_operator.reconcile.model import News


def told(world: World) -> list[tuple[str, bool]]:
    """What is told while the world settles: reasons, and whether they warn."""
    found: list[News] = []
    for _ in range(10):
        decision = world.step()
        found += decision.news if decision.status is not None else ()
        if decision.status is None and not decision.writes:
            return [(news.reason, news.is_warning) for news in found]
    raise AssertionError("it does not settle")


def test_a_start_tells_that_it_is_ready() -> None:
    world = World()
    assert told(world) == [], "it only starts"
    world.pods = (make_pod(world.revision),)
    assert told(world) == []
    world.pods = (make_serving(world.revision),)
    assert told(world) == [("Ready", False)]
    assert told(world) == []


def test_what_stops_working_warns() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    world.pods = (make_pod(world.revision, gate=Gate(False, "GenerateFailed", CONTAINER, detail="HTTP 500")),)
    assert told(world) == [("NotReady", True), ("Degraded", True), ("Stalled", True)]
    world.pods = (make_serving(world.revision),)
    assert told(world) == [("Ready", False)]


def test_an_edit_tells_what_it_replaces_and_why() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    before = world.status.revision
    world.edit(engine={"maxModelLen": 256})
    found: list[News] = []
    for _ in range(4):
        found += world.step().news
    assert [news.reason for news in found] == ["RevisionChanged", "NotReady"]
    assert world.status.revision != before
    assert str(world.status.revision) in found[0].message
    assert "spec.engine.maxModelLen changed" in found[0].message


def test_a_refused_edit_warns() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    world.edit(runtime={"version": "99.99"})
    assert ("NotAccepted", True) in told(world)
    assert told(world) == []
