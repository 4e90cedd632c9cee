"""What processors of models that see read beside config.json: a toy tokenizer, and the files in processors.yaml."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

PROCESSORS: Final = Path(__file__).with_name("processors.yaml")
_FIRST_ID: Final = 200
"""From which on characters are numbered, as far as the special tokens leave numbers free."""
_UNKNOWN: Final = ("<unk>", "<|endoftext|>", "<|end_of_text|>")
_ENDS: Final = ("<|im_end|>", "<eos>", "</s>", "<|eot|>", "<|endoftext|>")
_PADS: Final = ("<pad>", "<|endoftext|>", "<|end_of_text|>")
_BEGINS: Final = ("<bos>", "<s>", "<|begin_of_text|>")


def load_processors() -> dict[str, dict[str, Any]]:
    """By the name of the model."""
    return dict(yaml.safe_load(PROCESSORS.read_text()))


def write_processor(processor: dict[str, Any], folder: Path) -> None:
    """Write what a start of that model with dummy weights needs."""
    _write_tokenizer(processor["tokens"], processor.get("special", {}), folder)
    for name, content in processor["files"].items():
        (folder / name).write_text(json.dumps(content))


def _write_tokenizer(tokens: dict[str, int], special: dict[str, str], folder: Path) -> None:
    """A tokenizer of single characters, which knows these tokens by these numbers."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary, number = dict(tokens), _FIRST_ID
    for character in (*map(chr, range(32, 127)), "\n", "\n\n"):
        while number in vocabulary.values():
            number += 1
        vocabulary.setdefault(character, number)
    unknown = _first(_UNKNOWN, tokens)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|[^\n]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    named = (token for token in tokens if not token.isspace())
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in named])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _first(_ENDS, tokens),
        "pad_token": _first(_PADS, tokens),
        "bos_token": _first(_BEGINS, tokens),
        "unk_token": unknown,
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": special or None,
    }
    kept = {key: value for key, value in said.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))


def _first(names: tuple[str, ...], tokens: dict[str, int]) -> str | None:
    return next((name for name in names if name in tokens), None)
