"""Whether files hold a tokenizer that vLLM could load: one that says how text becomes tokens. Pure."""

from typing import Final

from triton_vllm_operator.sources.architectures import load_architectures
from triton_vllm_operator.sources.config_code import check_code
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json, say_pointer
from triton_vllm_operator.sources.task import Expectation

TOKENIZER_FILES: Final = (
    "*token*",
    "*vocab*",
    "*.tiktoken",
    "*.model",
    "*.model.*",
    "*.spm",
    "*.tok",
    "tekken.json",
    "merges.txt",
)
"""Names under which tokenizers and their settings come."""
MISTRAL_TOKENIZER: Final = "tekken.json"
# What a library reads without code of the model's own.
_KNOWN: Final = (
    *("tokenizer.json", "tokenizer.model*", "*.model", "*.spm", "*.tiktoken", "*.tok", "*.tok.json", MISTRAL_TOKENIZER),
    *("vocab.json", "*vocab*.txt", "vocab.bpe", "merges.txt"),
)
_CODE: Final = "*tokeniz*.py"
_FAST: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
# Modes in which vLLM leaves the tokenizer to the transformers library.
_OF_TRANSFORMERS: Final = (None, "auto", "hf", "slow")
# Settings of a tokenizer, and no tokenizer.
_SETTINGS: Final = frozenset(
    {TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "chat_template.json", "tokenizer.py"}
)
# Code, and what programs leave that were interrupted or are careful.
_NO_TOKENIZER: Final = (".py", ".part", ".incomplete", ".download", ".tmp", ".lock", ".bak", ".orig", "~")
_HALVES: Final = {"vocab.json": "merges.txt", "merges.txt": "vocab.json"}


def check_tokenizer(files: Files) -> None:
    """That there is a tokenizer.

    Raises:
        SourceFault: there is none, or nobody could load what is called so.
    """
    patterns = TOKENIZER_FILES if files.matching(_CODE) else _KNOWN
    named = [name for name in files.matching(*patterns) if name not in _SETTINGS and not name.endswith(_NO_TOKENIZER)]
    whole = [name for name in named if not files.is_pointer(name)]
    found = [name for name in whole if files.sizes[name] > 0 and _is_complete(name, files)]
    if found:
        return
    if pointer := next((name for name in named if name not in whole), None):
        raise not_servable(say_pointer(pointer))
    beside = sorted(name for name in files.sizes if name in _SETTINGS or name in named)
    only = f"; found only {', '.join(beside)}" if beside else ""
    raise not_servable(
        f"no tokenizer {files.where} that can be loaded: it needs tokenizer.json, tokenizer.model, vocab.json with "
        f"merges.txt or tekken.json, or another source in spec.model.tokenizer{only}"
    )


def check_tokenizer_code(files: Files, model_type: str | None, expected: Expectation) -> None:
    """That a tokenizer which is code runs only where it may.

    https://github.com/huggingface/transformers/blob/main/src/transformers/models/auto/tokenization_auto.py

    Raises:
        SourceFault: it may not, or lies in another repository.
    """
    settings = files.read_json_if_there(TOKENIZER_CONFIG)
    code = _find_code(settings)
    if code is None or _is_read_without(settings, model_type) or expected.tokenizer_mode not in _OF_TRANSFORMERS:
        return
    if not expected.trust_remote_code:
        raise not_servable(
            f"{TOKENIZER_CONFIG} {files.where} names code for its tokenizer, {code[:200]}: "
            "spec.engine.trustRemoteCode: true runs it"
        )
    check_code(files, TOKENIZER_CONFIG, code)


def _find_code(settings: Json) -> str | None:
    """The class that auto_map names: alone, or the slow one and the fast one."""
    mapped = settings.get("auto_map")
    named = mapped.get("AutoTokenizer") if isinstance(mapped, dict) else mapped
    classes = named if isinstance(named, list) else [named]
    return next((name for name in classes if isinstance(name, str)), None)


def _is_read_without(settings: Json, model_type: str | None) -> bool:
    """Whether the transformers library has a class of its own for it."""
    known, name = load_architectures(), settings.get("tokenizer_class")
    has_class = isinstance(name, str) and name.removesuffix("Fast") in known.tokenizers
    return has_class or model_type in known.config_types


def _is_complete(name: str, files: Files) -> bool:
    other = _HALVES.get(name)
    if other is not None and other not in files and not files.matching(_CODE):
        return False
    if name != _FAST or not files.can_read(name):
        return True
    # The tokenizers library reads no file without it (huggingface/tokenizers, tokenizer/serialization.rs).
    return isinstance(files.read_json(name).get("model"), dict)
