"""Running other programs to their end."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError

_TAIL_LINES = 25


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """The standard output of a command.

    Raises:
        ClusterError: it could not be started, took too long or failed; the end of its output is in the text.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)} took longer than {timeout} s") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL_LINES:])
        raise ClusterError(f"{' '.join(words)} failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command ends with 0; its output is dropped."""
    return subprocess.run([str(word) for word in command], capture_output=True, check=False).returncode == 0
