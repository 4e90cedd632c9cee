"""kubectl llm, installed as a user installs it, against a model that serves."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import binaries, paths
from cluster.kubectl import kubectl
from cluster.paths import REPOSITORY
from cluster.shell import run
from support.llm import SMOLLM2, apply, make_llm, pods_of, wait_for, wait_ready

pytestmark = pytest.mark.e2e
NAME = "asked"
Llm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With kubectl and its plugin on the PATH."""
    folder = tmp_path_factory.mktemp("cli")
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, REPOSITORY])
    path = f"{folder / 'bin'}:{Path(binaries.KUBECTL.path).parent}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "KUBECONFIG": str(paths.KUBECONFIG)}


@pytest.fixture(scope="module")
def served(shared_namespace: str) -> Iterator[str]:
    # One period after another, so that a restarted pod is not asked at once.
    apply(make_llm(NAME, shared_namespace, probe=SMOLLM2["probe"]))
    wait_ready(shared_namespace, NAME)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", NAME)


@pytest.fixture(scope="module")
def llm(environment: dict[str, str], served: str) -> Llm:
    """Runs `kubectl llm` in the namespace."""

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        command = ["kubectl", "llm", *words, "-n", served]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    return call


def test_kubectl_lists_it_as_a_plugin(environment: dict[str, str]) -> None:
    found = subprocess.run(["kubectl", "plugin", "list"], env=environment, capture_output=True, text=True, check=False)
    assert "/kubectl-llm" in found.stdout


def test_status_tells_of_a_model_that_serves(llm: Llm, served: str) -> None:
    done = llm("status", NAME)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    (pod,) = pods_of(served, NAME)
    name = pod["metadata"]["name"]
    assert done.stdout.startswith(f"{NAME} in {served}: ready: 1 of 1 pods generate")
    assert f"timeline of generation 1, pod {name}" in done.stdout
    steps = [line.split()[0] for line in done.stdout.split("timeline")[1].split("\n\n")[0].splitlines()[1:]]
    assert steps == ["accepted", "scheduled", "images", "loaded", "generated"]
    assert f"{name} on local: generates, proven" in done.stdout


def test_generate_streams_an_answer_and_chat_takes_the_models_template(llm: Llm) -> None:
    plain = llm("generate", NAME, "The capital of France is", "--max-tokens", "8", "--temperature", "0")
    chat = llm("generate", NAME, "What is the capital of France?", "--chat", "--max-tokens", "24", "--temperature", "0")
    print(plain.stdout, chat.stdout)
    assert "Paris" in plain.stdout, plain.stderr
    assert chat.stdout.strip(), chat.stderr
    # Without the template this model continues the question. What it answers with it depends on the processor: by the
    # matrix unit of one (AMX) it speaks of the Marseillaise.
    assert llm(
        "generate", NAME, "What is the capital of France?", "--max-tokens", "24", "--temperature", "0"
    ).stdout != (chat.stdout)
    assert llm("generate", NAME, "Hi", "--adapter", "bench").stderr == "kubectl-llm: LoRA feature is not enabled.\n"


def test_an_answer_comes_while_it_is_made(environment: dict[str, str], served: str, llm: Llm) -> None:
    # By itself this model ends such a text late, if ever.
    words = [
        "kubectl",
        "llm",
        "generate",
        NAME,
        "1, 2, 3, 4, 5,",
        "--max-tokens",
        "200",
        "--temperature",
        "0",
        "-n",
        served,
    ]
    arrivals: list[bytes] = []
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while part := os.read(process.stdout.fileno(), 65_536):
            arrivals.append(part)
    # One that is kept back until its end comes in two: the text, and the end of its line.
    print(f"{sum(map(len, arrivals))} bytes in {len(arrivals)} arrivals")
    assert sum(map(len, arrivals)) > 150
    assert len(arrivals) > 3


def test_logs_are_those_of_the_engine(llm: Llm) -> None:
    engines, all_of_it = llm("logs", NAME), llm("logs", NAME, "--all")
    assert "vLLM engine" in engines.stdout or "LLM engine" in engines.stdout
    assert "server.cc" in all_of_it.stdout
    assert "server.cc" not in engines.stdout


def test_the_doctor_finds_what_the_local_cluster_has(environment: dict[str, str]) -> None:
    words = ["kubectl", "llm", "doctor"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert "ok       CRD" in done.stdout
    assert "ok       operator's rights  all" in done.stdout
    assert "note     GPUs" in done.stdout


@pytest.mark.full
def test_a_restart_replaces_the_pod(llm: Llm, served: str) -> None:
    (before,) = pods_of(served, NAME)
    assert llm("restart", NAME).returncode == 0

    def is_replaced(_: object) -> bool:
        return before["metadata"]["name"] not in {pod["metadata"]["name"] for pod in pods_of(served, NAME)}

    wait_for(served, NAME, "has another pod", 120, is_replaced)
    assert llm("status", NAME, "--watch").returncode == 0
