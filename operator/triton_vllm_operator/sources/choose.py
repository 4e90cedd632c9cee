"""Which files of a repository are fetched. Pure."""

from collections.abc import Iterable
from typing import Final

from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import matching
from triton_vllm_operator.sources.formats import CONFIG, MISTRAL_CONFIG, MISTRAL_INDEX, MISTRAL_WEIGHTS
from triton_vllm_operator.sources.placement import ONLY_TOKENIZER, OTHER_FORMATS
from triton_vllm_operator.sources.tokenizers import MISTRAL_TOKENIZER, TOKENIZER_FILES
from triton_vllm_operator.sources.weights import INDEX, INDEX_SUFFIX, OF_ADAPTERS, READ_BY

# Python code comes along: whether it runs is for the engine's trust_remote_code to say, which may change later.
_SMALL: Final = ("*.json", "*.jsonl", "*.txt", "*.jinja", "*.py", *TOKENIZER_FILES)
_SAFETENSORS: Final = ("*.safetensors",)
_PICKLED: Final = ("pytorch_model*.bin", "adapter_model.bin", "*.pt")
_MISTRAL: Final = (MISTRAL_WEIGHTS,)
_TOKENIZERS_OF_TRANSFORMERS: Final = ("tokenizer.json", "tokenizer.model*", "vocab.json", "spiece.model")
# What vLLM's `load_format` reads, where that is not the usual choice; nothing reads no weights.
_FORMATS: Final = dict(zip(OTHER_FORMATS, (_MISTRAL, READ_BY["pt"], _PICKLED, ()), strict=True))
# Formats whose files have no name that could be looked for in a repository.
_UNNAMED: Final = ("gguf", "tensorizer", "sharded_state", "runai_streamer_sharded")


def choose_files(names: Iterable[str], load_format: str | None) -> tuple[str, ...]:
    """The top-level files that an engine reads: safetensors if there are any, pickled weights only otherwise.

    Raises:
        SourceFault: nobody can tell which files this `load_format` reads.
    """
    top = sorted(name for name in names if "/" not in name)
    if load_format == ONLY_TOKENIZER:
        return tuple(name for name in matching(top, _SMALL) if not name.endswith(INDEX_SUFFIX))
    if load_format in _UNNAMED:
        raise not_servable(
            f"spec.engine.extraArgs.load_format {load_format} does not tell which files of a repository it reads; "
            "put them on a volume, and name it as persistentVolumeClaim"
        )
    patterns = _FORMATS.get(load_format or "")
    if patterns is not None:
        return tuple(sorted({*matching(top, patterns), *matching(top, _SMALL)}))
    weights, left_out = _one_set(top)
    return tuple(sorted({*weights, *matching(top, _SMALL)} - {*left_out}))


def _one_set(names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Weights in one format, and the files that would make some vLLM version take them for the other.

    A repository may hold a model twice, in the format of transformers and in Mistral's own (formats.py). Mistral's is
    taken where there is no tokenizer but its own: no version reads that with weights in the other format.
    """
    mistral, safetensors = matching(names, _MISTRAL), matching(names, _SAFETENSORS)
    plain = tuple(name for name in safetensors if name not in mistral)
    of_model = tuple(name for name in plain if not name.startswith(OF_ADAPTERS))
    # An adapter may lie beside its base, and is no part of it.
    others = (of_model or plain if CONFIG in names else plain) or matching(names, _PICKLED)
    is_whole = MISTRAL_CONFIG in names and bool(mistral)
    is_read_alone = MISTRAL_TOKENIZER in names and not matching(names, _TOKENIZERS_OF_TRANSFORMERS)
    if CONFIG in names and others and not (is_whole and is_read_alone):
        return others, (*mistral, MISTRAL_CONFIG, MISTRAL_INDEX)
    if is_whole:
        return mistral, (CONFIG, INDEX)
    return others or mistral, ()
