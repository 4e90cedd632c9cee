"""The chart's alerts and board, by Debian's promtool and against a real Prometheus that scrapes the real operator."""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Final

import pytest

from cluster.kubectl import helm, wait_until
from cluster.paths import REPOSITORY
from support.forward import forwarded
from support.generate import generate
from support.install import SYSTEM_NAMESPACE, operator_pod
from support.llm import apply, make_llm, wait_ready
from support.prometheus import ask, count_series, prometheus, promtool

pytestmark = pytest.mark.e2e
CHART: Final = REPOSITORY / "charts/triton-vllm-operator"
NAME: Final = "watched"
VARIABLES: Final = {"$namespace": ".*", "$name": ".*", "$__rate_interval": "30s"}


def board() -> dict[str, Any]:
    return dict(json.loads((CHART / "files/board.json").read_text()))


def expressions() -> list[str]:
    found = [target["expr"] for panel in board()["panels"] for target in panel.get("targets", [])]
    for variable, value in VARIABLES.items():
        found = [expression.replace(variable, value) for expression in found]
    return found


def test_each_alert_fires_when_it_should_and_links_to_a_page(tmp_path: Path) -> None:
    shutil.copy(CHART / "files/rules.yaml", tmp_path)
    shutil.copy(REPOSITORY / "tests/monitoring/rules_test.yaml", tmp_path)
    promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yaml", folder=tmp_path)
    headings = {
        line[3:].lower() for line in (REPOSITORY / "docs/alerts.md").read_text().splitlines() if line[:3] == "## "
    }
    rules = (CHART / "files/rules.yaml").read_text()
    linked = {line.partition("alerts.md#")[2] for line in rules.splitlines() if "alerts.md#" in line}
    assert linked == headings


def test_helm_makes_them_behind_values(cluster: str) -> None:
    values = [f"monitoring.{part}.enabled=true" for part in ("podMonitors", "rules", "dashboard")]
    values += ["monitoring.docsURL=https://git.example.com/docs", "monitoring.rules.labels.team=ml"]
    sets = [word for value in values for word in ("--set", value)]
    sets += ["--kube-version", "1.36.0"]
    shown = helm("template", "x", str(CHART), *sets, "-s", "templates/monitoring.yaml")
    kinds = [line.partition(" ")[2] for line in shown.splitlines() if line.startswith("kind: ")]
    assert sorted(kinds) == ["ConfigMap", "PodMonitor", "PodMonitor", "PrometheusRule"]
    assert "runbook_url: https://git.example.com/docs/alerts.md#llmdeploymentwentdown" in shown
    assert "team: ml" in shown
    assert "monitoring.coreos.com" not in helm("template", "x", str(CHART), "--kube-version", "1.36.0")


@pytest.mark.full
def test_prometheus_has_what_the_board_and_the_alerts_ask_for(shared_namespace: str, tmp_path: Path) -> None:
    apply(make_llm(NAME, shared_namespace))
    wait_ready(shared_namespace, NAME)
    pod = operator_pod()
    with (
        forwarded(SYSTEM_NAMESPACE, f"pod/{pod['metadata']['name']}", 8080) as operator,
        forwarded(shared_namespace, f"svc/{NAME}", 8002) as engine,
        forwarded(shared_namespace, f"svc/{NAME}", 8000) as serving,
    ):
        of_operator = {"targets": [f"127.0.0.1:{operator}"], "labels": {"pod": pod["metadata"]["name"]}}
        labels = {"namespace": shared_namespace, "llmdeployment": NAME, "pod": "some"}
        scrapes = [
            {"job_name": "operator", "honor_labels": True, "static_configs": [of_operator]},
            {"job_name": "engines", "static_configs": [{"targets": [f"127.0.0.1:{engine}"], "labels": labels}]},
        ]
        with prometheus(tmp_path, scrapes, CHART / "files/rules.yaml"):
            until = time.monotonic() + 10
            while time.monotonic() < until:
                generate(serving, NAME, {"text_input": "Hi", "parameters": {"max_tokens": 4}})
                time.sleep(1)
            of_this = (
                f'triton_vllm_operator_llmdeployment_last_proof_age_seconds{{namespace="{shared_namespace}"}} < 60'
            )
            wait_until("the proof is there", 30, lambda: count_series(of_this) == 1)
            found = {expression: count_series(expression) for expression in expressions()}
            groups = ask("rules")["groups"]
            recorded = {
                rule["name"]: count_series(rule["name"])
                for group in groups
                for rule in group["rules"]
                if "state" not in rule
            }
    # Nothing is replaced, and all are ready: of that there are no series.
    empty = {expression for expression, count in found.items() if count == 0}
    assert {e for e in empty if "not_ready" not in e and "replacements" not in e} == set(), empty
    # What is recorded has no state.
    health = {rule["name"]: (rule["health"], rule.get("state")) for group in groups for rule in group["rules"]}
    assert set(health.values()) == {("ok", "inactive"), ("ok", None)}, health
    assert recorded
    assert all(recorded.values()), recorded
