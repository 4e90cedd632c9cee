"""What sees in a model, by its config.json and by what its processor says of images. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/multimodal/encoder_budget.py (get_mm_max_toks_per_item) and the
models in vllm/model_executor/models (get_image_size_with_most_features, get_mm_max_tokens_per_item).
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from pydantic import ValidationError

from triton_vllm_operator.sources.config import as_count
from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.generation import architecture_names
from triton_vllm_operator.sources.shape import Vision

PROCESSOR: Final = "processor_config.json"
IMAGE_PROCESSOR: Final = "preprocessor_config.json"
VIDEO_PROCESSOR: Final = "video_preprocessor_config.json"
PROCESSOR_FILES: Final = (PROCESSOR, IMAGE_PROCESSOR, VIDEO_PROCESSOR)
_GATE: Final = re.compile(r"\b(gate_proj|gate_up_proj|w3)\b")
_MERGE: Final = "spatial_merge_size"
_QWEN_STEPS: Final = 7
"""Of two frames, in the longest video (qwen2_vl.py, _MAX_FRAMES_PER_VIDEO; memory/versions.yaml: further_steps)."""
_GEMMA_VIDEO: Final = 32 * 78
"""Tokens: 32 frames of 70, and 8 that part them (gemma4_mm.py, get_mm_max_tokens_per_item)."""
_INTERN_TILES: Final = 12
"""Squares of an image where its files do not say it (internvl.py)."""
_ONEVISION_SQUARES: Final = 12
_GLM_VIDEO: Final = 30000
"""Tokens of the largest video that GLM takes (vllm/model_executor/models/glm4_1v.py, max_image_pixels)."""


class Sizes(NamedTuple):
    """What a model's processor says of images and of videos; empty where it says nothing."""

    image: Json
    video: Json


NOTHING_SAID: Final = Sizes({}, {})


def read_sizes(files: Files) -> Sizes:
    """The processor's files, in the newer form (one for both) or in the older."""
    both = _read(files, PROCESSOR)
    image = _part(both, "image_processor") or _read(files, IMAGE_PROCESSOR)
    return Sizes(image, _part(both, "video_processor") or _read(files, VIDEO_PROCESSOR))


def _read(files: Files, name: str) -> Json:
    try:
        return files.read_json_if_there(name)
    except SourceFault:
        # Whether it is needed is for the engine to say.
        return {}


class Grid(NamedTuple):
    """The largest image and video (shape.py, Vision); nothing of what is 0."""

    patches: int = 0
    image_tokens: int = 0
    video_tokens: int = 0
    video_step: int = 0
    video_steps: int = 0
    leaves_room: bool = False


class Evidence(NamedTuple):
    """What the files of a model say of what sees."""

    config: Json
    vision: Json
    """The `vision_config` of config.json."""
    sizes: Sizes


class Family(NamedTuple):
    """Models that see alike."""

    architectures: tuple[str, ...]
    find_grid: Callable[[Evidence], Grid]
    frames: int = 1
    """Of a video, that one patch spans; images are repeated."""
    takes_pixels: bool = False
    """Whether a user may say how many pixels an image may have (`max_pixels`)."""
    inner: tuple[str, ...] = ("intermediate_size",)
    """What `vision_config` calls the size between the halves of a feed-forward."""


def read_vision(config: Json, sizes: Sizes, towers: Iterable[str]) -> Vision | str:
    """What sees; why that is not known.

    `towers` are the names of its tensors.
    """
    try:
        return _read_vision(config, sizes, towers)
    except (ValidationError, ArithmeticError, TypeError, ValueError):
        # What takes no part in it is known all the same.
        return "the sizes of what sees, which are no numbers that a model has"


