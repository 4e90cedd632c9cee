"""What an engine takes for the pass of its encoder, with as many of the largest images as a batch holds. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/multimodal/encoder_budget.py and
vllm/v1/worker/gpu_model_runner.py (profile_run).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.memory.settings import EngineSettings, Runner, Seeing
from triton_vllm_operator.memory.versions import BatchClass, load_tables, row_of
from triton_vllm_operator.sources.shape import ModelShape, Vision

_COLOURS: Final = 3
_LEAST_TOKENS: Final = 256
"""Of an image: smaller ones are no remedy."""
_HIDDEN_TIMES: Final = 6
"""How many times a block of the encoder holds its hidden states: queries, keys and values, and those around them."""
_INNER_TIMES: Final = 1
"""How many times what lies between the halves of its feed-forward, beside each first half."""


@dataclass(frozen=True, slots=True)
class EncoderPass:
    """Bytes."""

    peak: int = 0
    """While images are encoded."""
    held: int = 0
    """Of images and of what became of them, until the other passes are over."""


NO_PASS: Final = EncoderPass()


def measured_pass(shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int) -> EncoderPass:
    """By which the engine measures itself; `length` is the longest sequence, in tokens."""
    return encoder_pass(shape, settings, batch, length) if is_measured(settings) else NO_PASS


def is_measured(settings: EngineSettings) -> bool:
    """Whether the engine measures itself with images, or takes what they need when they come."""
    by_second = row_of(load_tables().vision, settings.vllm).profiled_by_second
    return settings.seeing.is_profiled and (settings.runner is Runner.V1 or by_second)


def encoder_pass(shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int) -> EncoderPass:
    """The pass of as many images or videos of the largest size as go through the encoder at once."""
    vision = shape.vision
    if vision is None or not (tokens := count_profiled(vision, settings, batch, length)):
        return NO_PASS
    patches, ranks = tokens * vision.patches, settings.tensor_ranks
    pixels = patches * _COLOURS * vision.patch**2 * vision.frames * settings.dtype_bytes
    results = tokens * vision.levels * shape.hidden_size * settings.dtype_bytes
    inner = vision.inner_size // ranks * (_INNER_TIMES + 1 + vision.is_gated)
    inside = patches * (_HIDDEN_TIMES * vision.hidden_size + inner) * settings.dtype_bytes
    return EncoderPass(pixels + inside, results if settings.runner is Runner.V2 else pixels + results)


def count_profiled(vision: Vision, settings: EngineSettings, batch: BatchClass, length: int) -> int:
    """Tokens of all images or videos with which an engine measures itself; 0 where it takes none."""
    seeing = settings.seeing
    sized = _resized(vision, seeing.max_pixels)
    image, video = sized.image_tokens * bool(seeing.images), _largest_video(sized, length) * bool(seeing.videos)
    largest, limit = (image, seeing.images) if image > video else (video, seeing.videos)
    if not largest:
        return 0
    most = (settings.sequences or batch.sequences) * max(1, min(limit, length // largest))
    return largest * max(1, min(max(batch.tokens, largest) // largest, most))


def smaller_sizes(vision: Vision, seeing: Seeing) -> Iterator[int]:
    """Pixels of smaller images, the largest first; none where a user has no say in that."""
    tokens = _resized(vision, seeing.max_pixels).image_tokens // 2
    while vision.keeps_shape and tokens >= _LEAST_TOKENS:
        yield tokens * vision.patches * vision.patch**2
        tokens //= 2


def _largest_video(vision: Vision, length: int) -> int:
    """Tokens."""
    if not vision.video_step:
        return vision.video_tokens
    room = length - vision.image_tokens * vision.leaves_room
    steps = room // vision.video_step
    return vision.video_step * max(1, min(steps, vision.video_steps or steps))


def _resized(vision: Vision, pixels: int | None) -> Vision:
    if pixels is None or not vision.keeps_shape:
        return vision
    tokens = max(1, pixels // (vision.patches * vision.patch**2))
    video, step = min(vision.video_tokens, tokens), tokens if vision.video_step else 0
    return vision.model_copy(update={"image_tokens": tokens, "video_tokens": video, "video_step": step})
