"""Debian's Prometheus on this machine: its checker, and a server that scrapes 127.0.0.1."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from cluster import paths
from cluster.kubectl import wait_until
from cluster.shell import run

_FOLDER: Final = paths.CACHE / "prometheus"
_PORT: Final = 19090
URL: Final = f"http://127.0.0.1:{_PORT}"


def programs() -> Path:
    """The folder of prometheus and promtool; the package is unpacked there, and not installed."""
    found = _FOLDER / "usr/bin"
    if not (found / "prometheus").exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        run(["apt-get", "update", "-q"])
        run(["apt-get", "download", "-q", "prometheus"], cwd=_FOLDER)
        (package,) = _FOLDER.glob("prometheus_*.deb")
        run(["dpkg-deb", "-x", package, _FOLDER])
        package.unlink()
    return found


def promtool(*words: str, folder: Path) -> str:
    """What it says; raises ClusterError if it is not content."""
    return run([programs() / "promtool", *words], cwd=folder)


@contextmanager
def prometheus(folder: Path, scrapes: list[dict[str, Any]], rules: Path) -> Iterator[None]:
    """A server that scrapes every second while the context is open."""
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": scrapes,
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    words = [programs() / "prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
    words.append(f"--web.listen-address=127.0.0.1:{_PORT}")
    with (folder / "log").open("w") as log, subprocess.Popen(words, cwd=folder, stdout=log, stderr=log) as server:
        try:
            wait_until("Prometheus is ready", 30, lambda: _is_ready(server))
            yield
        finally:
            server.terminate()


def _is_ready(server: "subprocess.Popen[bytes]") -> bool:
    assert server.poll() is None, "Prometheus has ended"
    try:
        with urllib.request.urlopen(f"{URL}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(path: str, **parameters: str) -> Any:
    """The data of an answer of its API."""
    with urllib.request.urlopen(f"{URL}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]


def count_series(expression: str) -> int:
    """How many series an expression gives now."""
    return len(ask("query", query=expression)["result"])
