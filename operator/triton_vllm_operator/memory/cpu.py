"""What an engine on a CPU takes of its container's memory, and whether it starts. Pure.

The KV cache has the size that the spec gives it; the rest is the server's and the engine's processes, and the weights.
https://github.com/vllm-project/vllm/blob/main/vllm/v1/worker/cpu_worker.py (determine_available_memory)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.memory.advice import LEAST_LENGTH, find_longest
from triton_vllm_operator.memory.amounts import Range, exactly
from triton_vllm_operator.memory.fit import Finding, Fit, gib
from triton_vllm_operator.memory.plan import Plan, make_plan
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.versions import GIB, load_tables, row_of
from triton_vllm_operator.sources.shape import ModelShape

_LIMIT: Final = "spec.resources.limits.memory"
_CACHE: Final = "spec.accelerator.cpu.kvCacheSize"


@dataclass(frozen=True, slots=True)
class CpuCase:
    """A start that is planned."""

    shape: ModelShape
    settings: EngineSettings
    """With the size of the cache."""
    limit: int | None
    """Bytes that the container may use; None if nothing limits them."""
    length: int
    """Tokens of the longest sequence."""

    @property
    def cache(self) -> int:
        """Bytes of the KV cache."""
        return self.settings.fixed_cache or 0

    def plan(self) -> Plan:
        """The cache and the weights; the parts of a GPU in it say nothing."""
        return make_plan(self.shape, self.settings, Gpu("CPU", self.limit or self.cache), self.length)


def find_needed(case: CpuCase, plan: Plan) -> Range:
    """Bytes that the container takes at its fullest: when the engine compiles what its first answer needs."""
    row = row_of(load_tables().cpu, case.settings.vllm)
    processes, weights = (
        Range(*(int(part * size) for part in parts))
        for size, parts in ((GIB, row.processes), (plan.weights, row.weights))
    )
    return processes + weights + exactly(case.cache)


def find_cpu_fit(case: CpuCase, plan: Plan) -> Finding:
    """Whether one sequence of the longest length has room in the cache, and everything in the container."""
    needed = find_needed(case, plan)
    if not plan.fits:
        why = f"does not fit: one sequence of {case.length} tokens takes {gib(plan.least_cache)} of cache, and "
        return Finding(Fit.DOES_NOT_FIT, f"{why}{_CACHE} is {gib(case.cache)}; {_say_advice(case)}")
    parts = f"processes, {gib(plan.weights)} of weights and {gib(case.cache)} of cache"
    if case.limit is None:
        return Finding(Fit.FITS, f"fits into the cache; {parts} take {_say(needed)}, and {_LIMIT} is unset")
    takes = f"{parts} take {_say(needed)}, and {_LIMIT} is {gib(case.limit)}"
    if needed.low > case.limit:
        return Finding(Fit.DOES_NOT_FIT, f"does not fit: {takes}; {_say_advice(case)}")
    if needed.high > case.limit:
        return Finding(Fit.TIGHT, f"tight: {takes}")
    return Finding(Fit.FITS, f"fits: {takes}")


def _say(needed: Range) -> str:
    return f"{needed.low / GIB:.1f} to {needed.high / GIB:.1f} GiB"


def _say_advice(case: CpuCase) -> str:
    found = [text for kind in _KINDS for text in kind(case)]
    return f"it would with {' or '.join(found)}" if found else "no change of one field is known with which it would"


def _more_memory(case: CpuCase) -> Iterator[str]:
    if case.limit is None:
        return
    gibibytes = math.ceil(find_needed(case, case.plan()).high / GIB)
    if _starts(replace(case, limit=gibibytes * GIB)):
        yield f"{_LIMIT}: {gibibytes}Gi"


def _another_cache(case: CpuCase) -> Iterator[str]:
    """The smallest that one sequence needs: more if it has no room, less if the container has none."""
    gibibytes = max(1, math.ceil(case.plan().least_cache / GIB))
    changed = replace(case, settings=replace(case.settings, fixed_cache=gibibytes * GIB))
    if changed.cache != case.cache and _starts(changed):
        yield f"{_CACHE}: {gibibytes}Gi"


def _shorter(case: CpuCase) -> Iterator[str]:
    length = find_longest(case.length, case.settings.block_tokens, lambda length: _starts(replace(case, length=length)))
    if length:
        yield f"spec.engine.maxModelLen: {length}"


_KINDS: Final[tuple[Callable[[CpuCase], Iterator[str]], ...]] = (_more_memory, _another_cache, _shorter)


def _starts(case: CpuCase) -> bool:
    """Whether it fits for certain."""
    plan = case.plan()
    return plan.fits and (case.limit is None or find_needed(case, plan).high <= case.limit)


def with_longest_sequence(case: CpuCase) -> CpuCase:
    """The case as an engine plans it that chooses its longest sequence by the cache (max_model_len -1)."""
    if case.plan().fits:
        return case
    longest = find_longest(case.length, 1, lambda length: replace(case, length=length).plan().fits)
    return replace(case, length=longest or min(case.length, LEAST_LENGTH))
