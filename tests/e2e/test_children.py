"""Children without pods: drift, conflicts, refused specs, deletion, rights. Seconds each."""

import json
import time
from typing import Any

import pytest

from cluster import node
from cluster.errors import ClusterError
from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.audit import operator_requests, writes
from support.install import operator_pod, operator_restarts, restart_operator
from support.llm import apply, condition, get_llm, is_scaled_to_zero, make_llm, wait_for

pytestmark = pytest.mark.e2e
HEALED_WITHIN_SECONDS = 5
OUTAGE_SECONDS = 60


@pytest.fixture
def llm(namespace: str) -> str:
    """The namespace with an LLMDeployment `web` of no replicas."""
    apply(make_llm("web", namespace, replicas=0))
    wait_for(namespace, "web", "is settled", 20, is_scaled_to_zero)
    return namespace


def child_name(namespace: str, kind: str) -> str:
    (child,) = kubectl_json("-n", namespace, "get", kind, "-l", "app.kubernetes.io/instance=web")["items"]
    return str(child["metadata"]["name"])


KINDS = ["deployment", "service", "configmap", "controllerrevision"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_child_comes_back(llm: str, kind: str) -> None:
    name = child_name(llm, kind)
    uid = kubectl_json("-n", llm, "get", kind, name)["metadata"]["uid"]
    kubectl("-n", llm, "delete", kind, name)
    wait_until(
        f"the {kind} is back",
        HEALED_WITHIN_SECONDS,
        lambda: kubectl_json("-n", llm, "get", kind, name)["metadata"]["uid"] != uid,
    )


EDITS = [
    ("deployment", '{"spec":{"replicas":3}}', "{.spec.replicas}", "0"),
    ("deployment", '{"spec":{"template":{"spec":{"enableServiceLinks":true}}}}',
     "{.spec.template.spec.enableServiceLinks}", "false"),
    ("service", '{"spec":{"selector":{"app.kubernetes.io/instance":"other"}}}',
     "{.spec.selector.app\\.kubernetes\\.io/instance}", "web"),
    ("configmap", '{"metadata":{"labels":{"app.kubernetes.io/managed-by":"me"}}}',
     "{.metadata.labels.app\\.kubernetes\\.io/managed-by}", "triton-vllm-operator"),
    ("controllerrevision", '{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}',
     "{.metadata.labels.app\\.kubernetes\\.io/managed-by}", "triton-vllm-operator"),
    ("service", '{"metadata":{"labels":{"app.kubernetes.io/instance":"other"}}}',
     "{.metadata.labels.app\\.kubernetes\\.io/instance}", "web"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "patch", "path", "wanted"), EDITS)
def test_an_edited_child_is_put_back(llm: str, kind: str, patch: str, path: str, wanted: str) -> None:
    name = child_name(llm, kind)
    kubectl("-n", llm, "patch", kind, name, "--type=merge", "-p", patch)
    wait_until(
        f"the {kind} is put back",
        HEALED_WITHIN_SECONDS,
        lambda: kubectl("-n", llm, "get", kind, name, "-o", f"jsonpath={path}") == wanted,
    )


def test_several_pods_have_a_budget_that_is_kept(namespace: str) -> None:
    nowhere = {"nodeSelector": {"example.com/none": "here"}}
    apply(make_llm("web", namespace, replicas=2, scheduling=nowhere))
    label = "{.metadata.labels.app\\.kubernetes\\.io/managed-by}"

    def read(path: str) -> str:
        return kubectl("-n", namespace, "get", "pdb", "web", "--ignore-not-found", "-o", f"jsonpath={path}")

    wait_until("there is a budget", 20, lambda: read("{.spec.unhealthyPodEvictionPolicy}") == "AlwaysAllow")
    kubectl("-n", namespace, "label", "pdb", "web", "app.kubernetes.io/managed-by-")
    wait_until("its label is back", HEALED_WITHIN_SECONDS, lambda: read(label) == "triton-vllm-operator")
    kubectl("-n", namespace, "patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"maxUnavailable":2}}')
    wait_until("it is put back", HEALED_WITHIN_SECONDS, lambda: read("{.spec.maxUnavailable}") == "1")
    kubectl("-n", namespace, "scale", "llm", "web", "--replicas=1")
    wait_until("it is gone", 20, lambda: read("{.metadata.name}") == "")


def test_what_others_set_stays(llm: str) -> None:
    kubectl("-n", llm, "annotate", "service", "web", "somebody.else/note=kept")
    kubectl("-n", llm, "patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"minReadySeconds":7}}')
    kubectl("-n", llm, "patch", "llm", "web", "--type=merge", "-p", '{"spec":{"engine":{"maxModelLen":64}}}')
    wait_for(llm, "web", "has two revisions", 10, lambda _: len(revisions(llm)) == 2)
    service = kubectl_json("-n", llm, "get", "service", "web")
    assert service["metadata"]["annotations"]["somebody.else/note"] == "kept"
    assert kubectl_json("-n", llm, "get", "deployment", "web")["spec"]["minReadySeconds"] == 7


def test_a_patch_by_hand_outlives_a_roll_where_the_operator_sets_nothing(llm: str) -> None:
    template = {
        "metadata": {"annotations": {"somebody.else/note": "kept"}},
        "spec": {"terminationGracePeriodSeconds": 30},
    }
    patch = json.dumps({"spec": {"template": template}})
    kubectl("-n", llm, "patch", "deployment", "web", "--type=merge", "-p", patch)
    kubectl("-n", llm, "patch", "llm", "web", "--type=merge", "-p", '{"spec":{"engine":{"maxModelLen":65}}}')
    wait_for(llm, "web", "has two revisions", 10, lambda _: len(revisions(llm)) == 2)

    def pod_template() -> dict[str, Any]:
        return dict(kubectl_json("-n", llm, "get", "deployment", "web")["spec"]["template"])

    wait_until("what we set is put back", 10, lambda: pod_template()["spec"]["terminationGracePeriodSeconds"] == 80)
    assert pod_template()["metadata"]["annotations"]["somebody.else/note"] == "kept"


def revisions(namespace: str) -> list[Any]:
    return list(kubectl_json("-n", namespace, "get", "controllerrevisions")["items"])


def test_an_object_that_is_not_ours_is_left_alone_and_named(namespace: str) -> None:
    kubectl("-n", namespace, "create", "service", "clusterip", "web", "--tcp=80:80")
    before = kubectl_json("-n", namespace, "get", "service", "web")
    apply(make_llm("web", namespace, replicas=0))
    wait_for(namespace, "web", "is refused", 10, lambda x: condition(x, "Accepted").get("reason") == "NameConflict")
    assert "Service web" in condition(get_llm(namespace, "web"), "Accepted")["message"]
    assert kubectl_json("-n", namespace, "get", "service", "web") == before
    assert kubectl_json("-n", namespace, "get", "deployments")["items"] == []
    kubectl("-n", namespace, "delete", "service", "web")
    wait_for(namespace, "web", "is settled", 30, is_scaled_to_zero)


REFUSED = [
    ({"metadata": {"name": "w" * 51}}, "at most 50 characters"),
    ({"metadata": {"name": "web.1"}}, "servedName"),
    ({"spec": {"engine": {"gpuMemoryUtilization": 1.5}, "accelerator": {"nvidiaGPU": {}}}}, "less than or equal to 1"),
    ({"spec": {"engine": {"maxModelLen": "long"}}}, "maxModelLen is a number of tokens from 1"),
    ({"spec": {"engine": {"dtype": "int3"}}}, "Unsupported value"),
    ({"spec": {"accelerator": {"cpu": {}, "nvidiaGPU": {}}}}, "exactly one"),
    ({"spec": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}, "tensorParallelSize"),
    ({"spec": {"model": {"image": {"reference": "x", "path": "../etc"}}}}, "stay inside the image"),
    ({"spec": {"replicas": -1}}, "greater than or equal to 0"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_an_invalid_spec_is_refused_by_the_schema(namespace: str, change: dict[str, Any], message: str) -> None:
    manifest = make_llm("web", namespace, **change.get("spec", {}))
    manifest["metadata"].update(change.get("metadata", {}))
    with pytest.raises(ClusterError, match="(?s)" + message):
        apply(manifest)


def test_the_served_name_cannot_be_changed(llm: str) -> None:
    with pytest.raises(ClusterError, match="cannot be changed"):
        kubectl("-n", llm, "patch", "llm", "web", "--type=merge", "-p", '{"spec":{"model":{"servedName":"other"}}}')
    kubectl("-n", llm, "patch", "llm", "web", "--type=merge", "-p", '{"spec":{"model":{"servedName":"web"}}}')


def test_what_the_api_server_refuses_is_said_and_harms_nothing(llm: str) -> None:
    before = kubectl_json("-n", llm, "get", "deployment", "web")["spec"]
    bad = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": "none"}}}
    patch = json.dumps({"spec": {"scheduling": {"affinity": bad}}})
    kubectl("-n", llm, "patch", "llm", "web", "--type=merge", "-p", patch)
    wait_for(llm, "web", "is refused", 10, lambda x: condition(x, "Accepted").get("reason") == "RefusedByAPIServer")
    assert kubectl_json("-n", llm, "get", "deployment", "web")["spec"] == before
    assert len(revisions(llm)) == 1
    kubectl("-n", llm, "patch", "llm", "web", "--type=json", "-p", '[{"op":"remove","path":"/spec/scheduling"}]')
    wait_for(llm, "web", "is accepted", 10, lambda x: condition(x, "Accepted").get("status") == "True")


def test_pods_get_no_token_and_no_path_of_the_host(llm: str) -> None:
    deployment = kubectl_json("-n", llm, "get", "deployment", "web")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert all("hostPath" not in volume for volume in pod["volumes"])


NO_ROOM = [
    ({"runtime": {"version": "26.08"}, "accelerator": {"nvidiaGPU": {}}}, "Insufficient nvidia.com/gpu"),
    ({"resources": {"requests": {"cpu": "100"}}}, "Insufficient cpu"),
]


@pytest.mark.parametrize(("change", "named"), NO_ROOM, ids=["no GPU", "a full node"])
def test_what_a_node_lacks_is_named(namespace: str, change: dict[str, Any], named: str) -> None:
    apply(make_llm("web", namespace, **change))
    wait_for(namespace, "web", "is unschedulable", 20, lambda x: condition(x, "Ready").get("reason") == "Unschedulable")
    assert named in condition(get_llm(namespace, "web"), "Ready")["message"]


def test_kubectl_get_prints_columns_worth_reading(llm: str) -> None:
    header, row = kubectl("-n", llm, "get", "llm").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "PODS", "WANTED", "RUNTIME", "AGE"]
    assert row.split()[:6] == ["web", "True", "ScaledToZero", "0", "0", "cpu-0.32.0"]


@pytest.mark.parametrize("seconds", [120, pytest.param(300, marks=pytest.mark.full)])
def test_a_restart_and_settled_minutes_write_nothing(llm: str, seconds: int) -> None:
    for number in range(20):
        apply(make_llm(f"idle-{number}", llm, replicas=0))
    for number in range(20):
        wait_for(llm, f"idle-{number}", "is settled", 20, is_scaled_to_zero)
    # While the namespace of an earlier test goes, its objects still change, and one attempt to mend them is refused.
    wait_until(
        "the namespaces of earlier tests are gone", 240, lambda: "Terminating" not in kubectl("get", "namespaces")
    )
    time.sleep(2)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    restart_operator()
    time.sleep(seconds)
    requests = operator_requests(since=began)
    assert any(request.verb == "list" for request in requests), "the audit log shows the new process"
    assert writes(requests) == []


def test_an_api_server_gone_for_a_minute_costs_nothing_but_the_minute(llm: str) -> None:
    pod = operator_pod()["metadata"]["uid"]
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with node.without_apiserver():
        time.sleep(OUTAGE_SECONDS)
    kubectl("-n", llm, "delete", "service", "web")
    apply(make_llm("new", llm, replicas=0))
    # kopf tries a lost watch again after at most 30 s (docs/design/watching.md).
    wait_for(llm, "new", "is settled", 40, is_scaled_to_zero)
    wait_until("the deleted Service is back", 5, lambda: bool(kubectl_json("-n", llm, "get", "service", "web")))
    assert (operator_pod()["metadata"]["uid"], operator_restarts()) == (pod, 0)
    written = {request.name for request in writes(operator_requests(since=began)) if request.namespace == llm}
    assert all(name.startswith("new") or name == "web" for name in written)
