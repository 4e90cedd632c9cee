"""What an engine measured, for the next plan of an engine like it. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.sources.shape import ModelShape

EDITION: Final = 3
"""Of a plan's sums. It rises where they change: what was learnt from others would correct them twice."""


@dataclass(frozen=True, slots=True)
class Learned:
    """By how much a start differed from its plan."""

    shape: ModelShape
    settings: EngineSettings
    product: str
    """The GPU, as the plan named it."""
    correction: int
    """Bytes by which its cache was larger than planned without any correction."""

    def correct(self, shape: ModelShape, settings: EngineSettings, product: str) -> int:
        """The same for another start; 0 where it differs in more than what is known to the byte."""
        is_alike = product == self.product and shape == self.shape
        return self.correction if is_alike and _comparable(settings) == _comparable(self.settings) else 0


def _comparable(settings: EngineSettings) -> EngineSettings:
    """Without what changes a plan by exactly known amounts: the share of the GPU, lengths, the cache's elements."""
    return replace(settings, utilization=0.9, max_model_len=None, cache_bytes=2, caches_prefixes=None)
