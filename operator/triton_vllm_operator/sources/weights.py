"""Which files hold the weights that an engine reads, and whether they are all there. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, matching
from triton_vllm_operator.sources.formats import MISTRAL_INDEX, MISTRAL_WEIGHTS, Format

INDEX_SUFFIX: Final = ".index.json"
INDEX: Final = f"model.safetensors{INDEX_SUFFIX}"
# Kinds of weights in the order in which vLLM looks for them, each with the index that names its parts.
_KINDS: Final = (
    (("*.safetensors",), INDEX),
    # Of these it reads all, and no index.
    (("*.bin", "*.pt"), ""),
)
_MISTRAL: Final = ((MISTRAL_WEIGHTS,), MISTRAL_INDEX)
HEADED: Final = ".safetensors"
"""Files of this name begin with the names and shapes of their tensors."""
# https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/model_loader/weight_utils.py
# (filter_files_not_needed_for_inference): what training leaves.
_OF_TRAINING: Final = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
OF_ADAPTERS: Final = "adapter_model."
"""How the names of an adapter's weights begin."""
_MOST_SHARDS: Final = 2000
"""More than any model has; a name may say up to 99999."""
_SHARD: Final = re.compile(r"(?P<model>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<kind>safetensors|bin)")


def find_weights(files: Files, form: Format) -> tuple[str, ...]:
    """The files of the kind of weights that the engine reads: others may lie about, with an index that is stale.

    Raises:
        SourceFault: there are none, or some are missing.
    """
    wanted = (_MISTRAL,) if form is Format.MISTRAL else _KINDS
    kinds = ((_of_a_model(files.matching(*patterns)), index) for patterns, index in wanted)
    weights, index = next(((found, index) for found, index in kinds if found), ((), ""))
    if not weights:
        raise not_servable(f"no weights {files.where}: it needs *.safetensors{_say_others(files)}")
    mapped = files.read_json(index).get("weight_map") if index in files else None
    named = set(map(str, mapped.values())) if isinstance(mapped, dict) else set()
    by = f"named by {index}" if named else "one of several that belong together"
    if missing := sorted((named or _whole(weights)) - set(files.sizes)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise not_servable(f"{missing[0]}{more}, {by}, is not {files.where}")
    _refuse_adapter_beside(files, weights, bool(named))
    # vLLM as above (filter_duplicate_safetensors_files): of safetensors only what the index names.
    return tuple(sorted(named)) if named and weights[0].endswith(HEADED) else weights


def check_load_format(files: Files, load_format: str | None) -> None:
    """That there are files of the kind that the engine's `load_format` reads alone.

    Raises:
        SourceFault: there are none.
    """
    patterns = READ_BY.get(load_format or "")
    if patterns is not None and not files.matching(*patterns):
        raise not_servable(
            f"spec.engine.extraArgs.load_format {load_format} reads {' or '.join(patterns)}, of which there is none "
            f"{files.where}: leave it out"
        )


# https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/model_loader/default_loader.py (_prepare_weights)
READ_BY: Final = {
    "safetensors": ("*.safetensors",),
    "fastsafetensors": ("*.safetensors",),
    "runai_streamer": ("*.safetensors",),
    "npcache": ("*.bin", "*.pt"),
    "pt": ("*.pt",),
}
"""The files that a `load_format` reads, and no others; Mistral's is asked for by config_format as well."""


def _refuse_adapter_beside(files: Files, weights: tuple[str, ...], has_index: bool) -> None:
    beside = f"{OF_ADAPTERS}safetensors"
    if beside in files and not has_index and weights[0].endswith(HEADED):
        raise not_servable(
            f"{beside} lies beside the weights {files.where}, and vLLM would read it as a part of them: move it to "
            "a folder of its own, and name that in spec.model.loraAdapters"
        )


def _of_a_model(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not name.endswith(_OF_TRAINING) and not name.startswith(OF_ADAPTERS))


def _say_others(files: Files) -> str:
    names = (*files.sizes, *files.not_read)
    if any(name.startswith(OF_ADAPTERS) for name in names):
        return "; what is there is a LoRA adapter: name it in spec.model.loraAdapters, its base in spec.model"
    others = next((found for kinds in _OTHER_KINDS if (found := sorted(matching(names, kinds)))), [])
    return f"; found only {', '.join(others[:3])}" if others else ""


_OTHER_KINDS: Final = (
    ("*.onnx", "*.h5", "*.msgpack", "*.gguf", "*.ckpt", "*.pth", "onnx/*"),
    ("*.bin", "*.pt"),
)


def _whole(weights: Iterable[str]) -> set[str]:
    """All parts of what lies in parts, by the number in their names."""
    shards = filter(None, map(_SHARD.fullmatch, weights))
    parts = {(shard["model"], int(shard["count"]), shard["kind"]) for shard in shards}
    return {
        f"{model}-{number:05}-of-{count:05}.{kind}"
        for model, count, kind in parts
        for number in range(1, min(count, _MOST_SHARDS) + 1)
    }
