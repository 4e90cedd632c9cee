"""Whatever part of a serving pod dies or stands still, its successor serves, and it is said what happened.

What ends the container is kubelet's to start again; what leaves the server up over a dead engine is the operator's.
All of it with the defaults of the probe.
"""

import concurrent.futures
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.forward import forwarded
from support.generate import generate
from support.llm import apply, condition, container_ids, endpoints_of, get_llm, make_llm, pods_of, wait_ready
from support.processes import held_event_loops, overwrite, processes_of, signal_processes

pytestmark = [pytest.mark.e2e, pytest.mark.full]
OUT_SECONDS = 45
BACK_SECONDS = 240
NOT_A_NUMBER = b"\xc0\x7f"
"""In bfloat16."""
HOGS = """for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
python3 -c "b = b'x' * (700 * 2**20); import time; time.sleep(90)" & done; wait"""
"""None of them is as large as the engine's worker."""
STUB = b"triton_python_backend_stub /models/"
STARVED = "starved"
LOADS_SECONDS = 8
STARVED_SECONDS = 4
Break = Callable[[dict[str, Any], str], AbstractContextManager[object]]


def killed(words: bytes, number: int = signal.SIGKILL) -> Break:
    def break_it(pod: dict[str, Any], _: str) -> AbstractContextManager[object]:
        signal_processes(pod, words, number)
        return nullcontext()

    return break_it


@contextmanager
def out_of_memory(pod: dict[str, Any], namespace: str) -> Iterator[None]:
    """The container takes more memory than it may: with cgroup v1 the kernel ends one process of it, with v2 all."""
    print(f"cgroup v{2 if Path('/sys/fs/cgroup/cgroup.controllers').exists() else 1}")
    for worker in processes_of(pod, b"VLLM::Worker"):
        # Which one the kernel chooses hangs on how much each has: let it be the one that computes.
        Path(f"/proc/{worker}/oom_score_adj").write_text("1000")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        words = ("exec", pod["metadata"]["name"], "--", "sh", "-c", HOGS)
        hogs = pool.submit(kubectl, "-n", namespace, *words, timeout=300)
        yield
        for process in processes_of(pod, b"time.sleep"):
            os.kill(process, signal.SIGKILL)
        # The container may have ended, and kubectl with an error.
        hogs.exception(timeout=120)


@contextmanager
def wedged(pod: dict[str, Any], _: str) -> Iterator[None]:
    """The event loop of the backend does not turn; its process lives, and so does the engine's."""
    (stub,) = processes_of(pod, b"triton_python_backend_stub")
    with held_event_loops(stub) as count:
        print(f"{count} threads of the stub are held")
        yield


@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("stub", killed(b"triton_python_backend_stub")),
        ("worker", killed(b"VLLM::Worker")),
        ("core", killed(b"VLLM::EngineCore")),
        ("stopped-stub", killed(b"triton_python_backend_stub", signal.SIGSTOP)),
        ("memory", out_of_memory),
        ("wedged", wedged),
    ],
)
def test_it_serves_again(shared_namespace: str, name: str, break_it: Break) -> None:
    apply(make_llm(name, shared_namespace, probe={}))
    wait_ready(shared_namespace, name)
    # Its answers are known after the first probe that follows the proof.
    time.sleep(12)
    (pod,) = pods_of(shared_namespace, name)
    before, began = container_ids(shared_namespace, name), time.monotonic()
    with break_it(pod, shared_namespace):
        seconds = wait_until(
            "it is out of the Service", OUT_SECONDS, lambda: not endpoints_of(shared_namespace, name), every=0.2
        )
        said = condition(get_llm(shared_namespace, name), "Ready").get("message", "")
        wait_until("another container is there", 120, lambda: not container_ids(shared_namespace, name) & before)
    wait_ready(shared_namespace, name, BACK_SECONDS)
    took = time.monotonic() - began
    (successor,) = pods_of(shared_namespace, name)
    is_replaced = successor["metadata"]["name"] != pod["metadata"]["name"]
    how = "the operator replaced its pod" if is_replaced else "kubelet started its container again"
    print(f"{name}: out of the Service after {seconds:.1f} s, ready again after {took:.0f} s: {how}; {said}")
    with forwarded(shared_namespace, f"svc/{name}", 8000) as port:
        assert generate(port, name, {"text_input": "Hi"})[0] == 200
    events = kubectl_json("-n", shared_namespace, "get", "events", "--field-selector", "reason=PodReplaced")["items"]
    assert [pod["metadata"]["name"] in event["message"] for event in events].count(True) == is_replaced
    kubectl("-n", shared_namespace, "delete", "llm", name)


