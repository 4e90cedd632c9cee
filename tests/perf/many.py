"""Many LLMDeployments without pods: `python -m perf.many [COUNT]`, run by `make bench`.

Measured on this machine with the whole control plane on the same cores:
- the operator's start until all children of COUNT new LLMDeployments are there,
- its restart until it has seen all of them, and the writes of that restart,
- its memory.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import node, paths
from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.progress import say, step
from support.install import RELEASE, SYSTEM_NAMESPACE, install_operator
from support.llm import make_llm

NAMESPACE: Final = "perf"
CHILD_KINDS: Final = ("deployments", "services", "configmaps", "controllerrevisions")
PORT: Final = 18080


@dataclass(frozen=True)
class Result:
    """What was measured."""

    count: int
    children_seconds: float
    settled_seconds: float
    restart_seconds: float
    restart_writes: int
    memory_mib: float


def main(arguments: list[str]) -> int:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    count = parser.parse_args(arguments).count
    node.start()
    install_operator()
    # The operator under test runs as a process of this machine, where its memory and start are seen exactly.
    kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment", RELEASE, "--replicas=0")
    wait_until("the installed operator has ended", 60, lambda: not _operator_pods())
    try:
        result = _measure(count)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment", RELEASE, "--replicas=1")
    print(json.dumps(vars(result), indent=2))
    return 0


def _measure(count: int) -> Result:
    kubectl("create", "namespace", NAMESPACE)
    with step(f"creating {count} LLMDeployments"):
        items = [make_llm(f"llm-{number}", NAMESPACE, replicas=0) for number in range(count)]
        kubectl(
            "create", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": items}), timeout=600
        )
    with step("first start"):
        process, started = _start(), time.monotonic()
        wait_until("all children are there", 600, lambda: _children() >= 4 * count)
        children_seconds = time.monotonic() - started
        wait_until("all statuses are written", 600, lambda: _settled() >= count)
        settled_seconds = time.monotonic() - started
        _stop(process)
    with step("restart"):
        process, started = _start(), time.monotonic()
        wait_until("every one was reconciled", 120, lambda: _metric('reconciles_total{result="success"}') >= count, 0.1)
        restart_seconds = time.monotonic() - started
        time.sleep(15)
        writes = sum(_metric(f'verb="{verb}"') for verb in ("apply", "delete"))
        memory = _memory_mib(process.pid)
        _stop(process)
    return Result(
        count,
        round(children_seconds, 1),
        round(settled_seconds, 1),
        round(restart_seconds, 1),
        int(writes),
        round(memory, 1),
    )


def _start() -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "TRITON_VLLM_OPERATOR_KUBECONFIG": str(paths.KUBECONFIG),
        "TRITON_VLLM_OPERATOR_PORT": str(PORT),
    }
    with (paths.LOGS / "operator-perf.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "triton_vllm_operator"], env=environment, stdout=log, stderr=log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def _operator_pods() -> list[object]:
    selector = f"app.kubernetes.io/instance={RELEASE}"
    return list(kubectl_json("-n", SYSTEM_NAMESPACE, "get", "pods", "-l", selector)["items"])


def _children() -> int:
    """How many children there are; only counts are asked for, so that looking costs little."""
    return sum(map(_count, CHILD_KINDS))


def _count(resource: str) -> int:
    group = "/api/v1" if resource in ("services", "configmaps") else "/apis/apps/v1"
    page = json.loads(kubectl("get", "--raw", f"{group}/namespaces/{NAMESPACE}/{resource}?limit=1"))
    total = len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))
    # Kubernetes puts its CA into a ConfigMap of every namespace.
    return total - 1 if resource == "configmaps" else total


def _settled() -> int:
    """How many LLMDeployments have a status."""
    return int(_metric('api_requests_total{code="200",resource="llmdeployments",verb="apply"}'))


def _metric(part: str) -> float:
    """The sum of the operator's samples whose line holds `part`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        return 0.0
    wanted = "api_requests_total" if part.startswith("verb=") else ""
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if part in line and wanted in line and line[0] != "#")


def _memory_mib(pid: int) -> float:
    """The most memory that the process ever had resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    say("the cluster's own work is part of what is measured")
    sys.exit(main(sys.argv[1:]))
