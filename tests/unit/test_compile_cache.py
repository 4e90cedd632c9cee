"""The serving container keeps what its engine compiles: in a folder that fits, and not where that would do harm."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY
from triton_vllm_operator.sources import compile_cache

PROGRAM = REPOSITORY / "operator/triton_vllm_operator/sources/compile_cache.py"
TELLS = ("sh", "-c", "echo root=$VLLM_CACHE_ROOT plan=$VLLM_ENABLE_STARTUP_PLAN")
FILLS = 'mkdir -p "$VLLM_CACHE_ROOT" && echo x > "$VLLM_CACHE_ROOT/graph"'


@dataclass
class Pod:
    """One pod with a volume; what it writes to /tmp goes with it."""

    volume: Path
    tmp: Path
    port: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *command: str, settings: str = "settings", plan: bool = True) -> str:
        """Start its container; what is in its log at the end of it."""
        options = [f"--volume={self.volume}", f"--settings={settings}", f"--port={self.port}"]
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *options, *(["--start-plan"] if plan else []), *(command or TELLS)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(self.tmp), **self.environment},
        )
        assert done.stderr == ""
        return done.stdout

    def fill(self) -> str:
        return self.start("sh", "-c", FILLS)

    @property
    def folders(self) -> list[Path]:
        return [each for each in (self.volume / compile_cache.ROOT).iterdir() if each.is_dir()]

    @property
    def folder(self) -> Path:
        (found,) = self.folders
        return found


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return make_pod(tmp_path, "first", tmp_path / "volume")


def make_pod(tmp_path: Path, name: str, volume: Path) -> Pod:
    for folder in (tmp_path / name, volume):
        folder.mkdir(exist_ok=True)
    return Pod(volume, tmp_path / name)


@contextmanager
def ready_server() -> Iterator[int]:
    """A server that says that it is ready."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v2/health/ready" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.05)


def start_and_be_ready(pod: Pod) -> None:
    """The container runs until it was seen to be ready, and then its engine ends by itself."""
    with ready_server() as port:
        pod.port = port
        pod.start("sh", "-c", f"{FILLS}; sleep 2.5")
        wait_for(pod.folder.with_suffix(".whole"))
    pod.port = 1


def test_what_one_pod_compiles_the_next_one_has(pod: Pod, tmp_path: Path) -> None:
    assert "empty" in pod.fill()
    second = make_pod(tmp_path, "second", pod.volume)
    told = second.start("sh", "-c", 'cat "$VLLM_CACHE_ROOT/graph"')
    assert "with what earlier starts compiled" in told
    assert told.endswith("x\n")


def test_all_compilers_write_there(pod: Pod) -> None:
    told = pod.start("env")
    for name in compile_cache.VARIABLES:
        assert f"{name}={pod.folder}/" in told


@pytest.mark.parametrize("change", ["settings", "image"])
def test_what_does_not_fit_is_not_shared(change: str, pod: Pod, tmp_path: Path) -> None:
    pod.fill()
    if change == "settings":
        told = pod.start(settings="others")
    else:
        (tmp_path / "other" / "vllm-9.dist-info").mkdir(parents=True)
        (tmp_path / "other" / "vllm-9.dist-info/METADATA").write_text("Name: vllm\nVersion: 9\n")
        pod.environment["PYTHONPATH"] = str(tmp_path / "other")
        told = pod.start()
    assert "empty" in told
    assert len(pod.folders) == 2


def test_another_gpu_has_another_folder(pod: Pod, tmp_path: Path) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    for product in ("NVIDIA H100 80GB HBM3, 9.0", "NVIDIA L4, 8.9"):
        smi.write_text(f"#!/bin/sh\necho {product}\n")
        smi.chmod(0o755)
        pod.environment["PATH"] = f"{smi.parent}:/usr/bin:/bin"
        pod.fill()
    assert len(pod.folders) == 2


def test_a_start_plan_only_once_a_start_with_compiled_code_is_behind_it(pod: Pod) -> None:
    start_and_be_ready(pod)
    assert "plan=1\n" in pod.start()
    assert "plan=\n" in pod.start(plan=False)
    pod.environment["VLLM_ENABLE_STARTUP_PLAN"] = "0"
    assert "plan=0\n" in pod.start()


def test_a_damaged_folder_is_emptied_once_and_never_twice(pod: Pod) -> None:
    start_and_be_ready(pod)
    assert "with what earlier starts" in pod.start(*FAILS)
    assert "emptied" in pod.start("sh", "-c", f"{FILLS}; exit 0")
    # It has failed without it by now: whatever it is, it is not the cache.
    for _ in range(2):
        told = pod.start()
        assert "none, everything is compiled anew" in told
        assert "emptied once" in told
        assert "root= " in told


