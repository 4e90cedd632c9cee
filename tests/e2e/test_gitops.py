"""What GitOps tools and scripts make of an LLMDeployment: kstatus, kubectl diff, wait and apply by two managers."""

import json
import subprocess
from typing import Any

import pytest

from cluster.binaries import KSTATUS
from cluster.kubectl import kubectl, kubectl_json
from support.llm import SMOLLM2, apply, condition, get_llm, is_scaled_to_zero, make_llm, wait_for

pytestmark = pytest.mark.e2e


def kstatus(*objects: dict[str, Any]) -> list[str]:
    """What sigs.k8s.io/cli-utils says of objects, by which Flux and others decide."""
    done = subprocess.run([KSTATUS.path], input=json.dumps(objects), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_kstatus_knows_what_is_done_under_way_and_in_vain(shared_namespace: str) -> None:
    manifest = make_llm("seen-by-nobody", shared_namespace)
    new = json.loads(kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(manifest)))
    assert new["status"] == {"observedGeneration": -1}
    nowhere = {"image": {"reference": "localhost/no-such-model:1", "pullPolicy": "Never"}}
    apply(make_llm("zero", shared_namespace, replicas=0))
    apply(make_llm("refused", shared_namespace, runtime={"version": "no-such"}))
    apply(make_llm("waits", shared_namespace, model=nowhere))
    probe = {**SMOLLM2["probe"], "startupDeadlineSeconds": 10}
    apply(make_llm("in-vain", shared_namespace, model=nowhere, probe=probe))
    wait_for(shared_namespace, "zero", "is settled", 30, is_scaled_to_zero)
    wait_for(
        shared_namespace, "in-vain", "waits in vain", 60, lambda x: condition(x, "Stalled").get("status") == "True"
    )
    wait_for(shared_namespace, "refused", "is refused", 30, lambda x: condition(x, "Accepted").get("status") == "False")
    found = [get_llm(shared_namespace, name) for name in ("zero", "refused", "waits", "in-vain")]
    assert kstatus(new, *found) == ["InProgress", "Current", "Failed", "InProgress", "Failed"]
    assert condition(found[0], "Available")["status"] == "False", "nothing answers at zero replicas"
    assert condition(found[3], "Ready")["reason"] == "StartupDeadlineExceeded"
    # What waits for the end of a pause is under way.
    kubectl("-n", shared_namespace, "annotate", "llm", "zero", "triton-vllm.dev/paused=true")
    kubectl("-n", shared_namespace, "scale", "llm", "zero", "--replicas=1")
    wait_for(shared_namespace, "zero", "is held", 20, lambda x: condition(x, "Ready").get("status") == "False")
    assert kstatus(get_llm(shared_namespace, "zero")) == ["InProgress"]
    # An edit is under way until the operator has seen it.
    found[0]["metadata"]["generation"] += 1
    assert kstatus(found[0]) == ["InProgress"]
    for name in ("zero", "refused", "waits", "in-vain"):
        kubectl("-n", shared_namespace, "delete", "llm", name)


def test_what_was_applied_shows_no_difference(shared_namespace: str) -> None:
    manifest = make_llm(
        "same", shared_namespace, replicas=0, service={"type": "ClusterIP"}, podMetadata={"labels": {"a": "b"}}
    )
    apply(manifest)
    wait_for(shared_namespace, "same", "is settled", 30, is_scaled_to_zero)
    assert kubectl("diff", "-f", "-", stdin=json.dumps(manifest)) == ""
    kubectl("apply", "--server-side", "--field-manager=git", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))
    assert kubectl("diff", "--server-side", "--field-manager=git", "-f", "-", stdin=json.dumps(manifest)) == ""
    kubectl("-n", shared_namespace, "delete", "llm", "same")


def test_two_managers_own_what_they_set(shared_namespace: str) -> None:
    manifest = make_llm("shared", shared_namespace, replicas=None)
    manifest["spec"].pop("replicas", None)
    server_side = ("--server-side", "-f", "-")
    kubectl("apply", "--field-manager=git", *server_side, stdin=json.dumps(manifest))
    kubectl("-n", shared_namespace, "scale", "llm", "shared", "--replicas=0")
    wait_for(shared_namespace, "shared", "is settled", 60, is_scaled_to_zero)
    # What git does not name stays as the other has set it, and there is no conflict.
    kubectl("apply", "--field-manager=git", *server_side, stdin=json.dumps(manifest))
    assert get_llm(shared_namespace, "shared")["spec"]["replicas"] == 0
    kubectl("-n", shared_namespace, "delete", "llm", "shared")


def test_scripts_can_wait(shared_namespace: str) -> None:
    apply(make_llm("waited", shared_namespace, replicas=0))
    kubectl("-n", shared_namespace, "wait", "llm/waited", "--for=condition=Ready", "--timeout=30s")
    kubectl(
        "-n", shared_namespace, "wait", "llm/waited", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=30s"
    )
    kubectl("-n", shared_namespace, "delete", "llm", "waited")


def test_a_service_becomes_what_is_asked_for(shared_namespace: str) -> None:
    def service() -> dict[str, Any]:
        return dict(kubectl_json("-n", shared_namespace, "get", "service", "svc"))

    settled = lambda x: is_scaled_to_zero(x) and x["status"]["observedGeneration"] == x["metadata"]["generation"]  # noqa: E731
    marks = {"labels": {"team": "a"}, "annotations": {"example.com/x": "y"}}
    for kind, expected in (
        ("NodePort", ("NodePort", False)),
        ("LoadBalancer", ("LoadBalancer", False)),
        ("Headless", ("ClusterIP", True)),
        ("ClusterIP", ("ClusterIP", False)),
    ):
        apply(make_llm("svc", shared_namespace, replicas=0, service={"type": kind, **marks}))
        wait_for(shared_namespace, "svc", "is settled", 30, settled)
        wait_for(shared_namespace, "svc", f"is {kind}", 30, lambda _x, e=expected: _kind(service()) == e)
        metadata = service()["metadata"]
        assert metadata["labels"]["team"] == "a"
        assert metadata["annotations"]["example.com/x"] == "y"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "triton-vllm-operator"
    # A change of the Service touches no pod: the Deployment is the one of the first revision.
    assert len(kubectl_json("-n", shared_namespace, "get", "controllerrevisions")["items"]) >= 1
    kubectl("-n", shared_namespace, "annotate", "service", "svc", "example.com/x=spoilt", "--overwrite")
    wait_for(
        shared_namespace,
        "svc",
        "is mended",
        20,
        lambda _x: service()["metadata"]["annotations"]["example.com/x"] == "y",
    )
    kubectl("-n", shared_namespace, "delete", "llm", "svc")


def _kind(service: dict[str, Any]) -> tuple[str, bool]:
    return service["spec"]["type"], service["spec"].get("clusterIP") == "None"
