"""kubectl llm rollout: status, history and undo."""

import json
from typing import Any

import pytest

from support.kubectl import Cluster, llm_body
from support.simulate import World
from triton_vllm_operator.api.status import ConditionStatus
from triton_vllm_operator.cli.__main__ import main


def revised(**more: Any) -> World:
    """Two revisions, the second of which did not generate."""
    world = World().settle()
    world.spec |= {"engine": {"maxNumSeqs": 7}, "replicas": 3}
    world.generation = 2
    world.settle()
    first = min(world.of_kind("ControllerRevision"), key=lambda child: int(str(child.body["revision"])))
    world.status = world.status.model_copy(update={"generated": first.name, **more})
    return world


def show(cluster: Cluster, world: World) -> None:
    cluster.answer("get-llmdep", llm_body(world.status, 2, **world.spec))
    bodies = [{**child.body, "metadata": {"name": child.name}} for child in world.of_kind("ControllerRevision")]
    cluster.answer("get-controllerrevisions", {"items": bodies})
    cluster.answer("get-pods", {"items": []})
    cluster.answer("patch", "patched")


def last_patch(cluster: Cluster) -> Any:
    words = cluster.asked[-1][0]
    return json.loads(next(word for word in words if word.startswith("--patch=")).removeprefix("--patch="))


def test_history_says_what_changed_and_what_runs(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    show(cluster, revised())
    assert main(["rollout", "history", "llama"]) == 0
    title, first, second = capsys.readouterr().out.splitlines()
    assert title.split(maxsplit=2) == ["REVISION", "NAME", "CHANGES FROM THE ONE ABOVE"]
    assert first.endswith("the first that is kept  <- generated last")
    assert second.startswith("2  ")
    assert second.endswith("spec.engine.maxNumSeqs  <- runs")


def test_undo_writes_the_spec_as_it_was(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    show(cluster, revised())
    assert main(["rollout", "undo", "llama"]) == 0
    assert "the spec is as in revision 1" in capsys.readouterr().out
    patch = last_patch(cluster)
    assert patch[0] == {"op": "test", "path": "/metadata/generation", "value": 2}
    written = patch[1]["value"]
    assert "maxNumSeqs" not in written.get("engine", {})
    assert written["replicas"] == 3, "what restarts nothing stays"


def test_undo_goes_to_what_generated_last(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three revisions the second did not generate either."""
    world = revised()
    world.edit(engine={"maxNumSeqs": 9}).settle()
    first = min(world.of_kind("ControllerRevision"), key=lambda child: int(str(child.body["revision"])))
    world.status = world.status.model_copy(update={"generated": first.name})
    show(cluster, world)
    cluster.answer("get-llmdep", llm_body(world.status, 3, **world.spec))
    assert main(["rollout", "undo", "llama"]) == 0
    assert "the spec is as in revision 1" in capsys.readouterr().out


def test_undo_passes_over_what_never_generated(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The third of three generates, and before it the first did."""
    world = revised()
    world.edit(engine={"maxNumSeqs": 9}).settle()
    numbered = sorted(world.of_kind("ControllerRevision"), key=lambda child: int(str(child.body["revision"])))
    of_status = {"generated": numbered[2].name, "generated_before": ("llama-gone", numbered[0].name)}
    world.status = world.status.model_copy(update=of_status)
    show(cluster, world)
    cluster.answer("get-llmdep", llm_body(world.status, 3, **world.spec))
    assert main(["rollout", "undo", "llama"]) == 0
    assert "the spec is as in revision 1" in capsys.readouterr().out


def test_undo_leaves_how_arguments_are_checked(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """It restarts nothing, so no revision holds it; without it what ran might be refused."""
    world = revised()
    world.spec["runtime"] = {**world.spec.get("runtime", {}), "argumentCheck": "Warn"}
    show(cluster, world)
    assert main(["rollout", "undo", "llama"]) == 0
    patch = last_patch(cluster)
    assert patch[1]["value"]["runtime"]["argumentCheck"] == "Warn"


def test_undo_to_a_revision_that_is_not_there(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    show(cluster, revised())
    assert main(["rollout", "undo", "llama", "--to-revision", "9"]) == 2
    assert "there is no revision 9; there are 1, 2" in capsys.readouterr().err


def test_undo_to_the_revision_that_runs(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    show(cluster, revised())
    assert main(["rollout", "undo", "llama", "--to-revision", "2"]) == 0
    assert "the spec is as in revision 2" in capsys.readouterr().out


def test_of_a_spec_that_was_refused_the_one_that_runs_is_written(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    world = revised()
    world.spec |= {"engine": {"maxNumSeqs": "many"}}
    show(cluster, world)
    assert main(["rollout", "undo", "llama"]) == 0
    assert "the spec is as in revision 2" in capsys.readouterr().out


def test_without_an_earlier_one_nothing_is_written(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    show(cluster, World().settle())
    assert main(["rollout", "undo", "llama"]) == 2
    assert "there is no earlier revision" in capsys.readouterr().err


def test_status_follows_until_it_stands_still(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    world = revised()
    stalled = tuple(
        each.model_copy(update={"status": ConditionStatus.TRUE}) if each.type == "Stalled" else each
        for each in world.status.conditions or ()
    )
    world.status = world.status.model_copy(update={"conditions": stalled})
    show(cluster, world)
    assert main(["rollout", "status", "llama"]) == 1
    assert "llama in models: not ready" in capsys.readouterr().out
