"""What an engine takes for the pass of its encoder, with as many of the largest images as a batch holds. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/multimodal/encoder_budget.py and
vllm/v1/worker/gpu_model_runner.py (profile_run).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict

from triton_vllm_operator.memory.amounts import Range, around, exactly
from triton_vllm_operator.memory.settings import EngineSettings, Runner, Seeing
from triton_vllm_operator.memory.versions import BatchClass, load_tables, row_of
from triton_vllm_operator.sources.shape import ModelShape, Vision

_COLOURS: Final = 3
_LEAST_TOKENS: Final = 256
"""Of an image: smaller ones are no remedy."""
_LOOKUP_BYTES: Final = 20
"""Of a patch for each position of a table: in height and width, as whole numbers and then in the engine's dtype."""
_LOOKUP_SHARE: Final = 0.0625
"""Of the GPU, that these take at most (vllm/model_executor/models/gemma4_mm.py, _encoder_chunk)."""
_WORKSPACE: Final = 32 * 2**20
"""Bytes that the first products of matrices leave for those that follow (cuBLAS)."""
_UNSURE: Final = 0.08
"""Part by which the pass may differ from the formula, of encoders of which starts are recorded."""
_UNSURE_UNRECORDED: Final = 0.4
"""The same of others."""


class EncoderRow(BaseModel):
    """What a block of an encoder holds at once (encoders.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architectures: tuple[str, ...] = ()
    """Of models whose encoder it is; empty of all others."""
    gated: bool = False
    """Whether it holds only where a gate is computed."""
    hidden: float
    """Times its hidden states."""
    inner: float
    """Times what lies between the halves of its feed-forward."""
    mask: float = 0
    """Elements for each pair of patches."""
    recorded: bool = True

    def holds_for(self, architecture: str, is_gated: bool) -> bool:
        """Whether it is that of a model."""
        return not self.architectures or (architecture in self.architectures and (is_gated or not self.gated))


@cache
def _load_encoders() -> tuple[EncoderRow, ...]:
    text = (resources.files(__package__) / "encoders.yaml").read_text()
    return tuple(EncoderRow.model_validate(each) for each in yaml.safe_load(text)["encoders"])


@dataclass(frozen=True, slots=True)
class EncoderPass:
    """What a pass of the encoder takes, in bytes."""

    peak: Range
    """While images are encoded."""
    held: int
    """Of images and of what became of them, until the other passes are over."""


NO_PASS: Final = EncoderPass(exactly(0), 0)


def measured_pass(
    shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int, gpu_bytes: int
) -> EncoderPass:
    """By which the engine measures itself; `length` is the longest sequence, in tokens."""
    return encoder_pass(shape, settings, batch, length, gpu_bytes) if is_measured(settings) else NO_PASS


def is_measured(settings: EngineSettings) -> bool:
    """Whether the engine measures itself with images, or takes what they need when they come."""
    by_second = row_of(load_tables().vision, settings.vllm).profiled_by_second
    return settings.seeing.is_profiled and (settings.runner is Runner.V1 or by_second)


def encoder_pass(
    shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int, gpu_bytes: int
) -> EncoderPass:
    """The pass of as many images or videos of the largest size as go through the encoder at once.

    `length` is the longest sequence, in tokens; `gpu_bytes` the whole GPU.
    """
    vision = shape.vision
    if vision is None or not (tokens := count_profiled(vision, settings, batch, length)):
        return NO_PASS
    row = next(row for row in _load_encoders() if row.holds_for(shape.architecture, vision.is_gated))
    patches = tokens * vision.patches
    pixels = patches * _COLOURS * vision.patch**2 * vision.frames * settings.dtype_bytes
    results = tokens * vision.levels * shape.hidden_size * settings.dtype_bytes
    # Those of deeper layers wait for the last.
    waiting = results * (vision.levels - 1) // vision.levels
    looked_up = min(patches * vision.positions * _LOOKUP_BYTES, int(_LOOKUP_SHARE * gpu_bytes))
    inside = _count_inside(row, vision, patches, settings.tensor_ranks) * settings.dtype_bytes
    expected = int(pixels + waiting + max(inside, looked_up))
    unsure = int(expected * (_UNSURE if row.recorded else _UNSURE_UNRECORDED))
    held = results + _WORKSPACE + (0 if settings.runner is Runner.V2 else pixels)
    return EncoderPass(around(expected, unsure, unsure), held)


def _count_inside(row: EncoderRow, vision: Vision, patches: int, ranks: int) -> float:
    """Elements."""
    of_patch = row.hidden * vision.hidden_size + row.inner * (vision.inner_size // ranks)
    return patches * (of_patch + row.mask * patches)


def count_profiled(vision: Vision, settings: EngineSettings, batch: BatchClass, length: int) -> int:
    """Tokens of all images or videos with which an engine measures itself; 0 where it takes none."""
    seeing = settings.seeing
    sized = _resized(vision, seeing.max_pixels)
    image, video = (
        sized.image_tokens * bool(seeing.images),
        _largest_video(sized, settings, length) * bool(seeing.videos),
    )
    largest, limit = (image, seeing.images) if image > video else (video, seeing.videos)
    if not largest:
        return 0
    most = (settings.sequences or batch.sequences) * max(1, min(limit, length // largest))
    return largest * max(1, min(max(batch.tokens, largest) // largest, most))


def smaller_sizes(vision: Vision, seeing: Seeing, below: int | None = None) -> Iterator[int]:
    """Pixels of smaller images, the largest first; none where a user has no say in that.

    `below` is how many tokens they may have at most.
    """
    tokens = _resized(vision, seeing.max_pixels).image_tokens // 2
    while below is not None and tokens > below:
        tokens //= 2
    while vision.keeps_shape and tokens >= _LEAST_TOKENS:
        yield tokens * vision.patches * vision.patch**2
        tokens //= 2


def _largest_video(vision: Vision, settings: EngineSettings, length: int) -> int:
    """Tokens."""
    if not vision.video_step:
        return vision.video_tokens
    room = length - vision.image_tokens * vision.leaves_room
    steps = room // vision.video_step
    further = 0 if vision.leaves_room else row_of(load_tables().vision, settings.vllm).further_steps
    return vision.video_step * max(1, min(steps, vision.video_steps + further if vision.video_steps else steps))


def _resized(vision: Vision, pixels: int | None) -> Vision:
    if pixels is None or not vision.keeps_shape:
        return vision
    tokens = max(1, pixels // (vision.patches * vision.patch**2))
    video, step = min(vision.video_tokens, tokens), tokens if vision.video_step else 0
    return vision.model_copy(update={"image_tokens": tokens, "video_tokens": video, "video_step": step})
