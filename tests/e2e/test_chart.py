"""The chart, rendered by the helm that the local cluster builds."""

import json
import subprocess

import pytest
import yaml

from cluster import binaries
from support.install import CHART, RELEASE

pytestmark = pytest.mark.e2e


def render(*settings: str) -> subprocess.CompletedProcess[str]:
    command = [binaries.HELM.path, "template", RELEASE, CHART, "--kube-version", "1.36.0", *settings]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_chart_grants_no_more_than_it_needs() -> None:
    for settings in ([], ["--set", "watchNamespaces={a,b}"]):
        rendered = render(*settings)
        assert rendered.returncode == 0, rendered.stderr
        objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
        kinds = {item["kind"] for item in objects}
        assert ("ClusterRole" in kinds) == (not settings)
        for item in objects:
            for rule in item.get("rules", []):
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
                assert "secrets" not in rule["resources"]
                assert "pods/exec" not in rule["resources"]
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_a_runtime_that_is_named_twice_is_said_by_helm() -> None:
    entry = {"version": "26.09", "image": "i", "triton": "2.73.0", "vllm": "0.29.0", "accelerator": "NvidiaGPU"}
    once, twice = (render("--set-json", f"extraRuntimes={json.dumps([entry] * count)}") for count in (1, 2))
    assert (once.returncode, "26.09" in once.stdout) == (0, True)
    assert 'extraRuntimes names the version "26.09" twice' in twice.stderr
