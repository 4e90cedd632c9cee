"""How long a pod is not yet Ready although its engine answers: `python -m perf.ready [STARTS]`, on the local cluster.

A program in each new pod asks for one token until it gets one, which is when the engine first answers; the time at
which the pod's gate is seen True is taken on the same machine's clock. The operator's log tells how much of the time
between went into the first requests of each kind (health/warm_up.py), which compile on a CPU. `make demo` or any other
start of the cluster must have come before; prints JSON.
"""

import argparse
import json
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.progress import say
from support.install import RELEASE, SYSTEM_NAMESPACE
from support.llm import apply, make_llm, pods_of, wait_ready
from triton_vllm_operator.api.names import READINESS_GATE

NAMESPACE: Final = "perf-ready"
NAME: Final = "starts"
ASKS: Final = f"""
import time, urllib.request
body = b'{{"text_input": "Hello", "parameters": {{"max_tokens": 1, "ignore_eos": true, "temperature": 0}}}}'
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/v2/models/{NAME}/generate", body, timeout=60).read()
        break
    except OSError:
        time.sleep(0.1)
print(time.time())
"""
WARMED: Final = re.compile(r"pod (\S+) generated after \S+ s, and (\S+) s of first requests")


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds of one start."""

    answers_to_ready: float
    warm_up: float


def main(arguments: list[str]) -> int:
    """Measure so many starts."""
    parser = argparse.ArgumentParser(prog="python -m perf.ready", description=__doc__)
    parser.add_argument("starts", nargs="?", type=int, default=20)
    count = parser.parse_args(arguments).starts
    kubectl("create", "namespace", NAMESPACE)
    try:
        # With the defaults of spec.probe.
        apply(make_llm(NAME, NAMESPACE, probe={}))
        starts = []
        for number in range(count):
            starts.append(measure_start())
            say(f"start {number + 1} of {count}: {starts[-1]}")
            if number + 1 < count:
                kubectl("-n", NAMESPACE, "delete", "pod", "-l", f"app.kubernetes.io/instance={NAME}")
    finally:
        kubectl("delete", "namespace", NAMESPACE, timeout=300)
    both = [start.answers_to_ready for start in starts]
    rest = [start.answers_to_ready - start.warm_up for start in starts]
    print(json.dumps({"starts": count, "answers to Ready": tell(both), "without the warm-up": tell(rest)}, indent=2))
    return 0


def measure_start() -> Start:
    """Of the pod that starts now."""
    wait_until("its container runs", 120, lambda: running_pod() is not None)
    pod = str(running_pod())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(kubectl, "-n", NAMESPACE, "exec", "-i", pod, "--", "python3", "-", stdin=ASKS, timeout=300)
        wait_until("it is ready", 300, lambda: is_ready(pod), every=0.1)
        ready = time.time()
    wait_ready(NAMESPACE, NAME)
    return Start(round(ready - float(asked.result()), 2), warm_up_of(pod))


def running_pod() -> str | None:
    """The pod that is not being deleted, once its container runs."""
    for pod in pods_of(NAMESPACE, NAME):
        if any("running" in status["state"] for status in pod["status"].get("containerStatuses", [])):
            return str(pod["metadata"]["name"])
    return None


def is_ready(pod: str) -> bool:
    """Whether the gate of a pod is open."""
    conditions = kubectl_json("-n", NAMESPACE, "get", "pod", pod)["status"]["conditions"]
    return any(each["type"] == READINESS_GATE and each["status"] == "True" for each in conditions)


def warm_up_of(pod: str) -> float:
    """Seconds of first requests, of the operator's log."""
    log = kubectl("-n", SYSTEM_NAMESPACE, "logs", f"deployment/{RELEASE}", "--since=10m")
    return next(float(seconds) for name, seconds in WARMED.findall(log) if name == pod)


def tell(seconds: list[float]) -> dict[str, float]:
    """The middle, and what 19 of 20 are below."""
    ordered = sorted(seconds)
    return {"median": round(statistics.median(ordered), 2), "p95": round(ordered[-(-len(ordered) * 19 // 20) - 1], 2)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
