"""kubectl and helm, for the cluster that was started here and no other."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import binaries, paths
from cluster.errors import ClusterError
from cluster.shell import run

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/root"}


def kubectl(*words: str | Path, stdin: str | None = None, timeout: float | None = 120) -> str:
    """The output of a kubectl command.

    Raises:
        ClusterError: it failed.
    """
    command = [binaries.KUBECTL.path, f"--kubeconfig={paths.KUBECONFIG}", *words]
    return run(command, environment=_ENVIRONMENT, stdin=stdin, timeout=timeout)


def kubectl_json(*words: str | Path) -> Any:
    """The output of a kubectl command that prints JSON."""
    return json.loads(kubectl(*words, "-o", "json"))


def helm(*words: str | Path, timeout: float | None = 300) -> str:
    """The output of a helm command.

    Raises:
        ClusterError: it failed.
    """
    command = [binaries.HELM.path, f"--kubeconfig={paths.KUBECONFIG}", *words]
    return run(command, environment=_ENVIRONMENT, timeout=timeout)


def wait_until(what: str, seconds: float, holds: Callable[[], bool], every: float = 0.5) -> float:
    """Wait until `holds` is true; the seconds that it took.

    Raises:
        ClusterError: it was not true in time.
    """
    started = time.monotonic()
    last = ""
    while time.monotonic() - started < seconds:
        try:
            if holds():
                return time.monotonic() - started
            last = ""
        except ClusterError as error:
            last = f"; last answer: {error}"
        time.sleep(every)
    raise ClusterError(f"{what}: not within {seconds:.0f} s{last}")
