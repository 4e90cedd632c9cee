"""Reading LLMDeployments from files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.structural import show
from triton_vllm_operator.cli.kubernetes_yaml import read_documents
from triton_vllm_operator.cli.metadata import find_metadata_faults
from triton_vllm_operator.manifests.identity import Owner

# A file has no uid yet; the children of what is applied carry the real one.
_NO_UID: Final = "00000000-0000-0000-0000-000000000000"


class Unreadable(Exception):
    """A file that holds no LLMDeployment; the text says what was found."""


@dataclass(frozen=True, slots=True)
class Document:
    """An LLMDeployment as it stands in a file. Its spec may be invalid."""

    name: str
    namespace: str
    spec: Json
    marks: tuple[str, ...] = ()
    """Keys of its labels and annotations."""
    metadata_faults: tuple[str, ...] = ()
    """What the API server would not take of its metadata."""

    @property
    def owner(self) -> Owner:
        """The LLMDeployment as the owner of its children."""
        return Owner(self.namespace, self.name, _NO_UID)


def read_document(path: str) -> Document:
    """The one LLMDeployment of a file, `-` for standard input; documents of other kinds are passed over.

    Raises:
        Unreadable: the file cannot be read, is no YAML, or holds none or several.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        documents = read_documents(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unreadable(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise Unreadable(f"{path} cannot be read: it nests deeper than any API server takes") from error
    found = [document for document in documents if isinstance(document, dict) and document.get("kind") == names.KIND]
    if len(found) != 1:
        kinds = [
            document.get("kind") if isinstance(document, dict) else type(document).__name__ for document in documents
        ]
        held = ", ".join(map(str, kinds)) or "nothing"
        raise Unreadable(f"{path} must hold one {names.KIND}; found {held}")
    return _to_document(path, found[0])


def _to_document(path: str, document: Json) -> Document:
    if document.get("apiVersion") != names.API_VERSION:
        raise Unreadable(f"{path}: apiVersion must be {names.API_VERSION}, found {document.get('apiVersion')!r}")
    metadata, spec = document.get("metadata"), document.get("spec")
    if unknown := sorted(map(str, set(document) - {"apiVersion", "kind", "metadata", "spec", "status"})):
        raise Unreadable(f"{path}: there is no field {', '.join(unknown)} beside spec: is its indent right?")
    if not isinstance(spec, dict):
        raise Unreadable(f"{path}: spec takes an object, found {show(spec)}")
    if not isinstance(metadata, dict) or not isinstance(name := metadata.get("name"), str):
        found = metadata.get("name") if isinstance(metadata, dict) else None
        raise Unreadable(f"{path}: metadata.name is {'missing' if found is None else 'no text: write it in quotes'}")
    return Document(
        name=name,
        namespace=str(metadata.get("namespace") or "default"),
        spec=spec,
        marks=tuple(str(key) for part in ("labels", "annotations") for key in _members(metadata.get(part))),
        metadata_faults=tuple(find_metadata_faults(metadata)),
    )


def _members(value: object) -> Json:
    return value if isinstance(value, dict) else {}