def test_a_stub_that_stands_still_while_it_loads_is_started_again(shared_namespace: str) -> None:
    """Triton gives it up after a second, says nothing, and waits for it without a limit."""
    apply(make_llm(STARVED, shared_namespace, probe={}))
    wait_until("its stub loads", 120, lambda: find_stub(shared_namespace) is not None, every=0.2)
    pod = find_stub(shared_namespace) or {}
    time.sleep(LOADS_SECONDS)
    signal_processes(pod, STUB, signal.SIGSTOP)
    time.sleep(STARVED_SECONDS)
    signal_processes(pod, STUB, signal.SIGCONT)
    began = time.monotonic()
    wait_until("its container ends", OUT_SECONDS, lambda: last_end(shared_namespace) is not None, every=0.2)
    print(f"{STARVED}: its container ended after {time.monotonic() - began:.1f} s")
    assert "ran for a second while it loaded the model" in (last_end(shared_namespace) or {})["message"]
    wait_ready(shared_namespace, STARVED, BACK_SECONDS)
    print(f"{STARVED}: Ready after {time.monotonic() - began:.0f} s")
    kubectl("-n", shared_namespace, "delete", "llm", STARVED)


def find_stub(namespace: str) -> dict[str, Any] | None:
    """Its pod, once it has the process."""
    return next((pod for pod in pods_of(namespace, STARVED) if processes_of(pod, STUB)), None)


def last_end(namespace: str) -> dict[str, Any] | None:
    """How its container ended."""
    (pod,) = pods_of(namespace, STARVED)
    (container,) = pod["status"]["containerStatuses"]
    ends = (container[state].get("terminated") for state in ("lastState", "state"))
    return next((end for end in ends if end), None)


def first_row(process: int) -> tuple[bytes, int]:
    """The beginning of the embeddings in the model's own file, and their bytes."""
    with Path(f"/proc/{process}/root/weights/model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(size))["model.embed_tokens.weight"]["data_offsets"]
        file.seek(8 + size + begin)
        return file.read(256), end - begin


def test_an_engine_whose_weights_are_no_numbers_any_more_is_named_and_left_to_its_owner(shared_namespace: str) -> None:
    """As after a fault of a GPU: it answers as fast as ever, with HTTP 200. It is not dead: nothing replaces it."""
    apply(make_llm("garbage", shared_namespace, probe={}))
    wait_ready(shared_namespace, "garbage")
    (pod,) = pods_of(shared_namespace, "garbage")
    (worker,) = processes_of(pod, b"VLLM::Worker")
    print(f"{overwrite(worker, *first_row(worker), NOT_A_NUMBER)} copies of the embeddings overwritten")
    with forwarded(shared_namespace, f"pod/{pod['metadata']['name']}", 8000) as port:
        status, answer = generate(port, "garbage", {"text_input": "Hi", "exclude_input_in_output": True})
    print(f"HTTP {status}: {answer}")
    assert status == 200
    seconds = wait_until("it is out of the Service", 60, lambda: not endpoints_of(shared_namespace, "garbage"))
    degraded = condition(get_llm(shared_namespace, "garbage"), "Degraded")
    print(f"out of the Service after {seconds:.1f} s: {degraded['reason']}: {degraded['message']}")
    assert degraded["reason"] in ("DegenerateAnswer", "NothingGenerated")
    time.sleep(20)
    assert [other["metadata"]["name"] for other in pods_of(shared_namespace, "garbage")] == [pod["metadata"]["name"]]
    kubectl("-n", shared_namespace, "delete", "llm", "garbage")
