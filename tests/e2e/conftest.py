"""The local cluster with the operator in it. Tests talk to this cluster and to no other."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from cluster.bring_up import bring_up
from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.install import check_operator, install_operator, replace_operator_pod
from support.pretended import pretended_gpus


def now() -> str:
    """The time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="session")
def cluster() -> str:
    """A running cluster with the images of this tree and a fresh operator; when it was installed."""
    bring_up()
    install_operator()
    # What the demo or a run before left takes the processors, and the operator's writes for it are not ours.
    kubectl("delete", "llm", "--all", "--all-namespaces", timeout=180)
    installed_at = now()
    replace_operator_pod()
    return installed_at


@pytest.fixture(autouse=True)
def no_unexpected_errors(cluster: str) -> Iterator[None]:
    """After every test the operator's log is read: an ERROR or a crash fails it."""
    began = now()
    yield
    check_operator(began)


def _service_accounts(namespace: str) -> list[str]:
    return [found["metadata"]["name"] for found in kubectl_json("-n", namespace, "get", "serviceaccounts")["items"]]


def _namespace(labels: tuple[str, ...] = ()) -> Iterator[str]:
    name = f"e2e-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    # Pods of no controller are refused until it is there. After an outage of the API server the controllers' watches
    # back off for up to 60 s each (client-go's reflector: 30 s and as much jitter), and this takes two of them.
    wait_until("the namespace has its service account", 180, lambda: "default" in _service_accounts(name), every=0.2)
    if labels:
        kubectl("label", "namespace", name, *labels)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(cluster: str) -> Iterator[str]:
    """A namespace of this test."""
    yield from _namespace()


@pytest.fixture(scope="module")
def shared_namespace(cluster: str) -> Iterator[str]:
    """A namespace of one module, with Pod Security admission at its strictest."""
    yield from _namespace(("pod-security.kubernetes.io/enforce=restricted",))


@pytest.fixture(scope="module")
def one_gpu(cluster: str) -> Iterator[None]:
    """The node has one GPU, a pretended one."""
    with pretended_gpus(1):
        yield


@pytest.fixture
def nothing_left(namespace: str) -> Iterator[None]:
    """What the test deployed there is gone, with its pods and the GPUs they held, before the next one begins."""
    yield
    # Each without what it owns: pods that Kubernetes deletes take their own time, and kubelet keeps to it.
    for owner in ("llm", "deployments", "replicasets", "jobs"):
        kubectl("-n", namespace, "delete", owner, "--all", "--cascade=orphan", timeout=180)
    kubectl("-n", namespace, "delete", "pods", "--all", "--grace-period=1", "--wait=false")
    wait_until("its pods are gone", 120, lambda: not kubectl_json("-n", namespace, "get", "pods")["items"])


@pytest.fixture(scope="session")
def session_began(cluster: str) -> str:
    """When the operator of this session was installed."""
    return cluster
