"""The architectures that vLLM's generic Transformers route could take, read off the transformers library's source."""

import ast
import re

# https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/registry.py (_try_resolve_transformers)
_COMPATIBLE = "_supports_attention_backend"
_GENERATES = re.compile(r"[A-Za-z0-9_]+(ForCausalLM|ForConditionalGeneration)")
# They hear or speak: what they are asked and answer is no text.
_SPEECH = re.compile(r"TTS|ASR|Asr|SpeechToText|Transcribe|Talker")
_AUTO = "transformers/models/auto/"
_CONFIG_NAMES = "CONFIG_MAPPING_NAMES"
_TOKENIZERS = re.compile(r"transformers/(models/[^/]+/)?tokenization_[^/]+\.py")
_TOKENIZER = re.compile(r"\b[A-Z]\w*Token(?:izer|izersBackend)(?:Fast)?\b")
_FILE = re.compile(r"transformers/models/[^/]+/modeling_[^/]+\.py")


def read_generic_architectures(sources: dict[str, str]) -> tuple[str, ...]:
    """Classes that generate text and leave their attention to others, sorted."""
    files = (text for path, text in sources.items() if _FILE.fullmatch(path))
    return tuple(sorted({name for text in files for name in _compatible(text)}))


def read_config_types(sources: dict[str, str]) -> tuple[str, ...]:
    """Every `model_type` that the library has a class of its own for, sorted.

    Raises:
        LookupError: its list of them is nowhere.
    """
    files = (text for path, text in sources.items() if path.startswith(_AUTO))
    found = {name for text in files for node in ast.walk(ast.parse(text)) for name in _listed(node)}
    if not found:
        raise LookupError(f"{_AUTO} holds no {_CONFIG_NAMES}")
    return tuple(sorted(found))


def read_tokenizers(sources: dict[str, str]) -> tuple[str, ...]:
    """The classes of tokenizers that the library holds or knows by name, without `Fast` at their end, sorted."""
    files = [text for path, text in sources.items() if _TOKENIZERS.fullmatch(path)]
    return tuple(sorted({name.removesuffix("Fast") for text in files for name in _TOKENIZER.findall(text)}))


def _listed(node: ast.AST) -> list[str]:
    """The keys of a list of pairs, or of an object, that makes up the names of configurations."""
    is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _CONFIG_NAMES
    is_more = isinstance(node, ast.Call) and ast.unparse(node.func) == f"{_CONFIG_NAMES}.update"
    if not (is_list or is_more):
        return []
    pairs = (part.elts[0] for part in ast.walk(node) if isinstance(part, ast.Tuple) and len(part.elts) == 2)
    keys = (key for part in ast.walk(node) if isinstance(part, ast.Dict) for key in part.keys if key is not None)
    return [part.value for part in (*pairs, *keys) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _compatible(text: str) -> set[str]:
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    return {name for name in classes if _is_text(name) and _says_so(name, classes)}


def _is_text(name: str) -> bool:
    return _GENERATES.fullmatch(name) is not None and _SPEECH.search(name) is None


def _says_so(name: str, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a class, or one of its bases in the same file, says that it is compatible."""
    if (node := classes.get(name)) is None:
        return False
    for part in node.body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == _COMPATIBLE:
            return ast.unparse(part.value) == "True"
    return any(_says_so(ast.unparse(base), classes) for base in node.bases)
