"""Gives the engine a folder for what it compiles, kept from start to start, and then becomes the server.

This program runs in the serving container, by whatever Python is there: it uses the standard library alone, and no
other file. What can be told before the pod runs (image, engine settings) comes with --settings; what cannot, it adds:
what is installed in the image, the GPUs and how they reach one another, and what the processor can do, for which the
compilers write code. What vLLM itself tells apart within the folder: vllm/envs.py, compile_factors.

A folder that may be damaged is emptied once. That it may be is known by a start of the same pod before this one, which
had what the folder held and ended before the server was ready. What it held is kept aside: where the server does not
become ready without it either, something else ails it, and it is put back for others.
"""

import argparse
import fcntl
import hashlib
import http.client
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

MARK = "compile cache: "
"""Before what is said of it."""
ROOT = "triton-vllm-operator"
TRIAL = Path(tempfile.gettempdir()) / "compile-cache-trial"
"""In the pod, where it outlives the container: there is one while a start with a filled folder is under way, or with
one that was emptied for it."""
EMPTIED = "emptied"
"""What stands in it then."""
VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TILELANG_CACHE_DIR": "tilelang",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "CUDA_CACHE_PATH": "cuda",
}
START_PLAN = "VLLM_ENABLE_STARTUP_PLAN"
OBJECT_STORES = ("s3", "goofys", "gcsfuse", "mountpoint", "blobfuse", "rclone", "ossfs", "cosfs", "obsfs")
"""In the type of a file system: what is no POSIX one, whatever it answers."""
LEAST_FREE_BYTES = 256 * 2**20
BUILDS = ("vllm", "torch", "triton", "flashinfer-python")
"""Packages of which two builds may bear one version."""
SHARED_SINCE_TORCH = (2, 10)
"""Before it, several that compile into one folder spoil it: https://github.com/vllm-project/vllm/issues/24601."""
KEPT_SECONDS = 30 * 86_400.0
LOOK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Choose the folder, then run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volume", type=Path, required=True, help="where the volume is mounted")
    parser.add_argument("--settings", required=True, help="names what the engine is told")
    parser.add_argument("--start-plan", action="store_true", help="let vLLM skip profiling where it has done it before")
    parser.add_argument("--port", type=int, default=8000, help="where the server says that it is ready")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    folder = choose(options.volume, options.settings)
    if folder is not None:
        os.environ.update({name: str(folder.path / part) for name, part in VARIABLES.items()})
        # The first profile has the compiler's own memory in it, and a plan would keep it for good.
        if options.start_plan and folder.whole.exists():
            os.environ.setdefault(START_PLAN, "1")
        folder.watch(options.port)
    return os.execvp(options.command[0], options.command)


