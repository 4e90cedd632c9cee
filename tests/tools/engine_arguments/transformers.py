"""The architectures that vLLM's generic Transformers route could take, read off the transformers library's source."""

import ast
import re

# https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/registry.py (_try_resolve_transformers)
_COMPATIBLE = "_supports_attention_backend"
_GENERATES = re.compile(r"[A-Za-z0-9_]+(ForCausalLM|ForConditionalGeneration)")
# They hear or speak: what they are asked and answer is no text.
_SPEECH = re.compile(r"TTS|ASR|Asr|SpeechToText|Transcribe|Talker")
_FILE = re.compile(r"transformers/models/[^/]+/modeling_[^/]+\.py")


def read_generic_architectures(sources: dict[str, str]) -> tuple[str, ...]:
    """Classes that generate text and leave their attention to others, sorted."""
    files = (text for path, text in sources.items() if _FILE.fullmatch(path))
    return tuple(sorted({name for text in files for name in _compatible(text)}))


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
