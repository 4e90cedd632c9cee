"""An operator's upgrade restarts nothing: what every earlier commit stored is read, and serves on as it was."""

import copy
from typing import Any

import pytest

from golden.test_golden import golden_catalogue
from support.simulate import World
from tools.stored_revisions import Row, load_stored
from triton_vllm_operator.kube.resources import as_dict, kind_of, name_of
from triton_vllm_operator.manifests.revision import parse_controller_revision
from triton_vllm_operator.reconcile.model import Child

STORED = load_stored()


def name_row(row: Row) -> str:
    return f"{row['commit']}-{row['scenario']}"


def stored_world(row: Row) -> World:
    """What an operator of that commit left, as one of today finds it."""
    world = World(spec=copy.deepcopy(row["spec"]), catalogue=golden_catalogue())
    for manifest in row["children"]:
        kind, name = kind_of(manifest), name_of(manifest)
        world.children[kind.kind, name] = Child(kind, name, f"uid-{kind.kind}-{name}", copy.deepcopy(manifest))
    return world


def template_of(deployment: Any) -> Any:
    return as_dict(deployment["spec"])["template"]


@pytest.mark.parametrize("row", STORED, ids=name_row)
def test_what_an_earlier_operator_stored_serves_on(row: Row) -> None:
    world = stored_world(row)
    (revision,) = world.of_kind("ControllerRevision")
    (deployment,) = world.of_kind("Deployment")
    before = copy.deepcopy(template_of(deployment.body))
    assert parse_controller_revision(revision.name, revision.body).name == revision.name
    configured = {child.name for child in world.of_kind("ConfigMap")}
    world.settle()
    assert world.condition("Accepted")[0] == "True", world.message("Accepted")
    assert template_of(world.of_kind("Deployment")[0].body) == before
    assert world.status.revision == revision.name
    assert [child.name for child in world.of_kind("ControllerRevision")] == [revision.name]
    assert {child.name for child in world.of_kind("ConfigMap")} == configured


@pytest.mark.parametrize("row", STORED, ids=name_row)
def test_after_an_upgrade_it_settles(row: Row) -> None:
    world = stored_world(row).settle()
    world.settle()
    assert world.decide().manifests == ()


def test_many_commits_are_stored() -> None:
    """`python -m tools.stored_revisions` adds those since."""
    assert len({row["commit"] for row in STORED}) >= 26
