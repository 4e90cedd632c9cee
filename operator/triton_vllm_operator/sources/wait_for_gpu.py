"""Waits until the GPUs have the memory that the engine will ask for, and then becomes the server.

vLLM ends at once where less is free than its share of the GPU: another pod may still be going, or has not gone at all.
A restart of the container is no way to wait, since kubelet waits longer each time. This program runs in the serving
container, by whatever Python is there: it uses the standard library alone, and no other file.

What vLLM looks at (vllm/v1/worker/utils.py, request_memory): what is free, once CUDA has taken its part, against its
share of what CUDA calls the total. Measured on an H200 with driver 580: the total is that of nvidia-smi less what it
calls reserved (143,771 - 616 MiB), and CUDA takes 621 MiB.
"""

import argparse
import os
import subprocess
import sys
import time

MARK = "waiting for GPU memory: "
"""Before what is said while it waits; the operator reads it."""
TOO_HIGH = "UtilizationTooHigh: "
CONTEXT_MIB = 621
LEAST_CONTEXT_MIB = 200
"""Less than CUDA takes of any GPU; of small ones what it takes was not measured, and vLLM is the judge."""
EMPTY_MIB = 64
"""Less than this is taken of a GPU that nobody uses."""
LOOK_SECONDS = 1.0
SAY_SECONDS = 10.0
QUERY = ("nvidia-smi", "--query-gpu=memory.free,memory.total,memory.reserved", "--format=csv,noheader,nounits")


def main(arguments: list[str]) -> int:
    """Wait, then run the command; 1 if waiting is in vain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utilization", type=float, required=True, help="the engine's share of each GPU")
    parser.add_argument("--seconds", type=float, required=True, help="for which it waits at most")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if fault := wait(options.utilization, options.seconds):
        print(f"Error: {fault}", file=sys.stderr, flush=True)
        return 1
    return os.execvp(options.command[0], options.command)


def wait(utilization: float, seconds: float) -> str:
    """Return once there is enough, or time is over, or nothing can be known; what is wrong, if it is in vain."""
    began, said = time.monotonic(), float("-inf")
    while time.monotonic() - began < seconds:
        lacking = [gpu for gpu in read_gpus() if gpu.lacks(utilization)]
        if not lacking:
            return ""
        if empty := next((gpu for gpu in lacking if gpu.is_empty), None):
            return empty.tell_too_high(utilization)
        if time.monotonic() - said >= SAY_SECONDS:
            print(MARK + "; ".join(gpu.tell(utilization) for gpu in lacking), flush=True)
            said = time.monotonic()
        time.sleep(LOOK_SECONDS)
    # The engine says for itself what it lacks.
    return ""


class Gpu:
    """One of the container's GPUs, in MiB."""

    def __init__(self, number: int, free: int, total: int, reserved: int) -> None:
        self.number = number
        self.free = free
        self.usable = total - reserved

    def lacks(self, utilization: float) -> bool:
        """Whether an engine would end at once."""
        context = LEAST_CONTEXT_MIB if self.is_empty else CONTEXT_MIB
        return self.free - context < utilization * self.usable

    @property
    def is_empty(self) -> bool:
        """Whether nobody uses it."""
        return self.usable - self.free < EMPTY_MIB

    def tell(self, utilization: float) -> str:
        """What is free of what is asked for."""
        asked = _gib(utilization * self.usable)
        return f"GPU {self.number} has {_gib(self.free)} GiB free, and the engine asks for {asked} GiB"

    def tell_too_high(self, utilization: float) -> str:
        """That no waiting helps."""
        most = int((self.usable - CONTEXT_MIB) / self.usable * 1000) / 1000
        asked = f"{utilization:g} of GPU {self.number} is {_gib(utilization * self.usable)} GiB"
        return (
            f"{TOO_HIGH}{asked}, and of an empty one {_gib(self.free - CONTEXT_MIB)} GiB can be had: at most {most:g}"
        )


def read_gpus() -> list[Gpu]:
    """The GPUs; none where nvidia-smi is not there, or tells nothing, as of slices."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=30, check=True)
        rows = [[int(word) for word in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
        return [Gpu(number, *row) for number, row in enumerate(rows)]
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return []


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
