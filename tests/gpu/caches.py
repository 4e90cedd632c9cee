"""What a kept compile cache saves of a start, on the GPU of this machine: seconds by phase.

`PYTHONPATH=operator:tests python -m gpu.caches MODEL [LAYERS]` needs what gpu.record needs. Each start is a new process
in a new "pod": HOME and the folder for temporary files are empty, and the program of the serving container
(sources/compile_cache.py) runs first, as it would there. Then come a pod that fails of something else, one that finds
the cache as it was before that, and one that finds every file of it cut in half, as often as it takes until the engine
starts.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

from gpu.record import MODELS, start
from support.configs import overlaid
from triton_vllm_operator.memory.measured import Measured, read_measured
from triton_vllm_operator.sources import compile_cache

PORT: Final = 18765
_DEFAULTS: Final = {"utilization": 0.9, "length": 8192, "sequences": 1024, "batched": 8192}
_NO_MEMORY: Final = 0.002
"""Of the GPU's: the weights do not fit, so that no container of that pod becomes ready."""
_STAYS_SECONDS: Final = 3.0
"""For which an engine that has started says so."""


def main(arguments: list[str]) -> int:
    """Start without a cache, with an empty one, a full one, one that is not at fault, and a damaged one."""
    if arguments[:1] == ["--engine"]:
        return _run_engine(json.loads(arguments[1]), Path(arguments[2]))
    if not arguments:
        print(__doc__)
        return 2
    changes = {"num_hidden_layers": int(arguments[1])} if len(arguments) > 1 else {}
    config = overlaid(yaml.safe_load(MODELS.read_text())[arguments[0]], changes)
    with tempfile.TemporaryDirectory() as name:
        # vLLM's key holds the paths of the model and of HOME: those of a pod are always the same.
        model, volume, pod = Path(name, "model"), Path(name, "volume"), Path(name, "pod")
        model.mkdir()
        volume.mkdir()
        row = {"model": arguments[0], **_DEFAULTS, "config": config}
        tell("in the pod, as without spec.cache", run_in_pod(row, model, None, pod))
        for what in ("on a volume, empty", "on a volume, second start", "on a volume, third start"):
            tell(what, run_in_pod(row, model, volume, pod))
        tell("on a volume, with no memory", run_in_pod({**row, "utilization": _NO_MEMORY}, model, volume, pod))
        tell("on a volume, after that", run_in_pod(row, model, volume, pod))
        cut_in_half(volume)
        tell("on a volume, damaged", run_in_pod(row, model, volume, pod))
    return 0


def run_in_pod(row: dict[str, Any], model: Path, volume: Path | None, pod: Path) -> str:
    """Start until the engine is there, five times at most; the log, with the seconds of each container."""
    log = ""
    pod.mkdir()
    try:
        for _ in range(5):
            began = time.monotonic()
            done = subprocess.run(
                [*_before(volume), sys.executable, "-m", "gpu.caches", "--engine", json.dumps(row), str(model)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "HOME": str(pod), "TMPDIR": str(pod), "USER": "triton", "HF_HUB_OFFLINE": "1"},
                check=False,
            )
            seconds = time.monotonic() - began - (_STAYS_SECONDS if done.returncode == 0 else 0)
            log += f"{done.stdout}\ncontainer: {seconds:.1f} s, exit code {done.returncode}\n"
            if done.returncode == 0:
                break
    finally:
        shutil.rmtree(pod)
    return log


def _before(volume: Path | None) -> list[str]:
    if volume is None:
        return []
    options = [f"--volume={volume}", "--settings=measured", "--start-plan", f"--port={PORT}"]
    return [sys.executable, compile_cache.__file__, *options]


def tell(what: str, log: str) -> None:
    """One line, and what the program and the engine said that matters."""
    found = read_measured(log) or Measured()
    cache = f"{found.cache / 2**30:.2f} GiB" if found.cache else "?"
    print(
        f"{what}: weights {found.load_seconds} s, compiled {found.compile_seconds} s, "
        f"captured {found.capture_seconds} s, engine {found.init_seconds} s, KV cache {cache}",
        flush=True,
    )
    marks = ("container: ", compile_cache.MARK, "startup plan", "Error", "load failure", "Segfault")
    for line in log.splitlines():
        if any(mark in line for mark in marks):
            print(f"    {line[:200]}", flush=True)


def cut_in_half(volume: Path) -> None:
    """Every file, as a node that lost its power may leave it."""
    for path in (path for path in volume.rglob("*") if path.is_file()):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _run_engine(row: dict[str, Any], model: Path) -> int:
    """What stands for Triton: it starts the engine and says then that it is ready."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    start(row, row.pop("config"), {}, model)

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    threading.Thread(target=HTTPServer(("127.0.0.1", PORT), Ready).serve_forever, daemon=True).start()
    time.sleep(_STAYS_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
