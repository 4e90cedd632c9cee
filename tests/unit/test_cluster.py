"""The local cluster's driver, as far as it can be tested without one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import checks, paths, processes
from cluster.errors import ClusterError
from cluster.images import OPERATOR, RUNTIME_CPU
from cluster.kubectl import wait_until
from cluster.shell import run


def test_a_machine_that_cannot_run_it_is_told_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SimpleNamespace(machine="aarch64")
    monkeypatch.setattr(checks.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(checks.os, "uname", lambda: machine)
    monkeypatch.setattr(checks.shutil, "which", lambda _: None)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(ClusterError) as told:
        checks.check_machine()
    for part in ("not root", "x86-64", "go is not on PATH", "1 GiB free", "make demo-clean"):
        assert part in str(told.value)


def test_a_port_in_use_is_named(unused_tcp_port: int) -> None:
    checks.check_ports({"etcd": ("127.0.0.1", unused_tcp_port)})
    with socket.create_server(("127.0.0.1", unused_tcp_port)), pytest.raises(ClusterError, match=f"{unused_tcp_port}"):
        checks.check_ports({"etcd": ("127.0.0.1", unused_tcp_port)})


def test_beside_another_kubernetes_it_does_not_start() -> None:
    other = subprocess.Popen(["bash", "-c", "exec -a /usr/bin/kubelet sleep 30"])
    try:
        wait_until("it has its name", 5, lambda: other.pid in processes.other_kubelets(), every=0.01)
        with pytest.raises(ClusterError, match=str(other.pid)):
            checks.check_alone()
    finally:
        other.kill()
        other.wait()


def test_a_failed_command_shows_the_end_of_its_output() -> None:
    with pytest.raises(ClusterError, match=r"(?s)exit code 3.*the reason"):
        run([sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(ClusterError, match="no-such-tool is not installed"):
        run(["no-such-tool"])


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "PIDS", tmp_path / "pids")
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    return tmp_path


def test_a_process_outlives_its_starter_and_is_stopped_by_id(scratch: Path) -> None:
    processes.start_process("sleeper", ["sleep", "60"])
    assert processes.is_running("sleeper")
    processes.stop_process("sleeper")
    assert not processes.is_running("sleeper")


def test_another_process_with_the_same_id_is_not_ours(scratch: Path) -> None:
    (scratch / "pids").mkdir()
    (scratch / "pids" / "sleeper.json").write_text(f'{{"pid": {os.getpid()}, "started": "1"}}')
    assert not processes.is_running("sleeper")
    processes.stop_process("sleeper")


def test_what_ended_is_shown_with_its_log(scratch: Path) -> None:
    processes.start_process("failing", ["sh", "-c", "echo why it ended"])
    for _ in range(100):
        if not processes.is_running("failing"):
            break
        subprocess.run(["sleep", "0.02"], check=True)
    with pytest.raises(ClusterError, match=r"(?s)failing has ended.*why it ended"):
        processes.require_running("failing")


def test_an_image_is_named_by_what_decides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = OPERATOR.digest
    for name in OPERATOR.inputs:
        source, target = paths.REPOSITORY / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    assert OPERATOR.digest == before
    (tmp_path / "pyproject.toml").write_text("changed")
    assert OPERATOR.digest != before
    assert OPERATOR.name.endswith(OPERATOR.digest)


def test_the_runtimes_name_is_the_catalogues() -> None:
    assert RUNTIME_CPU.name in (paths.REPOSITORY / "operator/triton_vllm_operator/repository/runtimes.yaml").read_text()
