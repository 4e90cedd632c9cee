"""What is PID 1 of the serving container: it hands SIGTERM on to the server, and ends as the server does."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.simulate import CPU_SPEC
from triton_vllm_operator.api.reading import read_spec
from triton_vllm_operator.manifests.start import build_start

SHELLS = ("dash", "bash")
# Of what it is told, the server says one word, so that it is known to have begun.
SERVER = """#!/usr/bin/env bash
{does}
"""
LOADS = "echo began; exec sleep 60"
SERVES = "trap 'sleep 0.3; echo ended; exit 0' TERM; echo began; while :; do sleep 0.05; done"


def start(shell: str, folder: Path, does: str) -> "subprocess.Popen[str]":
    program = folder / "tritonserver"
    program.write_text(SERVER.format(does=does))
    program.chmod(0o755)
    _, *arguments = build_start(read_spec(CPU_SPEC), "0.32.0", "image")
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.Popen([shell, *arguments], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("echo $1", 0, "--model-repository=/models"),
        ("exit 3", 3, ""),
        ("kill -KILL $$", 137, ""),
    ],
)
def test_it_ends_as_the_server_does(shell: str, does: str, code: int, says: str, tmp_path: Path) -> None:
    process = start(shell, tmp_path, does)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (code, says)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("does", "code", "says"), [(LOADS, 143, ""), (SERVES, 0, "ended")])
def test_a_server_that_loads_ends_at_once_and_one_that_serves_in_its_own_time(
    shell: str, does: str, code: int, says: str, tmp_path: Path
) -> None:
    process = start(shell, tmp_path, does)
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (code, says)
    assert time.monotonic() - began < 10
