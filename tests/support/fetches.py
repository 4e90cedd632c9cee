"""A model of a hub in a simulated world: the Job that fetches it, and what its pods report."""

from typing import Any

from support.pods import make_pod
from support.simulate import CPU_SPEC, NOW, World
from triton_vllm_operator.kube.pod import Ended, Pod
from triton_vllm_operator.kube.resources import JOB
from triton_vllm_operator.reconcile.model import Child
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport

COMMIT = "a" * 40
HUB: dict[str, Any] = {
    "repository": "acme/tiny",
    "tokenSecretRef": {"name": "hf", "key": "token"},
    "cache": {"persistentVolumeClaim": {"claimName": "models"}},
}
FACTS = ModelFacts(architecture="LlamaForCausalLM", attention_heads=4, weight_bytes=123)
GOOD = Report(sources=(SourceReport(volume="weights", commit=COMMIT, facts=FACTS),))


def hub_world(**changes: Any) -> World:
    """A world with a model of a hub."""
    return World(spec={**CPU_SPEC, "model": {"huggingFace": {**HUB, **changes}}})


def job_of(world: World) -> Child:
    """Its only Job."""
    (job,) = world.of_kind("Job")
    return job


def fetch_pod(world: World, **changes: Any) -> Pod:
    """A pod of that Job."""
    name = f"{job_of(world).name}-x"
    return make_pod("", name, job_uid=job_of(world).uid, **changes)


def report(world: World, result: Report, phase: str = "Succeeded") -> World:
    """The Job's pod ends with this report."""
    ended = Ended("Completed", 0 if phase == "Succeeded" else 3, result.dump())
    pod = fetch_pod(world, phase=phase, running=False, ended=ended)
    world.changes["fetch_pods"] = (*world.changes.get("fetch_pods", ()), pod)
    return world


def end_job(world: World, kind: str) -> World:
    """The Job gets a condition: Complete or Failed."""
    job = job_of(world)
    condition = {"type": kind, "status": "True", "lastTransitionTime": NOW.isoformat()}
    body = {**job.body, "status": {"conditions": [condition]}}
    world.children["Job", job.name] = Child(JOB, job.name, job.uid, body)
    return world


def kinds(world: World) -> set[str]:
    """The kinds of all children."""
    return {kind for kind, _ in world.children}
