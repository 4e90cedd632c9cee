"""The files of a source: in a folder, or as a hub lists them. All of them lie at the top level."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault, not_servable

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Files:
    """Names with sizes in bytes, and a way to read a small one."""

    sizes: Mapping[str, int]
    read: Callable[[str], bytes]
    where: str
    """For messages: `in /weights`, `in org/name`."""

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def ending(self, *ends: str) -> tuple[str, ...]:
        """The names that end so, sorted."""
        return tuple(sorted(name for name in self.sizes if name.endswith(ends)))

    def matching(self, *patterns: str) -> tuple[str, ...]:
        """The names that one of these shell patterns fits, sorted."""
        return tuple(sorted(name for name in self.sizes if any(fnmatch(name, pattern) for pattern in patterns)))

    def read_json(self, name: str) -> Json:
        """The object in a JSON file.

        Raises:
            SourceFault: it holds no JSON object.
        """
        try:
            parsed = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise not_servable(f"{name} {self.where} is no JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise not_servable(f"{name} {self.where} holds no JSON object")
        return parsed


def list_folder(folder: Path) -> Files:
    """The files of a folder.

    Raises:
        SourceFault: there is no such folder.
    """
    if not folder.is_dir():
        raise SourceFault(Reason.MODEL_NOT_FOUND, f"there is no folder {folder}: is its path right?")
    sizes = {entry.name: entry.stat().st_size for entry in folder.iterdir() if entry.is_file()}
    return Files(sizes, lambda name: (folder / name).read_bytes(), f"in {folder}")
