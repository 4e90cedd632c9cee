"""The serving container waits for the memory of its GPUs: a bounded time, and not where that is in vain."""

import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY
from support.pods import make_pod
from support.simulate import NOW, World
from triton_vllm_operator.health.failures.pods import find_problem
from triton_vllm_operator.kube.resources import as_dict
from triton_vllm_operator.reconcile.held import ask_again_at, may_wait_for_memory

PROGRAM = REPOSITORY / "operator/triton_vllm_operator/sources/wait_for_gpu.py"
# An H200 as nvidia-smi tells it: empty, and with 60 GiB taken.
EMPTY, TAKEN = "143156, 143771, 616", "81096, 143771, 616"
# Of its first calls it tells that the GPU is taken.
SMI = """#!/bin/sh
echo x >> {folder}/calls
if [ $(wc -l < {folder}/calls) -le {taken} ]; then echo '{first}'; else echo '{then}'; fi
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def answer(folder: Path, taken: int = 0, first: str = TAKEN, then: str = EMPTY) -> None:
    path = folder / "nvidia-smi"
    path.write_text(SMI.format(folder=folder, taken=taken, first=first, then=then))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(utilization: str = "0.9", seconds: str = "20") -> "subprocess.CompletedProcess[str]":
    options = [f"--utilization={utilization}", f"--seconds={seconds}", "echo", "served", "--model-repository=/models"]
    return subprocess.run(
        [sys.executable, str(PROGRAM), *options], capture_output=True, text=True, timeout=60, check=False
    )


def test_where_there_is_enough_it_is_the_server_at_once(smi: Path) -> None:
    answer(smi)
    done = run()
    assert (done.returncode, done.stdout) == (0, "served --model-repository=/models\n")


def test_it_waits_until_there_is_and_says_so(smi: Path) -> None:
    answer(smi, taken=2)
    done = run()
    assert done.stdout.splitlines() == [
        "waiting for GPU memory: GPU 0 has 79.2 GiB free, and the engine asks for 125.8 GiB",
        "served --model-repository=/models",
    ]


def test_it_does_not_wait_for_ever(smi: Path) -> None:
    answer(smi, taken=1000)
    done = run(seconds="1.5")
    assert done.returncode == 0
    assert done.stdout.endswith("served --model-repository=/models\n")


def test_where_an_empty_gpu_is_too_small_it_ends_at_once(smi: Path) -> None:
    answer(smi)
    done = run("0.999")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: UtilizationTooHigh: 0.999 of GPU 0 is 139.7 GiB, and of an empty one 139.2 GiB can be had: "
        "at most 0.995\n"
    )


def test_of_an_empty_gpu_the_engine_says_what_it_lacks_where_that_is_not_certain(smi: Path) -> None:
    """CUDA takes less of a small GPU than of the one that was measured."""
    answer(smi, then="12282, 12288, 0")
    assert run("0.95").stdout == "served --model-repository=/models\n"
    assert run("0.99").returncode == 1


@pytest.mark.parametrize("told", ["[N/A], [N/A], [N/A]", "", "1, 2", "no devices were found"])
def test_where_nothing_is_told_nothing_is_waited_for(smi: Path, told: str) -> None:
    answer(smi, then=told)
    assert run().stdout == "served --model-repository=/models\n"


def test_without_nvidia_smi_nothing_is_waited_for(smi: Path) -> None:
    assert run().stdout == "served --model-repository=/models\n"


def test_each_of_several_gpus_counts(smi: Path) -> None:
    answer(smi, then=f"{EMPTY}\n{TAKEN}")
    assert run(seconds="1").stdout.startswith(
        "waiting for GPU memory: GPU 1 has 79.2 GiB free, and the engine asks for 125.8 GiB\n"
    )


GPU = {
    "model": {"image": {"reference": "registry/model:1"}},
    "runtime": {"version": "26.08"},
    "memory": {"policy": "Off"},
}


def template(**spec: object) -> dict[str, object]:
    """The serving container, and whether the other one leaves the program for it."""
    world = World(spec={**GPU, **spec}).settle()
    (deployment,) = world.of_kind("Deployment")
    pod = as_dict(as_dict(as_dict(deployment.body["spec"])["template"])["spec"])
    variables = [variable["name"] for variable in pod["initContainers"][0]["env"]]
    return {"args": pod["containers"][0]["args"], "left": "TRITON_VLLM_PROGRAMS" in variables}


def test_it_waits_for_the_share_of_the_spec_or_of_the_version() -> None:
    found = template(engine={"gpuMemoryUtilization": 0.5})
    args = found["args"]
    assert isinstance(args, list)
    assert args[:2] == ["sh", "-c"]
    assert "--utilization=0.5 --seconds=120" in args[2]
    assert args[3:5] == ["sh", "tritonserver"]
    assert found["left"]
    assert "--utilization=0.92 " in str(template()["args"])


@pytest.mark.parametrize(
    "spec",
    [
        {"engine": {"kvCacheMemoryBytes": "8Gi"}},
        {"accelerator": {"nvidiaGPU": {"resourceName": "nvidia.com/mig-3g.40gb"}}},
        {"runtime": {"version": "cpu-0.32.0"}, "accelerator": {"cpu": {}}},
    ],
)
def test_where_the_share_says_nothing_the_server_starts_at_once(spec: dict[str, object]) -> None:
    found = template(**spec)
    args = found["args"]
    assert isinstance(args, list)
    assert "python3" not in args[2]
    assert not found["left"]


def test_it_is_said_of_the_pod() -> None:
    pod = make_pod("r", waits_for_memory="GPU 0 has 1.0 GiB free, and the engine asks for 2.0 GiB")
    found = find_problem(pod)
    assert found is not None
    assert (found.reason, found.message) == (
        "WaitingForGpuMemory",
        "pod llama-1 waits for GPU memory: GPU 0 has 1.0 GiB free, and the engine asks for 2.0 GiB",
    )


def test_its_log_is_read_while_it_may_wait() -> None:
    pod = make_pod("r", waits_first=True, started_at=NOW)
    assert may_wait_for_memory(pod, NOW + timedelta(seconds=100))
    assert ask_again_at(pod, NOW) == NOW + timedelta(seconds=11)
    assert not may_wait_for_memory(pod, NOW + timedelta(seconds=150))
    assert not may_wait_for_memory(make_pod("r", started_at=NOW), NOW)
