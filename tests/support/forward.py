"""kubectl port-forward: a Service or pod of the local cluster at 127.0.0.1."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import binaries, paths
from cluster.errors import ClusterError


@contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to `port` of `target` (as svc/web) while the context is open.

    Raises:
        ClusterError: the target has no running pod.
    """
    command = [binaries.KUBECTL.path, f"--kubeconfig={paths.KUBECONFIG}", "-n", namespace]
    command += ["port-forward", target, f":{port}", "--address=127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise ClusterError(f"cannot reach {target} in {namespace}: {line.strip()}")
            yield int(found[1])
        finally:
            process.terminate()