def _read_vision(config: Json, sizes: Sizes, towers: Iterable[str]) -> Vision | str:
    names, vision = architecture_names(config), _part(config, "vision_config")
    family = next((family for family in FAMILIES if any(name in names for name in family.architectures)), None)
    hidden, patch = _first(vision, "embed_dim", "hidden_size"), _first(vision, "patch_size")
    if family is None:
        return f"what {next(iter(names), 'it')[:64]} sees or hears with"
    if hidden is None or patch is None:
        return "what sees, since vision_config does not say its hidden_size and patch_size"
    grid = family.find_grid(Evidence(config, vision, sizes))
    if not grid.patches or not grid.image_tokens:
        return f"how large an image may be, which {IMAGE_PROCESSOR} does not say, or config.json"
    ratio = vision.get("mlp_ratio")
    times = ratio if isinstance(ratio, int | float) else 0
    deepstack = vision.get("deepstack_visual_indexes")
    return Vision(
        hidden_size=hidden,
        inner_size=_first(vision, *family.inner) or int(times * hidden),
        is_gated=any(_GATE.search(name) for name in towers),
        patch=patch,
        frames=family.frames,
        keeps_shape=family.takes_pixels,
        positions=_first(vision, "position_embedding_size") or 0,
        levels=1 + (len(deepstack) if isinstance(deepstack, list) else 0),
        **grid._asdict(),
    )


def _by_pixels(said: Evidence) -> Grid:
    """Images keep their shape, up to so many pixels, and videos have a limit of their own."""
    merge = _first(said.vision, _MERGE) or 1
    unit = ((_first(said.vision, "patch_size") or 1) * merge) ** 2
    frames = _first(said.vision, "temporal_patch_size") or 1
    return Grid(
        patches=merge * merge,
        image_tokens=_find_pixels(said.sizes.image) // unit,
        video_tokens=_find_pixels(said.sizes.video) // (unit * frames),
    )


def _by_pixels_and_length(said: Evidence) -> Grid:
    """The same, but frames of videos are as large as images: 14 at most, of which two are one step."""
    grid = _by_pixels(said)
    return grid._replace(video_tokens=0, video_step=grid.image_tokens, video_steps=_QWEN_STEPS)


