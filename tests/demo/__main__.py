"""`make demo`: what the README's first command runs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster import paths
from cluster.binaries import KUBECTL
from cluster.bring_up import bring_up
from cluster.errors import ClusterError
from cluster.kubectl import kubectl
from cluster.progress import say, step
from support.client_pod import run_client
from support.forward import forwarded
from support.generate import ask
from support.install import install_operator
from support.llm import condition, endpoints_of, get_llm, wait_ready
from support.load import Measured, run_load

NAMESPACE = "default"
MODEL = "smollm2"
QUESTION = "What is the capital of France?"
_PATIENCE_SECONDS = 30
SAMPLE = paths.REPOSITORY / "samples" / "smollm2.yaml"


class Timings:
    """How long each step took."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Time a step that shows its own progress."""
        started = time.monotonic()
        yield
        self.rows.append((what, time.monotonic() - started))

    def run(self, what: str, work: Callable[[], object]) -> None:
        """Time a step and show it."""
        with self.measure(what), step(what):
            work()


def main() -> int:
    """Run the demo; 1 if a step failed, with the reason."""
    timings = Timings()
    try:
        with timings.measure("packages, programs, Kubernetes and images"):
            bring_up()
        timings.run("helm install", install_operator)
        timings.run("kubectl apply -f samples/smollm2.yaml", lambda: kubectl("apply", "-f", SAMPLE))
        _replace_what_hangs()
        timings.run("until Ready: scheduled, loaded and generated", lambda: wait_ready(NAMESPACE, MODEL, 600))
        url = str(get_llm(NAMESPACE, MODEL)["status"]["url"])
        with timings.measure("the answer, asked by a pod"), step(f"asking {url}"):
            answer = json.loads(run_client(NAMESPACE, "question.py", url, QUESTION, seconds=120))
        with timings.measure("1 request alone, then 100 at once"), step("1 request alone, then 100 at once"):
            alone, together = run_load(NAMESPACE, url, 1, 100)
    except (ClusterError, AssertionError) as error:
        say(f"error: {error}\nlogs: make demo-logs; start over: make demo-down, then make demo")
        return 1
    _report(timings, answer, alone, together)
    return 0 if together["complete"] == together["concurrency"] else 1


def _replace_what_hangs() -> None:
    """An earlier demo may have left a pod whose engine answers nobody, as after a stopped process."""
    if not any(endpoints_of(NAMESPACE, MODEL)):
        # It loads, or it is out of the Service already.
        _delete_pods(condition(get_llm(NAMESPACE, MODEL), "Degraded").get("status") == "True")
        return
    try:
        with forwarded(NAMESPACE, f"svc/{MODEL}", 8000) as port:
            ask(port, MODEL, QUESTION, timeout=_PATIENCE_SECONDS)
    except (ClusterError, OSError, ValueError):
        _delete_pods(True)


def _delete_pods(hang: bool) -> None:
    if hang:
        with step("replacing a pod of an earlier demo that does not answer"):
            kubectl("-n", NAMESPACE, "delete", "pods", "-l", f"app.kubernetes.io/instance={MODEL}", "--now")


def _report(timings: Timings, answer: str, alone: Measured, together: Measured) -> None:
    print(f"\n{kubectl('get', 'llm', '-o', 'wide')}")
    print(f"Q: {QUESTION}\nA: {answer}\n")
    for row in (alone, together):
        print(
            f"{row['concurrency']:>3} at once: {row['complete']} complete, "
            f"{row['seconds']:.1f} s, {row['tokens_per_second']:.0f} tokens/s"
        )
    ratio = together["tokens_per_second"] / alone["tokens_per_second"]
    print(f"    100 at once give {ratio:.1f} times the throughput of one alone\n")
    for what, seconds in timings.rows:
        print(f"{seconds:7.1f} s  {what}")
    print(
        f"\nThe cluster is yours:\n  export KUBECONFIG={paths.KUBECONFIG}\n"
        f"  {KUBECTL.path} get llm\nTo stop it: make demo-down"
    )


if __name__ == "__main__":
    sys.exit(main())
