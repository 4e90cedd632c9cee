"""How many processor cores this container may use."""

import os
from pathlib import Path

# "QUOTA PERIOD" in microseconds, "max PERIOD" without a limit: https://docs.kernel.org/admin-guide/cgroup-v2.html
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = _CPU_MAX) -> float:
    """The cores that the process may run on, or its share of them if it has a limit (cgroup v2)."""
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = cpu_max.read_text().split()
        return cores if quota == "max" else min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        return cores
