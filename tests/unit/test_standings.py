"""Each LLMDeployment has a few series that alerts can ask, and none when it is gone."""

import re
from pathlib import Path

from support.pods import make_serving
from support.simulate import World
from triton_vllm_operator.controller.metrics import PREFIX, Metrics
from triton_vllm_operator.controller.proofs import Proofs
from triton_vllm_operator.health.watcher import Proof
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.standing import find_standing

KEY = Key("ns", "web")
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def lines(metrics: Metrics) -> list[str]:
    text = metrics.render().decode()
    return [line for line in text.splitlines() if line.startswith(f"{PREFIX}_llmdeployment_")]


def test_it_is_said_why_one_is_not_ready() -> None:
    metrics, world = Metrics(), World().settle()
    metrics.stands(KEY, find_standing(world.status, world.spec))
    of = 'name="web",namespace="ns"'
    assert f"{PREFIX}_llmdeployment_ready{{{of}}} 0.0" in lines(metrics)
    assert f'{PREFIX}_llmdeployment_not_ready{{{of},reason="CreatingPods"}} 1.0' in lines(metrics)
    world.pods = (make_serving(world.revision),)
    world.settle()
    metrics.stands(KEY, find_standing(world.status, world.spec))
    assert f"{PREFIX}_llmdeployment_ready{{{of}}} 1.0" in lines(metrics)
    assert f"{PREFIX}_llmdeployment_serving_pods{{{of}}} 1.0" in lines(metrics)
    assert not [line for line in lines(metrics) if "not_ready" in line]


def test_what_is_gone_has_no_series() -> None:
    metrics, world = Metrics(), World().settle()
    metrics.stands(KEY, find_standing(world.status, {"replicas": "many"}))
    assert lines(metrics)
    metrics.stands(KEY, None)
    assert not lines(metrics)


def test_the_age_of_a_proof_is_that_of_the_pod_that_generated_longest_ago() -> None:
    metrics = Metrics()
    metrics.registry.register(Proofs(PREFIX, lambda: {KEY: Proof(at=90.0, seconds=0.25)}, lambda: 100.0))
    of = 'name="web",namespace="ns"'
    assert f"{PREFIX}_llmdeployment_last_proof_age_seconds{{{of}}} 10.0" in lines(metrics)
    assert f"{PREFIX}_llmdeployment_last_proof_seconds{{{of}}} 0.25" in lines(metrics)


def test_every_metric_is_documented() -> None:
    metrics = Metrics()
    metrics.registry.register(Proofs(PREFIX, dict, lambda: 0.0))
    told = re.findall(rf"# TYPE {PREFIX}_(\w+) ", metrics.render().decode())
    documented = DOCS.read_text()
    assert told
    assert not [name for name in told if not name.endswith("_created") and f"`{name}`" not in documented]
