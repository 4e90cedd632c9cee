"""Install the operator into the local cluster, as a user would."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.images import MODEL_TOOLS, OPERATOR, check_images
from cluster.kubectl import helm, kubectl, kubectl_json
from cluster.paths import REPOSITORY

RELEASE = "triton-vllm-operator"
SYSTEM_NAMESPACE = "triton-vllm-system"
CHART = REPOSITORY / "charts" / "triton-vllm-operator"
USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RELEASE}"


def install_operator(settings: Sequence[str] = (), release: str = RELEASE, namespace: str = SYSTEM_NAMESPACE) -> None:
    """`helm upgrade --install`, and wait until the operator runs.

    Raises:
        ClusterError: its image is not there, or it did not start.
    """
    check_images((OPERATOR, MODEL_TOOLS))
    _remove_unfinished_release(release, namespace)
    given = [*_images(OPERATOR.name, MODEL_TOOLS.name), "image.pullPolicy=Never", *settings]
    _upgrade(release, CHART, namespace, "--install", "--create-namespace", *_set(given))


def install_earlier(chart: Path, operator: str, tools: str) -> None:
    """`helm upgrade --install` of another commit's chart with its images.

    Raises:
        ClusterError: it did not start.
    """
    _remove_unfinished_release(RELEASE, SYSTEM_NAMESPACE)
    _upgrade(RELEASE, chart, SYSTEM_NAMESPACE, "--install", *_set(_images(operator, tools)))


def upgrade_operator() -> None:
    """To this commit, as README.md says it: what was set stays, all else is as the newer chart has it.

    Raises:
        ClusterError: it did not start.
    """
    images = _images(OPERATOR.name, MODEL_TOOLS.name)
    _upgrade(RELEASE, CHART, SYSTEM_NAMESPACE, "--reset-then-reuse-values", *_set(images))


def _upgrade(release: str, chart: Path, namespace: str, *options: str) -> None:
    helm("upgrade", release, chart, "-n", namespace, "--wait", "--timeout=150s", *options)


def _images(operator: str, tools: str) -> list[str]:
    settings = []
    for key, name in {"image": operator, "modelTools.image": tools}.items():
        repository, _, tag = name.rpartition(":")
        settings += [f"{key}.repository={repository}", f"{key}.tag={tag}"]
    return settings


def _set(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _remove_unfinished_release(release: str, namespace: str) -> None:
    """helm refuses to go on where an earlier helm was killed."""
    releases = json.loads(helm("list", "-n", namespace, "--all", "-o", "json"))
    if any(r["name"] == release and r["status"].startswith("pending") for r in releases):
        helm("uninstall", release, "-n", namespace, "--wait")


def restart_operator() -> None:
    """Kill the operator's pod without grace, and wait for the next one.

    Raises:
        AssertionError: the one that was killed had crashed or logged an error: its log is gone afterwards.
    """
    check_operator(since="2000-01-01T00:00:00Z")
    replace_operator_pod()


def replace_operator_pod() -> None:
    """Kill the operator's pod without grace, whatever it did, and wait for the next one."""
    kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", "-l", f"app.kubernetes.io/instance={RELEASE}", "--now")
    kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment", RELEASE, "--timeout=90s")


def operator_pods() -> list[dict[str, Any]]:
    """The operator's pods that are not being deleted."""
    pods = kubectl_json("-n", SYSTEM_NAMESPACE, "get", "pods", "-l", f"app.kubernetes.io/instance={RELEASE}")
    return [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]


def operator_pod() -> dict[str, Any]:
    """The operator's pod; the first, if there are several."""
    return next(iter(operator_pods()))


def operator_image() -> str:
    """The image of the installed operator."""
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    return kubectl("-n", SYSTEM_NAMESPACE, "get", "deployment", RELEASE, "-o", path)


def operator_restarts() -> int:
    """How often the container of the operator's pod was started again."""
    return sum(int(status["restartCount"]) for status in operator_pod()["status"]["containerStatuses"])


def check_operator(since: str) -> None:
    """Check that the operator has neither crashed nor logged an error since a time (RFC 3339).

    Raises:
        AssertionError: it has; the lines are in the text.
    """
    pod = str(operator_pod()["metadata"]["name"])
    if operator_restarts():
        raise AssertionError("the operator crashed:\n" + kubectl("-n", SYSTEM_NAMESPACE, "logs", pod, "--previous"))
    log = kubectl("-n", SYSTEM_NAMESPACE, "logs", pod, f"--since-time={since}")
    found = [line for line in log.splitlines() if _severity(line) in ("error", "fatal")]
    if found:
        raise AssertionError("the operator logged errors:\n" + "\n".join(found[:10]))


def _severity(line: str) -> str:
    """What is no JSON was printed by a traceback."""
    return str(json.loads(line).get("severity")) if line.startswith("{") else "error"