def _by_volume(said: Evidence) -> Grid:
    """Images keep their shape, and are counted with the frames for which they are repeated, as videos are."""
    grid, frames = _by_pixels(said), _first(said.vision, "temporal_patch_size") or 1
    tokens = grid.image_tokens // frames
    steps = max(1, _GLM_VIDEO // tokens) if tokens else 0
    return Grid(grid.patches, tokens, video_step=tokens, video_steps=steps, leaves_room=True)


def _by_patches(said: Evidence) -> Grid:
    """Images keep their shape, up to so many patches, of which a square becomes one token."""
    merge = (_first(said.vision, "merge_kernel_size") or 1) ** 2
    return Grid(merge, (_first(said.sizes.image, "in_token_limit") or 0) // merge)


def _one_square(said: Evidence) -> Grid:
    """Images become one square at most."""
    return _squares(said, 1, _first(said.config, _MERGE) or 1)


def _one_pooled(said: Evidence) -> Grid:
    """Images become one square, whose patches are pooled to so many tokens."""
    tokens = _first(said.config, "mm_tokens_per_image") or 0
    return Grid(_side(said.vision) ** 2 // tokens, tokens) if tokens else Grid()


def _pooled(said: Evidence) -> Grid:
    """Images become so many tokens, and videos a fixed number."""
    pool = _first(said.vision, "pooling_kernel_size") or 0
    return Grid(pool * pool, _first(said.vision, "default_output_length") or 0, video_tokens=_GEMMA_VIDEO)


def _tiled(said: Evidence) -> Grid:
    """Images become so many squares and one of the whole, which are shrunk."""
    ratio = next(
        (part[key] for part in said[:2] for key in ("downsample_ratio", "pixel_shuffle_ratio") if key in part), 1
    )
    merge = _first(said.config, "downsample_factor") or (round(1 / ratio) if isinstance(ratio, float) and ratio else 1)
    return _squares(said, _count_tiles(said), merge)


def _tiled_or_filmed(said: Evidence) -> Grid:
    """The same; frames of videos become one square each, as many as there is room for beside an image."""
    grid = _tiled(said)
    tiles = _count_tiles(said)
    return grid._replace(video_step=grid.image_tokens // tiles, leaves_room=True)


def _count_tiles(said: Evidence) -> int:
    """Squares of an image, with that of the whole."""
    if said.sizes.image.get("crop_to_patches") is False:
        return 1
    return 1 + (_first(said.sizes.image, "max_patches") or _first(said.config, "max_dynamic_patch") or _INTERN_TILES)


def _split(said: Evidence) -> Grid:
    """Images are made as large as `size` says, and become squares of `max_image_size` and one of the whole."""
    edge, part = (_first(_part(said.sizes.image, key), "longest_edge") for key in ("size", "max_image_size"))
    return (
        _squares(said, (edge // part) ** 2 + 1, _first(said.config, "scale_factor") or 1) if edge and part else Grid()
    )


def _pinpointed(said: Evidence) -> Grid:
    """Images become the squares of one of these sizes, and one of the whole."""
    points, side = said.config.get("image_grid_pinpoints"), _first(said.vision, "image_size")
    pairs = [point for point in points if isinstance(point, list)] if isinstance(points, list) else []
    sized = [[as_count(number) or 0 for number in pair] for pair in pairs]
    return (
        _squares(said, max((math.prod(n // side for n in pair) for pair in sized if len(pair) == 2), default=0) + 1, 1)
        if side and sized
        else Grid()
    )


def _largest_known(said: Evidence) -> Grid:
    """The size that vLLM found to give most (llava_onevision.py): the tokens of twelve squares."""
    return _squares(said, _ONEVISION_SQUARES, 1)


def _squares(said: Evidence, count: int, merge: int) -> Grid:
    return Grid(merge * merge, count * (_side(said.vision) // merge) ** 2)


def _side(vision: Json) -> int:
    """Patches of one side of a square; 0 if it is not said."""
    size, patch = _first(vision, "image_size"), _first(vision, "patch_size")
    return size // patch if size and patch else 0


def _find_pixels(processor: Json) -> int:
    """0 if it is not said. `longest_edge` is an area in processors of this kind."""
    return _first(processor, "max_pixels") or _first(_part(processor, "size"), "longest_edge", "max_pixels") or 0


def _first(part: Json, *keys: str) -> int | None:
    """The first of these numbers that is there; of a pair its first."""
    values = (part.get(key) for key in keys)
    counts = (as_count(value[0] if isinstance(value, list) and value else value) for value in values)
    return next((count for count in counts if count), None)


def _part(whole: Json, key: str) -> Json:
    part = whole.get(key)
    return part if isinstance(part, dict) else {}


FAMILIES: Final = (
    Family(
        ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
        _by_pixels_and_length,
        frames=2,
        takes_pixels=True,
    ),
    Family(
        (
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLMoeForConditionalGeneration",
            "Qwen3_5ForConditionalGeneration",
            "Qwen3_5MoeForConditionalGeneration",
        ),
        _by_pixels,
        frames=2,
        takes_pixels=True,
    ),
    # The feed-forward of the tower is as wide as what it gives.
    Family(
        ("Glm4vForConditionalGeneration", "Glm4vMoeForConditionalGeneration"),
        _by_volume,
        frames=2,
        inner=("out_hidden_size",),
    ),
    Family(("KimiVLForConditionalGeneration",), _by_patches),
    Family(
        (
            "Mistral3ForConditionalGeneration",
            "LlavaForConditionalGeneration",
            "PaliGemmaForConditionalGeneration",
        ),
        _one_square,
    ),
    Family(("Gemma3ForConditionalGeneration",), _one_pooled),
    Family(("Gemma4ForConditionalGeneration",), _pooled),
    Family(("InternVLChatModel", "InternVLForConditionalGeneration"), _tiled_or_filmed),
    Family(("Llama4ForConditionalGeneration", "AyaVisionForConditionalGeneration"), _tiled),
    Family(("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"), _split),
    Family(("LlavaNextForConditionalGeneration",), _pinpointed),
    Family(("LlavaOnevisionForConditionalGeneration",), _largest_known),
)
