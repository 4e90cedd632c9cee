"""In which format a repository holds a model, and which files of it vLLM reads together. Pure.

Many repositories hold a model twice: as the transformers library wants it (config.json, model*.safetensors) and as
Mistral does (params.json, consolidated*.safetensors). Which one vLLM takes has changed:
https://github.com/vllm-project/vllm/blob/main/vllm/transformers_utils/config.py (get_config).
"""

from enum import StrEnum
from typing import Final

from triton_vllm_operator.api.vllm_versions import version_order
from triton_vllm_operator.sources.fault import SourceFault, not_servable
from triton_vllm_operator.sources.files import Files, matching

CONFIG: Final = "config.json"
MISTRAL_CONFIG: Final = "params.json"
MISTRAL_WEIGHTS: Final = "consolidated*.safetensors"
MISTRAL_INDEX: Final = "consolidated.safetensors.index.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
# Read off the source of each published version; the first that takes Mistral's configuration before the other, and the
# first that does so only where Mistral's weights are there too.
_MISTRAL_BY_CONFIG: Final = (0, 12, 0)
_MISTRAL_BY_BOTH: Final = (0, 16, 0)
_LAST_WITH_GGUF: Final = (0, 23, 0)


class Format(StrEnum):
    """Whose configuration the engine reads."""

    TRANSFORMERS = "Transformers"
    MISTRAL = "Mistral"


def find_format(files: Files, vllm: str, asked: str | None = None) -> Format:
    """What that vLLM version reads of these files; `asked` is the engine's `config_format`.

    Raises:
        SourceFault: they are in a format that vLLM does not read, or in two that it would mix.
    """
    _refuse_foreign(files)
    has_config, has_params = CONFIG in files, MISTRAL_CONFIG in files
    if not has_config and (not has_params or asked == "hf"):
        raise _no_config(files, vllm)
    if asked == "hf" or not has_params or (has_config and asked != "mistral" and not _prefers_mistral(files, vllm)):
        return Format.TRANSFORMERS
    if not files.matching(MISTRAL_WEIGHTS):
        raise not_servable(
            f"{MISTRAL_CONFIG} {files.where} belongs to weights in Mistral's format ({MISTRAL_WEIGHTS}), which are not "
            f"there, and vLLM {vllm} would take it for the weights that are: remove the file, or write "
            "spec.engine.extraArgs: {config_format: hf}"
        )
    return Format.MISTRAL


def _prefers_mistral(files: Files, vllm: str) -> bool:
    """Whether a version takes params.json where config.json is there as well."""
    version = version_order(vllm)
    if version and version < _MISTRAL_BY_CONFIG:
        return False
    return bool(files.matching(MISTRAL_WEIGHTS)) or (bool(version) and version < _MISTRAL_BY_BOTH)


def _no_config(files: Files, vllm: str) -> SourceFault:
    if files.matching("*.gguf"):
        version = version_order(vllm)
        single = "; or name the one file in its path" if not version or version <= _LAST_WITH_GGUF else ""
        return not_servable(f"the weights {files.where} are GGUF: take the model's repository with safetensors{single}")
    if not files.sizes and files.folders:
        folders = ", ".join(sorted(files.folders)[:8])
        return not_servable(f"no {CONFIG} {files.where}: found only the folders {folders}: is its path one of them?")
    found = ", ".join(sorted(files.sizes)[:8]) or "nothing"
    return not_servable(f"no {CONFIG} {files.where}: these are not the files of a model; found {found}")


def check_one_file(name: str, vllm: str, is_adapter: bool) -> None:
    """A source whose path is that of a file: GGUF, of which nothing but the engine knows more.

    Raises:
        SourceFault: this version reads no such file.
    """
    if is_adapter:
        raise not_servable(f"{name} is one file: the path is that of the folder with {ADAPTER_CONFIG}")
    if not name.endswith(".gguf"):
        raise not_servable(f"{name} is one file: the path is that of the folder in which it lies")
    version = version_order(vllm)
    if version and version > _LAST_WITH_GGUF:
        last = ".".join(map(str, _LAST_WITH_GGUF))
        raise not_servable(f"{name} is one file: vLLM {vllm} reads no GGUF, {last} was the last; take safetensors")


def _refuse_foreign(files: Files) -> None:
    """Formats of other programs, each with what to do."""
    if ADAPTER_CONFIG in files and CONFIG not in files:
        base = files.read_json_if_there(ADAPTER_CONFIG).get("base_model_name_or_path")
        of = f" of {str(base)[:200]}" if base else ""
        raise not_servable(
            f"the files {files.where} are a LoRA adapter{of}: name it in spec.model.loraAdapters, its base in "
            "spec.model"
        )
    is_whole = CONFIG in files and bool(files.matching("*.safetensors", "*.bin"))
    for marks, message in _FOREIGN if is_whole else (*_FOREIGN, *_FOREIGN_ALONE):
        if any(files.matching(mark) or mark in files.folders for mark in marks):
            raise not_servable(f"the files {files.where} are {message}")
    if not is_whole and any(matching((*files.sizes, *files.not_read), ("consolidated.*.pth",))):
        raise not_servable(
            f"the weights {files.where} are in Meta's original format (consolidated.*.pth with params.json): take the "
            "model's repository in the format of transformers, as meta-llama/Llama-2-7b-hf"
        )
    _refuse_foreign_config(files)


_FOREIGN: Final = (
    (("rank*.engine",), "an engine of TensorRT-LLM: take the model that it was built from"),
    (("rank*.safetensors",), "a checkpoint of TensorRT-LLM: take the model that it was converted from"),
)
# What may lie beside a model in the format of transformers.
_FOREIGN_ALONE: Final = (
    (("model_index.json",), "a pipeline that makes images; only models that generate text are served"),
    (("*.nemo", "model_weights"), "in NeMo's format: export the model to the format of transformers"),
)


def _refuse_foreign_config(files: Files) -> None:
    config = files.read_json_if_there(CONFIG)
    quantization = config.get("quantization")
    stated = config.get("quantization_config")
    has_method = isinstance(stated, dict) and "quant_method" in stated
    if not has_method and isinstance(quantization, dict) and "group_size" in quantization:
        raise not_servable(f"the weights {files.where} are for Apple's MLX: take the model that they were made from")
    if "pretrained_config" in config or "builder_config" in config or "producer" in config:
        raise not_servable(f"{CONFIG} {files.where} is of TensorRT-LLM: take the model that it was converted from")
