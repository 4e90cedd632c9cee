"""The name of a fetched model's folder: the program makes it, and the manifests point to it. Pure."""

import hashlib
from typing import Final

OTHER_FORMATS: Final = ("mistral", "pt", "npcache", "dummy")
"""Values of vLLM's `load_format` for which other files of a repository are fetched than usual."""
ONLY_TOKENIZER: Final = "tokenizer"
"""In place of a `load_format`: the tokenizer alone is fetched."""


def folder_name(repository: str, commit: str, kind: str | None, mirror: str | None) -> str:
    """One folder for each commit, as `meta-llama--Llama-2-7b-chat-hf@f5db02db...`; a hub's names hold no `--`.

    A kind of files other than the usual has folders of its own, and so has a mirror: what it serves under a name need
    not be what the hub does.
    """
    other = f"+{kind}" if kind in (*OTHER_FORMATS, ONLY_TOKENIZER) else ""
    source = f"+{hashlib.sha256(mirror.encode()).hexdigest()[:10]}" if mirror else ""
    return f"{repository.replace('/', '--')}@{commit}{other}{source}"
