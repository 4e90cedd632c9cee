"""Whole renders: one LLMDeployment in, every child out. `make golden` rewrites; the diff is the review."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.paths import REPOSITORY
from support.simulate import World

SCENARIOS = Path(__file__).parent / "scenarios"


class Dumper(yaml.SafeDumper):
    """Files inside a manifest are shown as they are."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, _represent_text)


def render(spec: dict[str, Any]) -> str:
    decision = World(spec=spec).decide()
    assert decision.status is not None
    documents = [*decision.manifests, {"status": decision.status.model_dump(mode="json", by_alias=True)}]
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=120)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.glob("*.in.yaml")), ids=lambda p: p.name.removesuffix(".in.yaml"))
def test_render(scenario: Path, update: bool) -> None:
    spec = yaml.safe_load(scenario.read_text())
    out = scenario.with_name(scenario.name.replace(".in.", ".out."))
    rendered = render(spec)
    if update:
        out.write_text(rendered)
    assert out.read_text() == rendered, "run `make golden` and read the diff"


@pytest.mark.parametrize("sample", sorted((REPOSITORY / "samples").glob("*.yaml")), ids=lambda p: p.name)
def test_samples_are_accepted(sample: Path) -> None:
    world = World(spec=yaml.safe_load(sample.read_text())["spec"]).settle()
    assert world.condition("Accepted") == ("True", "Valid")
