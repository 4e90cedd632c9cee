"""Many LLMDeployments: `python -m perf.many [COUNT] [--replicas N]`, run by `make bench`.

Measured on this machine with the whole control plane on the same cores:
- how many Deployments a second this API server takes from one client that does nothing else, and how many seconds such
  a client takes for the same children: no operator is faster than that,
- the operator's start until all children of COUNT new LLMDeployments are there,
- its restart until it has seen all of them, and the writes of that restart,
- its memory,
- how long the API server took for one write of each kind of child.

With replicas the pods are made too, by the controller manager beside it, and wait for a node, of which most get none.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import node, paths
from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.processes import recorded_pid
from cluster.progress import say, step
from support.install import RELEASE, SYSTEM_NAMESPACE, install_operator
from support.llm import make_llm
from support.simulate import World
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.controller.connection import open_api_client
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.kube.client import KubeClient

NAMESPACE: Final = "perf"
REFERENCE_NAMESPACE: Final = "perf-reference"
REFERENCE_COUNT: Final = 200
"""LLMDeployments whose children are applied by a client that does nothing else."""
IN_FLIGHT: Final = 16
CHILD_KINDS: Final = ("deployments", "services", "configmaps", "controllerrevisions")
QUIET_SECONDS: Final = 20
PORT: Final = 18080


@dataclass(frozen=True)
class Result:
    """What was measured."""

    count: int
    api_server_applies_per_second: float
    """Of Deployments."""
    api_server_seconds: float
    """For all the children, without an operator."""
    children_seconds: float
    settled_seconds: float
    restart_seconds: float
    restart_writes: int
    memory_mib: float
    cpu_seconds: dict[str, float]
    """Until all children were there, by process."""
    others_seconds: float
    """What the processes beside the operator used, over all processors: the least that any operator takes."""
    milliseconds_by_kind: dict[str, float]
    """Of one apply of a child until then, mean."""


def main(arguments: list[str]) -> int:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--replicas", type=int, default=0)
    options = parser.parse_args(arguments)
    node.start()
    install_operator()
    # The operator under test runs as a process of this machine, where its memory and start are seen exactly.
    kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment", RELEASE, "--replicas=0")
    wait_until("the installed operator has ended", 60, lambda: not _operator_pods())
    try:
        with step("what the API server can do"):
            reference = _reference()
        result = _measure(options.count, options.replicas, reference)
    finally:
        with step("deleting them"):
            kubectl("delete", "namespace", NAMESPACE, timeout=600)
        kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment", RELEASE, "--replicas=1")
    print(json.dumps(vars(result), indent=2))
    return 0


@dataclass(frozen=True)
class Reference:
    """What the API server does for a client that does nothing else: the rest depends on how fast the machine is now."""

    deployments_per_second: float
    seconds_for_children: float
    """Of one LLMDeployment."""


def _reference() -> Reference:
    kubectl("create", "namespace", REFERENCE_NAMESPACE)
    try:
        return asyncio.run(_apply_children())
    finally:
        kubectl("delete", "namespace", REFERENCE_NAMESPACE, timeout=600)


async def _apply_children() -> Reference:
    spec = make_llm("llm", REFERENCE_NAMESPACE, replicas=0)["spec"]
    children = World(spec=spec).decide().manifests
    assert len(children) == len(CHILD_KINDS)
    client = KubeClient(await open_api_client(Settings(kubeconfig=paths.KUBECONFIG), IN_FLIGHT), lambda *_: None)
    (deployment,) = (child for child in children if child["kind"] == "Deployment")
    others = [child for child in children if child is not deployment]
    seconds = await _time_applies(client, [deployment])
    rest = await _time_applies(client, others)
    await client.close()
    return Reference(REFERENCE_COUNT / seconds, (seconds + rest) / REFERENCE_COUNT)


async def _time_applies(client: KubeClient, manifests: list[Json]) -> float:
    pending = [
        {**each, "metadata": {**each["metadata"], "name": f"child-{number}", "namespace": REFERENCE_NAMESPACE}}
        for number in range(REFERENCE_COUNT)
        for each in manifests
    ]

    async def work() -> None:
        while pending:
            await client.create(pending.pop())

    started = time.monotonic()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.monotonic() - started


def _measure(count: int, replicas: int, reference: Reference) -> Result:
    kubectl("create", "namespace", NAMESPACE)
    with step(f"creating {count} LLMDeployments"):
        items = [make_llm(f"llm-{number}", NAMESPACE, replicas=replicas) for number in range(count)]
        kubectl(
            "create", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": items}), timeout=600
        )
    with step("first start"), _running() as process:
        started = time.monotonic()
        before = cpu_seconds(process.pid)
        wait_until("all children are applied", 600, lambda: _applied_children() >= 4 * count)
        children_seconds = time.monotonic() - started
        cpu = {name: round(used - before[name], 1) for name, used in cpu_seconds(process.pid).items()}
        by_kind = {kind: _milliseconds(kind) for kind in CHILD_KINDS}
        assert _children() == 4 * count, "the API server holds what the operator has applied"
        wait_until("all statuses are written", 600, lambda: _settled() >= count)
        settled_seconds = time.monotonic() - started
        _wait_for_quiet()
    with step("restart"), _running() as process:
        started = time.monotonic()
        wait_until("every one was reconciled", 120, lambda: _metric('reconciles_total{result="success"}') >= count, 0.1)
        restart_seconds = time.monotonic() - started
        time.sleep(15)
        writes = _writes()
        memory = _memory_mib(process.pid)
    return Result(
        count,
        round(reference.deployments_per_second),
        round(reference.seconds_for_children * count, 1),
        round(children_seconds, 1),
        round(settled_seconds, 1),
        round(restart_seconds, 1),
        int(writes),
        round(memory, 1),
        cpu,
        round(sum(used for name, used in cpu.items() if name != "operator") / (os.cpu_count() or 1), 1),
        by_kind,
    )


@contextmanager
def _running() -> Iterator[subprocess.Popen[bytes]]:
    """An operator as a process of this machine, while the context is open."""
    environment = {
        **os.environ,
        "TRITON_VLLM_OPERATOR_KUBECONFIG": str(paths.KUBECONFIG),
        "TRITON_VLLM_OPERATOR_PORT": str(PORT),
        # As in the image, whose modules are compiled: those of this tree are by the first start.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(paths.STATE / "pycache"),
    }
    with (paths.LOGS / "operator-perf.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "triton_vllm_operator"], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
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


def _applied_children() -> int:
    """How many children the operator has applied; asked of the operator, since asking the cluster costs it time."""
    return int(sum(_metric(f'resource="{kind}",verb="apply"', "api_requests_total") for kind in CHILD_KINDS))


def cpu_seconds(operator: int) -> dict[str, float]:
    """The processor time that each process has used so far."""
    pids = {"operator": operator, **{name: recorded_pid(name) for name in node.COMPONENTS}}
    ticks = os.sysconf("SC_CLK_TCK")
    used = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used[name] = (int(fields[11]) + int(fields[12])) / ticks
    return used


def _milliseconds(kind: str) -> float:
    """Of one apply of a child of that kind, as the operator saw it."""
    part = f'{{resource="{kind}",verb="apply"}}'
    return round(1000 * _metric(part, "api_request_seconds_sum") / _metric(part, "api_request_seconds_count"), 1)


def _settled() -> int:
    """How many LLMDeployments have a status."""
    return int(_metric('api_requests_total{code="200",resource="llmdeployments",verb="apply"}'))


def _writes() -> float:
    """Those of the operator that runs."""
    return sum(_metric(f'verb="{verb}"', "api_requests_total") for verb in ("apply", "create", "delete"))


def _wait_for_quiet() -> None:
    """After the first statuses there are more to write: of pods that find no node."""
    before, since = _writes(), time.monotonic()

    def is_quiet() -> bool:
        nonlocal before, since
        if (now := _writes()) != before:
            before, since = now, time.monotonic()
        return time.monotonic() - since >= QUIET_SECONDS

    wait_until(f"nothing was written for {QUIET_SECONDS} s", 600, is_quiet, 1)


def _metric(part: str, name: str = "") -> float:
    """The sum of the operator's samples of one counter whose line holds `part`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if part in line and name in line and line[0] != "#")


def _memory_mib(pid: int) -> float:
    """The most memory that the process ever had resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    say("the cluster's own work is part of what is measured")
    sys.exit(main(sys.argv[1:]))
