"""Whole renders: one LLMDeployment in, every child out. `make golden` rewrites; the diff is the review."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.paths import REPOSITORY
from support.pods import make_pod
from support.simulate import CATALOGUE, World, allowing
from triton_vllm_operator.kube.pod import Ended, Pod
from triton_vllm_operator.reconcile.model import Child
from triton_vllm_operator.repository.catalogue import AcceleratorKind, Catalogue
from triton_vllm_operator.sources.report import Report, SourceReport
from triton_vllm_operator.sources.task import TaskList

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCENARIOS = Path(__file__).parent / "scenarios"


class Dumper(yaml.SafeDumper):
    """Files inside a manifest are shown as they are."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, _represent_text)


def golden_catalogue() -> Catalogue:
    """The package's own, where the administrator allows everything that he can."""
    entries = tuple(
        entry.model_copy(update={"project_image": f"registry/runtime-gpu:{entry.version}"})
        if entry.accelerator is AcceleratorKind.NVIDIA_GPU
        else entry
        for entry in CATALOGUE.entries
    )
    return allowing(custom_images=True).model_copy(update={"entries": entries})


def render(spec: dict[str, Any]) -> str:
    """Everything that is written for a spec, a model of the hub being fetched in between, and the status at the end."""
    world = World(spec=spec, catalogue=golden_catalogue())
    written = list(world.step().manifests)
    if jobs := world.of_kind("Job"):
        world.changes["fetch_pods"] = (_fetched(jobs[0]),)
        written += world.step().manifests
    assert world.condition("Accepted")[0] == "True", world.message("Accepted")
    documents = [*written, {"status": world.status.model_dump(mode="json", by_alias=True, exclude_none=True)}]
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=120)


def _fetched(job: Child) -> Pod:
    """The pod of a Job that found a commit for every source."""
    container = job.body["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index, call-overload]
    tasks = TaskList.model_validate_json(container["args"][0]).tasks
    found = tuple(SourceReport(volume=task.volume, commit=COMMIT) for task in tasks)
    ended = Ended("Completed", 0, Report(sources=found).dump())
    return make_pod("", f"{job.name}-x", job_uid=job.uid, phase="Succeeded", running=False, ended=ended)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.glob("*.in.yaml")), ids=lambda p: p.name.removesuffix(".in.yaml"))
def test_render(scenario: Path, update: bool) -> None:
    spec = yaml.safe_load(scenario.read_text())
    out = scenario.with_name(scenario.name.replace(".in.", ".out."))
    rendered = render(spec)
    if update:
        out.write_text(rendered)
    assert out.read_text() == rendered, "run `make golden` and read the diff"


def of_models() -> list[Path]:
    """The samples that are LLMDeployments."""
    found = sorted((REPOSITORY / "samples").rglob("*.yaml"))
    return [path for path in found if yaml.safe_load(path.read_text()).get("kind") == "LLMDeployment"]


@pytest.mark.parametrize("sample", of_models(), ids=lambda path: path.name)
def test_samples_are_accepted(sample: Path) -> None:
    world = World(spec=yaml.safe_load(sample.read_text())["spec"]).settle()
    assert world.condition("Accepted") == ("True", "Valid")