def test_what_was_no_fault_of_the_cache_costs_nobody_else_his(pod: Pod, tmp_path: Path) -> None:
    """As of an engine that asks for more memory than there is: its key is that of the one before it."""
    start_and_be_ready(pod)
    (pod.folder / "kernel").write_text("compiled")
    for _ in range(3):
        pod.start(*FAILS)
    other = make_pod(tmp_path, "other", pod.volume)
    assert "plan=1\n" in other.start()
    assert (pod.folder / "kernel").read_text() == "compiled"
    assert sorted(each.suffix for each in pod.folder.parent.iterdir()) == ["", ".used", ".whole"]


def test_two_pods_that_fail_empty_it_once(pod: Pod, tmp_path: Path) -> None:
    start_and_be_ready(pod)
    (pod.folder / "kernel").write_text("compiled")
    other = make_pod(tmp_path, "other", pod.volume)
    for each in (pod, other, pod, other, pod, other):
        each.start(*FAILS)
    assert [each for each in pod.folders if (each / "kernel").exists()] == [pod.folder]


def test_a_start_after_a_long_time_finds_its_own(pod: Pod) -> None:
    pod.fill()
    long_ago = time.time() - 31 * 86_400
    os.utime(pod.folder.with_suffix(".used"), (long_ago, long_ago))
    assert "with what earlier starts compiled" in pod.start()


FAILS = ("true",)


def test_other_pods_keep_a_folder_that_one_did_not_start_with(pod: Pod, tmp_path: Path) -> None:
    """Only a second start of the same pod tells that the first one failed."""
    start_and_be_ready(pod)
    pod.start(*FAILS)
    other = make_pod(tmp_path, "other", pod.volume)
    assert "with what earlier starts" in other.start()


def test_once_a_server_is_ready_with_a_folder_all_is_forgotten(pod: Pod, tmp_path: Path) -> None:
    start_and_be_ready(pod)
    pod.start(*FAILS)
    start_and_be_ready(pod)
    assert not pod.folder.with_suffix(".suspect").exists()
    # An engine that was ready and ended later tells nothing of the cache.
    assert "with what earlier starts" in pod.start()


def test_what_nobody_uses_goes(pod: Pod) -> None:
    pod.fill()
    old = pod.folder
    long_ago = time.time() - 31 * 86_400
    os.utime(old.with_suffix(".used"), (long_ago, long_ago))
    shutil.copytree(old, old.with_name(f"{old.name}.aside-1-2"))
    pod.start(settings="others")
    assert not old.exists()
    assert sorted(each.suffix for each in pod.folder.parent.iterdir()) == ["", ".used"]


def test_an_old_torch_does_not_share(pod: Pod, tmp_path: Path) -> None:
    info = tmp_path / "site" / "torch-2.9.1+cu130.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: torch\nVersion: 2.9.1+cu130\n")
    pod.environment["PYTHONPATH"] = str(info.parent)
    first = threading.Thread(target=pod.start, args=("sh", "-c", f"{FILLS}; sleep 4"))
    first.start()
    wait_for(pod.volume / compile_cache.ROOT)
    time.sleep(1)
    other = make_pod(tmp_path, "other", pod.volume)
    other.environment = pod.environment
    assert "another pod compiles into" in other.start()
    first.join()
    time.sleep(2 * compile_cache.LOOK_SECONDS)
    assert "with what earlier starts" in other.start()


@pytest.mark.parametrize(
    ("mounts", "fault"),
    [
        ("bucket {volume} fuse.gcsfuse rw 0 0", "is an object store (fuse.gcsfuse)"),
        ("bucket {volume} fuse.s3fs rw 0 0", "is an object store (fuse.s3fs)"),
        ("x {volume} nfs4 rw 0 0", ""),
        ("x /elsewhere fuse.s3fs rw 0 0\nx {volume} ceph rw 0 0", ""),
    ],
)
def test_object_stores_are_not_used(
    mounts: str, fault: str, pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_text
    text = "root / ext4 rw 0 0\n" + mounts.format(volume=pod.volume) + "\n"
    monkeypatch.setattr(Path, "read_text", lambda path: text if str(path) == "/proc/mounts" else real(path))
    found = compile_cache.find_fault(pod.volume)
    assert (fault in found) if fault else found == ""


def test_a_full_volume_is_not_used(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(pod.volume)
    full = os.statvfs_result((*real[:4], 1, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "MiB free" in compile_cache.find_fault(pod.volume)


def test_a_volume_that_is_not_there_stops_nothing(pod: Pod) -> None:
    pod.volume.rmdir()
    told = pod.start()
    assert "none, everything is compiled anew" in told
    assert told.endswith("root= plan=\n")
