"""The chart, rendered by the helm that the local cluster builds."""

import subprocess

import pytest
import yaml

from cluster import binaries
from support.install import CHART, RELEASE

pytestmark = pytest.mark.e2e


def test_the_chart_grants_no_more_than_it_needs() -> None:
    for settings in ([], ["--set", "watchNamespaces={a,b}"]):
        command = [binaries.HELM.path, "template", RELEASE, CHART, "--kube-version", "1.36.0", *settings]
        rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        objects = [item for item in yaml.safe_load_all(rendered) if item]
        kinds = {item["kind"] for item in objects}
        assert ("ClusterRole" in kinds) == (not settings)
        for item in objects:
            for rule in item.get("rules", []):
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
                assert "secrets" not in rule["resources"]
                assert "pods/exec" not in rule["resources"]
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
