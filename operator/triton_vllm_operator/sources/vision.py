"""What sees in a model, by its config.json and by what its processor says of images. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/multimodal/encoder_budget.py (get_mm_max_toks_per_item) and the
models in vllm/model_executor/models (get_image_size_with_most_features, get_mm_max_tokens_per_item).
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

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


class Said(NamedTuple):
    """What the files of a model say of what sees."""

    config: Json
    vision: Json
    """The `vision_config` of config.json."""
    sizes: Sizes


class Family(NamedTuple):
    """Models that see alike."""

    architectures: tuple[str, ...]
    find_grid: Callable[[Said], Grid]
    frames: int = 1
    """Of a video, that one patch spans; images are repeated."""
    inner: tuple[str, ...] = ("intermediate_size",)
    """What `vision_config` calls the size between the halves of a feed-forward."""


def read_vision(config: Json, sizes: Sizes, towers: Iterable[str]) -> Vision | None:
    """What sees; None if its family is not known, or its size is not said.

    `towers` are the names of its tensors.
    """
    names, vision = architecture_names(config), _part(config, "vision_config")
    family = next((family for family in FAMILIES if any(name in names for name in family.architectures)), None)
    hidden, patch = _first(vision, "embed_dim", "hidden_size"), _first(vision, "patch_size")
    if family is None or hidden is None or patch is None:
        return None
    grid = family.find_grid(Said(config, vision, sizes))
    if not grid.patches or not grid.image_tokens:
        return None
    ratio = vision.get("mlp_ratio")
    times = ratio if isinstance(ratio, int | float) else 0
    deepstack = vision.get("deepstack_visual_indexes")
    return Vision(
        hidden_size=hidden,
        inner_size=_first(vision, *family.inner) or int(times * hidden),
        is_gated=any(_GATE.search(name) for name in towers),
        patch=patch,
        frames=family.frames,
        keeps_shape=family.find_grid in (_by_pixels, _by_pixels_and_length),
        positions=_first(vision, "position_embedding_size") or 0,
        levels=1 + (len(deepstack) if isinstance(deepstack, list) else 0),
        **grid._asdict(),
    )


def _by_pixels(said: Said) -> Grid:
    """Images keep their shape, up to so many pixels, and videos have a limit of their own."""
    merge = _first(said.vision, _MERGE) or 1
    unit = ((_first(said.vision, "patch_size") or 1) * merge) ** 2
    frames = _first(said.vision, "temporal_patch_size") or 1
    return Grid(
        patches=merge * merge,
        image_tokens=_find_pixels(said.sizes.image) // unit,
        video_tokens=_find_pixels(said.sizes.video) // (unit * frames),
    )


def _by_pixels_and_length(said: Said) -> Grid:
    """The same, but frames of videos are as large as images: 14 at most, of which two are one step."""
    grid = _by_pixels(said)
    return grid._replace(video_tokens=0, video_step=grid.image_tokens, video_steps=7)


def _by_volume(said: Said) -> Grid:
    """Images keep their shape, and are counted with the frames for which they are repeated, as videos are."""
    grid, frames = _by_pixels(said), _first(said.vision, "temporal_patch_size") or 1
    tokens = grid.image_tokens // frames
    steps = max(1, _GLM_VIDEO // tokens) if tokens else 0
    return Grid(grid.patches, tokens, video_step=tokens, video_steps=steps, leaves_room=True)


def _by_patches(said: Said) -> Grid:
    """Images keep their shape, up to so many patches, of which a square becomes one token."""
    merge = (_first(said.vision, "merge_kernel_size") or 1) ** 2
    return Grid(merge, (_first(said.sizes.image, "in_token_limit") or 0) // merge)


def _one_square(said: Said) -> Grid:
    """Images become one square at most."""
    return _squares(said, 1, _first(said.config, _MERGE) or 1)


def _one_pooled(said: Said) -> Grid:
    """Images become one square, whose patches are pooled to so many tokens."""
    tokens = _first(said.config, "mm_tokens_per_image") or 0
    return Grid(_side(said.vision) ** 2 // tokens, tokens) if tokens else Grid()


def _pooled(said: Said) -> Grid:
    """Images become so many tokens; videos 32 frames of 70 tokens and of 8 that part them."""
    pool = _first(said.vision, "pooling_kernel_size") or 0
    return Grid(pool * pool, _first(said.vision, "default_output_length") or 0, video_tokens=32 * 78)


def _tiled(said: Said) -> Grid:
    """Images become so many squares and one of the whole, which are shrunk."""
    ratio = next(
        (part[key] for part in said[:2] for key in ("downsample_ratio", "pixel_shuffle_ratio") if key in part), 1
    )
    merge = _first(said.config, "downsample_factor") or (round(1 / ratio) if isinstance(ratio, float) and ratio else 1)
    return _squares(said, _count_tiles(said), merge)


def _tiled_or_filmed(said: Said) -> Grid:
    """The same; frames of videos become one square each, as many as there is room for beside an image."""
    grid = _tiled(said)
    tiles = _count_tiles(said)
    return grid._replace(video_step=grid.image_tokens // tiles, leaves_room=True)


def _count_tiles(said: Said) -> int:
    """Squares of an image, with that of the whole."""
    if said.sizes.image.get("crop_to_patches") is False:
        return 1
    return 1 + (_first(said.sizes.image, "max_patches") or _first(said.config, "max_dynamic_patch") or 12)


def _split(said: Said) -> Grid:
    """Images are made as large as `size` says, and become squares of `max_image_size` and one of the whole."""
    edge, part = (_first(_part(said.sizes.image, key), "longest_edge") for key in ("size", "max_image_size"))
    return (
        _squares(said, (edge // part) ** 2 + 1, _first(said.config, "scale_factor") or 1) if edge and part else Grid()
    )


def _pinpointed(said: Said) -> Grid:
    """Images become the squares of one of these sizes, and one of the whole."""
    points = said.config.get("image_grid_pinpoints")
    side = _first(said.vision, "image_size")
    if not side or not isinstance(points, list):
        return Grid()
    return _squares(said, max((high // side * (wide // side) for high, wide in points), default=0) + 1, 1)


def _largest_known(said: Said) -> Grid:
    """The same, where vLLM takes the size that it found to give most: twelve squares and one of the whole."""
    return _squares(said, 12, 1)


def _squares(said: Said, count: int, merge: int) -> Grid:
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
    Family(("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"), _by_pixels_and_length, frames=2),
    Family(
        (
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLMoeForConditionalGeneration",
            "Qwen3_5ForConditionalGeneration",
            "Qwen3_5MoeForConditionalGeneration",
        ),
        _by_pixels,
        frames=2,
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
