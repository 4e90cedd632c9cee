"""Other ways to install, and to uninstall. They take rights away for a moment: they run last."""

import time
from typing import Any

import pytest

from cluster.errors import ClusterError
from cluster.kubectl import helm, kubectl, kubectl_json, wait_until
from support.assigned_users import FIRST, users_assigned
from support.forward import forwarded
from support.generate import ask
from support.install import RELEASE, SYSTEM_NAMESPACE, install_operator
from support.llm import apply, condition, get_llm, is_scaled_to_zero, make_llm, pods_of, wait_for, wait_ready
from support.rules import ruled_namespace

pytestmark = pytest.mark.e2e


def test_without_the_operator_it_can_still_be_deleted(namespace: str) -> None:
    apply(make_llm("web", namespace, replicas=0))
    wait_for(namespace, "web", "is settled", 20, is_scaled_to_zero)
    helm("uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--wait")
    try:
        kubectl("-n", namespace, "delete", "llm", "web", "--timeout=10s")
        kubectl("delete", "namespace", namespace, "--timeout=60s")
        kubectl("get", "crd", "llmdeployments.triton-vllm.dev")
    finally:
        install_operator()
        kubectl("create", "namespace", namespace)


def test_with_watch_namespaces_it_has_rights_there_only(namespace: str) -> None:
    install_operator([f"watchNamespaces={{{namespace}}}"])
    try:
        with pytest.raises(ClusterError, match="not found"):
            kubectl("get", "clusterrole", RELEASE)
        apply(make_llm("web", namespace, replicas=0))
        wait_for(namespace, "web", "is settled", 30, is_scaled_to_zero)
        apply(make_llm("elsewhere", "default", replicas=0))
        time.sleep(3)
        assert get_llm("default", "elsewhere")["status"] == {"observedGeneration": -1}
    finally:
        kubectl("-n", "default", "delete", "llm", "elsewhere", "--ignore-not-found")
        install_operator()


_WHO = """
import getpass, os
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
import vllm.envs as envs
print(os.getuid(), getpass.getuser(), default_cache_dir(), envs.VLLM_CACHE_ROOT)
"""


def test_where_the_cluster_assigns_users_the_engine_answers_under_one_of_them(cluster: str) -> None:
    with ruled_namespace() as namespace, users_assigned(namespace):
        apply(make_llm("web", namespace))
        apply(
            make_llm("hub", namespace, model={"huggingFace": {"repository": "a/b", "endpoint": "http://127.0.0.1:9"}})
        )
        for name in ("web", "hub"):
            wait_for(namespace, name, "is refused", 30, lambda x: condition(x, "Ready").get("reason") == "PodsRefused")
            message = condition(get_llm(namespace, name), "Ready")["message"]
            assert "unable to validate against any security context constraint" in message
            assert "the administrator sets the chart's podSecurity.setUser to false" in message
        install_operator(["podSecurity.setUser=false", f"allow.serviceAccounts={{{namespace}/cloud}}"])
        try:
            # Nobody touches the LLMDeployment: what was refused is made anew.
            wait_ready(namespace, "web")
            (pod,) = pods_of(namespace, "web")
            who = kubectl("-n", namespace, "exec", pod["metadata"]["name"], "-c", "triton", "--", "python", "-c", _WHO)
            assert who.splitlines()[-1] == f"{FIRST} triton /tmp/torchinductor_triton /tmp/.cache/vllm"
            with forwarded(namespace, "svc/web", 8000) as port:
                assert "Paris" in ask(port, "web", "What is the capital of France?")
            wait_for(namespace, "hub", "has asked", 90, lambda x: "127.0.0.1:9" in condition(x, "Ready")["message"])
            _service_accounts_are_allowed_by_name(namespace)
        finally:
            install_operator()


def _service_accounts_are_allowed_by_name(namespace: str) -> None:
    kubectl("-n", namespace, "create", "serviceaccount", "cloud")
    apply(make_llm("mine", namespace, serviceAccountName="cloud"))
    apply(make_llm("theirs", namespace, serviceAccountName="default"))
    wait_for(namespace, "mine", "has a pod", 30, lambda x: x.get("status", {}).get("replicas") == 1)
    (pod,) = pods_of(namespace, "mine")
    assert pod["spec"]["serviceAccountName"] == "cloud"
    assert not [volume for volume in pod["spec"]["volumes"] if "projected" in volume], "its token is not mounted"
    wait_for(namespace, "theirs", "is refused", 30, lambda x: condition(x, "Accepted").get("status") == "False")
    message = condition(get_llm(namespace, "theirs"), "Accepted")["message"]
    assert f"does not allow it in namespace {namespace}" in message


@pytest.mark.full
def test_what_the_administrator_sets_reaches_pods_and_catalogue(namespace: str) -> None:
    entry = "version=26.09,image=registry.example.com/triton:26.09,triton=2.73.0,vllm=0.29.0,accelerator=NvidiaGPU"
    given = [f"extraRuntimes[0].{pair}" for pair in entry.split(",")]
    proxy = ["fetch.proxy.https=http://proxy.example.com:3128", "allow.unknownEnvironment=true"]
    install_operator([*given, *proxy])
    try:
        gpu = {"accelerator": None, "runtime": {"version": "26.09"}, "replicas": 0}
        apply(make_llm("new", namespace, **gpu, env=[{"name": "MY_SETTING", "value": "1"}]))
        wait_for(namespace, "new", "is settled", 30, is_scaled_to_zero)
        apply(make_llm("hub", namespace, **gpu, model={"huggingFace": {"repository": "acme/tiny"}}))
        wait_until("there is a Job", 30, lambda: bool(_jobs(namespace)))
        (container,) = _jobs(namespace)[0]["spec"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert environment["HTTPS_PROXY"] == "http://proxy.example.com:3128"
        assert ".svc" in environment["NO_PROXY"]
    finally:
        install_operator()


def _jobs(namespace: str) -> list[dict[str, Any]]:
    return list(kubectl_json("-n", namespace, "get", "jobs")["items"])


@pytest.mark.full
def test_two_releases_share_the_cluster_by_namespaces(namespace: str, shared_namespace: str) -> None:
    install_operator([f"watchNamespaces={{{shared_namespace}}}"])
    second = ["crds.install=false", f"watchNamespaces={{{namespace}}}"]
    try:
        install_operator(second, release="second", namespace="triton-vllm-second")
        apply(make_llm("one", shared_namespace, replicas=0))
        apply(make_llm("two", namespace, replicas=0))
        wait_for(shared_namespace, "one", "is settled", 30, is_scaled_to_zero)
        wait_for(namespace, "two", "is settled", 30, is_scaled_to_zero)
        helm("uninstall", "second", "-n", "triton-vllm-second", "--wait")
        kubectl("get", "crd", "llmdeployments.triton-vllm.dev")
    finally:
        helm("uninstall", "second", "-n", "triton-vllm-second", "--ignore-not-found")
        kubectl("delete", "namespace", "triton-vllm-second", "--ignore-not-found", "--wait=false")
        install_operator()
