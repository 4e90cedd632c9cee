"""Other ways to install, and to uninstall. They take rights away for a moment: they run last."""

import time

import pytest

from cluster.errors import ClusterError
from cluster.kubectl import helm, kubectl
from support.install import RELEASE, SYSTEM_NAMESPACE, install_operator
from support.llm import apply, get_llm, is_scaled_to_zero, make_llm, wait_for

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
        assert "status" not in get_llm("default", "elsewhere")
    finally:
        kubectl("-n", "default", "delete", "llm", "elsewhere", "--ignore-not-found")
        install_operator()
