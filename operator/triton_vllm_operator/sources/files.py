"""The files of a source: in a folder, or as a hub lists them. What an engine reads lies at the top level."""

import codecs
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault, not_servable

Json = dict[str, object]
LFS_POINTER: Final = b"version https://git-lfs"
"""How a file begins that only says where the file is."""
_POINTER_LIMIT: Final = 1024


@dataclass(frozen=True, slots=True)
class Files:
    """Names with sizes in bytes, and a way to read a file."""

    sizes: Mapping[str, int]
    read: Callable[[str], bytes]
    where: str
    """For messages: `in /weights`, `in org/name`."""
    folders: frozenset[str] = frozenset()
    """Names of the folders beside them."""
    not_read: frozenset[str] = frozenset()
    """Names of those of the same place that are not fetched, for messages."""
    can_read: Callable[[str], bool] = field(default=lambda _name: True)
    """Whether a file's content is here: of what a hub lists, only that of a few small ones is."""

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def matching(self, *patterns: str) -> tuple[str, ...]:
        """The names that one of these shell patterns fits, sorted."""
        return tuple(sorted(matching(self.sizes, patterns)))

    def read_json(self, name: str) -> Json:
        """The object in a JSON file.

        Raises:
            SourceFault: it holds no JSON object.
        """
        if self.is_pointer(name):
            raise not_servable(say_pointer(name))
        content = self.read(name)
        if content.startswith(codecs.BOM_UTF8):
            # The libraries of the engine read it as UTF-8 and end there.
            raise not_servable(f"{name} {self.where} begins with a byte order mark: save it without")
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise not_servable(f"{name} {self.where} is no JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise not_servable(f"{name} {self.where} holds no JSON object")
        return parsed

    def is_pointer(self, name: str) -> bool:
        """Whether a file that is here is a pointer of Git LFS."""
        small = self.sizes[name] <= _POINTER_LIMIT and self.can_read(name)
        return small and self.read(name).startswith(LFS_POINTER)

    def read_json_if_there(self, name: str) -> Json:
        """The object in a JSON file; empty if there is none, or its content is not here.

        Raises:
            SourceFault: it holds no JSON object.
        """
        return self.read_json(name) if name in self and self.can_read(name) else {}


def say_pointer(name: str) -> str:
    """What to do about a pointer."""
    return f"{name} is a pointer of Git LFS and not the file itself: fetch it with git lfs pull"


def matching(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The names that one of these shell patterns fits, in their order."""
    return tuple(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def list_folder(folder: Path) -> Files:
    """The files of a folder.

    Raises:
        SourceFault: there is no such folder.
    """
    if not folder.is_dir():
        raise SourceFault(Reason.MODEL_NOT_FOUND, f"there is no folder {folder}: is its path right?")
    entries = list(folder.iterdir())
    sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    folders = frozenset(entry.name for entry in entries if entry.is_dir())
    return Files(sizes, lambda name: (folder / name).read_bytes(), f"in {folder}", folders)