class Folder:
    """One folder of the volume, and the marks beside it."""

    def __init__(self, root: Path, key: str) -> None:
        self.path = root / key
        self.used = root / f"{key}.used"
        """Touched by each start."""
        self.whole = root / f"{key}.whole"
        """There once a server with it was ready."""
        self.suspect = root / f"{key}.suspect"
        """What it held before it was emptied, until a server with it is ready."""
        self.suspect_whole = root / f"{key}.suspect-whole"
        """The mark of that."""

    @property
    def is_filled(self) -> bool:
        """Whether an earlier start left anything."""
        return any(self.path.iterdir())

    def empty(self) -> None:
        """Keep aside what it holds; where another pod did so before, what is there now is new."""
        if self.suspect.exists():
            return
        self.path.rename(self.suspect)
        self.path.mkdir(exist_ok=True)
        if self.whole.exists():
            self.whole.replace(self.suspect_whole)

    def put_back(self) -> None:
        """What was kept aside, unless a server was ready with what came since."""
        if not self.suspect.exists() or self.whole.exists():
            return
        aside = self.path.with_name(f"{self.path.name}.aside-{os.getpid()}-{time.time_ns()}")
        self.path.rename(aside)
        self.suspect.rename(self.path)
        if self.suspect_whole.exists():
            self.suspect_whole.replace(self.whole)
        shutil.rmtree(aside, ignore_errors=True)

    def prove(self) -> None:
        """A server is ready with what it holds."""
        self.whole.touch()
        shutil.rmtree(self.suspect, ignore_errors=True)
        self.suspect_whole.unlink(missing_ok=True)

    def take(self) -> bool:
        """Keep other starts out until this one is ready; False if another one keeps it.

        The process that watches has the descriptor too, and with it the lock, after this one became the server.
        """
        lock = os.open(self.used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def watch(self, port: int) -> None:
        """Look, in a process of its own, whether the server becomes ready; what was on trial is good then."""
        server = os.getpid()
        if os.fork() != 0:
            return
        while os.getppid() == server:
            if is_ready(port):
                TRIAL.unlink(missing_ok=True)
                self.prove()
                break
            time.sleep(LOOK_SECONDS)
        os._exit(0)


def choose(volume: Path, settings: str) -> "Folder | None":
    """The folder for this start; None if there is none, which is said."""
    try:
        if fault := find_fault(volume):
            return _without(fault)
        root = volume / ROOT
        root.mkdir(exist_ok=True)
        folder = Folder(root, find_key(settings))
        # Before the others are looked at: a pod may have run for long.
        folder.used.touch()
        prune(root)
        return _open(folder)
    except OSError as error:
        return _without(f"{volume}: {error}")


def _open(folder: Folder) -> "Folder | None":
    folder.path.mkdir(exist_ok=True)
    tried = TRIAL.read_text() if TRIAL.exists() else None
    if tried == EMPTIED:
        folder.put_back()
        return _without(f"{folder.path} was emptied once, and the server did not become ready with it")
    if _torch_version() < SHARED_SINCE_TORCH and not folder.take():
        return _without(f"another pod compiles into {folder.path}, and this torch cannot share it")
    if tried is not None:
        folder.empty()
        TRIAL.write_text(EMPTIED)
        say(f"emptied {folder.path}: the server did not become ready with what it held")
    is_filled = folder.is_filled
    if is_filled and tried is None:
        TRIAL.touch()
    say(f"{folder.path}, {'with what earlier starts compiled' if is_filled else 'empty'}")
    return folder


def find_fault(volume: Path) -> str:
    """Why a file system cannot keep what compilers write; empty if it can."""
    kind = _file_system(volume)
    if any(store in kind for store in OBJECT_STORES):
        return f"{volume} is an object store ({kind}), and compilers need a POSIX file system"
    told = os.statvfs(volume)
    if told.f_flag & os.ST_NOEXEC:
        return f"{volume} is mounted noexec, and what is compiled is run"
    if (free := told.f_bavail * told.f_frsize) < LEAST_FREE_BYTES:
        return f"{volume} has {free // 2**20} MiB free, and {LEAST_FREE_BYTES // 2**20} MiB are needed"
    return _try_out(volume)


def _file_system(volume: Path) -> str:
    """The type of the file system that serves a folder, as fuse.s3fs."""
    words = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    serving = [each for each in words if volume.resolve().is_relative_to(each[1].replace("\\040", " "))]
    return max(serving, key=lambda each: len(each[1]))[2] if serving else ""


def _try_out(volume: Path) -> str:
    """Rename over a file, lock one, map one: what torch and Triton do."""
    with tempfile.TemporaryDirectory(dir=volume, prefix=".try-") as name:
        one, other = Path(name, "one"), Path(name, "other")
        one.write_bytes(bytes(mmap.PAGESIZE))
        other.write_bytes(b"other")
        one.replace(other)
        with other.open("r+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with mmap.mmap(opened.fileno(), 0) as mapped:
                mapped[:4] = b"same"
        if other.read_bytes()[:4] != b"same":
            return f"{volume} does not keep what is written to a mapped file: compilers need a POSIX file system"
    return ""


def find_key(settings: str) -> str:
    """The name of the folder: what decides on what is compiled, and who can run it."""
    parts = (settings, platform.python_version(), *_installed(), *_gpus(), *_processor())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _installed() -> list[str]:
    """All packages with their versions; of those that compile, every file."""
    found = []
    for each in metadata.distributions():
        name = (each.metadata["Name"] or "").lower()
        files = hashlib.sha256((each.read_text("RECORD") or "").encode()).hexdigest() if name in BUILDS else ""
        found.append(f"{name} {each.version} {files}")
    return sorted(found)


def _torch_version() -> "tuple[int, ...]":
    try:
        return tuple(int(number) for number in metadata.version("torch").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return (0,)


def _gpus() -> list[str]:
    """Products and capabilities; of several, also which of them reach one another, of which vLLM keeps a note."""
    products = _nvidia_smi("--query-gpu=name,compute_cap", "--format=csv,noheader")
    return [*products, *_nvidia_smi("topo", "-p2p", "r")] if len(products) > 1 else products


def _nvidia_smi(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(("nvidia-smi", *arguments), capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _processor() -> list[str]:
    """What it can do; the host's part of what is compiled is made for it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return sorted(flags.partition(":")[2].split())


def prune(root: Path) -> None:
    """Drop what no start has used for long, and what a clearing left that was cut off."""
    now = time.time()
    for aside in root.glob("*.aside-*"):
        shutil.rmtree(aside, ignore_errors=True)
    for used in root.glob("*.used"):
        if now - used.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(used.with_suffix(""), ignore_errors=True)
            shutil.rmtree(used.with_suffix(".suspect"), ignore_errors=True)
            for mark in root.glob(f"{used.stem}.*"):
                mark.unlink(missing_ok=True)


def is_ready(port: int) -> bool:
    """Whether the server has loaded its model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def say(text: str) -> None:
    """In the log of the container."""
    print(MARK + text, flush=True)


def _without(why: str) -> "Folder | None":
    say(f"none, everything is compiled anew: {why}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
