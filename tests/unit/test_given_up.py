"""Triton gave a model up and waits for its process: real processes, whose parents do what Triton does."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY

BACKEND = REPOSITORY / "images/vllm-backend"
WAITS = "os.waitpid(child, 0)"
LOADS = "time.sleep(1.5); os.kill(child, 9); os.waitpid(child, 0)"
WITH_ONE_THAT_ENDED = "subprocess.Popen(['true']); time.sleep(0.2); os.waitpid(child, 0)"
WITH_ANOTHER = "os.fork() or (time.sleep(1.5), os._exit(0)); os.waitpid(child, 0)"
WITH_ANOTHER_PROGRAM = "subprocess.Popen(['sleep', '1.5']); os.waitpid(child, 0)"


def said_under(parent: str, child: str) -> list[str]:
    """What a child says whose parent does that."""
    script = f"""
        import os, subprocess, sys, time
        sys.path.insert(0, {str(BACKEND)!r})
        from llm_backend.given_up import Watch

        child = os.fork()
        if child == 0:
            def leave():
                print("left", flush=True)
                os._exit(1)

            watch = Watch(leave, look_seconds=0.1)
            watch.start()
            {child}
            print("stayed", flush=True)
            os._exit(0)
        {parent}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("parent", "child", "said"),
    [
        (WAITS, "time.sleep(5)", ["left"]),
        (WAITS, "watch.loaded(); time.sleep(5)", ["left"]),
        (WITH_ONE_THAT_ENDED, "time.sleep(5)", ["left"]),
        # It is told to end, and takes its time.
        (WAITS, "watch.stop(); time.sleep(1)", ["stayed"]),
        (LOADS, "time.sleep(5)", []),
        # Whose end the parent waits for, the kernel does not tell.
        (WITH_ANOTHER, "time.sleep(1)", ["stayed"]),
        # What looks after the compile cache is a child of the server, too.
        (WITH_ANOTHER_PROGRAM, "time.sleep(5)", ["left"]),
    ],
)
def test_a_process_ends_when_its_parent_only_waits_for_that(parent: str, child: str, said: list[str]) -> None:
    assert said_under(parent, child) == said


def test_where_the_kernel_does_not_tell_nothing_is_concluded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BACKEND))
    from llm_backend.given_up import is_waited_for

    assert not is_waited_for(tmp_path)
