"""Where fetched models lie: one folder for each commit, complete from the moment that it has its name.

Several pods may share a volume. A model is fetched under a lock into a folder beside, checked there, and renamed
into place; nothing is ever deleted but what a fetch left unfinished.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from filelock import FileLock, Timeout

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault, TryAgain
from triton_vllm_operator.sources.placement import folder_name
from triton_vllm_operator.sources.progress import Say

_HIDDEN: Final = ".triton-vllm"
_LOCK_LOOK_SECONDS: Final = 10.0


class Store:
    """The folders under one root."""

    def __init__(self, root: Path, load_format: str | None, say: Say) -> None:
        self._root = root
        self._load_format = load_format
        self._say = say

    def find(self, repository: str, commit: str) -> Path | None:
        """The complete folder of a commit."""
        folder = self._root / folder_name(repository, commit, self._load_format)
        return folder if folder.is_dir() else None

    def fill(self, repository: str, commit: str, fetch: Callable[[Path], None]) -> Path:
        """The folder of a commit; `fetch` fills it, in a folder of another name, if it is not there yet.

        Raises:
            SourceFault: the volume cannot be written to, or what `fetch` raises.
            TryAgain: what `fetch` raises.
        """
        name = folder_name(repository, commit, self._load_format)
        with self._volume_errors(), self._locked(name):
            if (found := self.find(repository, commit)) is not None:
                return found
            try:
                return self._fill_beside(name, fetch)
            except (OSError, SourceFault, TryAgain):
                # Some file systems let everybody have a lock (huggingface_hub pull request 4228): another was faster,
                # and what it left behind it is not what this one looked for.
                if (found := self.find(repository, commit)) is not None:
                    return found
                raise

    def _fill_beside(self, name: str, fetch: Callable[[Path], None]) -> Path:
        partial = self._root / _HIDDEN / "partial" / name
        partial.mkdir(parents=True, exist_ok=True)
        for rest in partial.rglob("*.incomplete"):
            # Of a pod that was killed: the hub's library begins such a file anew.
            rest.unlink(missing_ok=True)
        fetch(partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        # A name must not outlive a power cut that the bytes did not.
        os.sync()
        return partial.rename(self._root / name)

    @contextmanager
    def _volume_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"the volume cannot be used by user {os.getuid()}: {error}"
            raise SourceFault(Reason.MODEL_FETCH_FAILED, message) from error

    def remember(self, repository: str, revision: str, commit: str) -> None:
        """Note what a branch stands for, so that it is known offline.

        Raises:
            SourceFault: the volume cannot be written to.
        """
        path = self._reference(repository, revision)
        # Every container has a process 1: its number is no name for a file on a shared volume.
        beside = path.with_name(f"{path.name}.{uuid4().hex}")
        with self._volume_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(commit)
            beside.replace(path)

    def recall(self, repository: str, revision: str) -> str | None:
        """What a branch stood for when it was last fetched."""
        path = self._reference(repository, revision)
        return path.read_text() if path.is_file() else None

    def _reference(self, repository: str, revision: str) -> Path:
        return self._root / _HIDDEN / "refs" / quote(repository, safe="") / quote(revision, safe="")

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        locks = self._root / _HIDDEN / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        while True:
            try:
                lock.acquire(timeout=_LOCK_LOOK_SECONDS)
                break
            except Timeout:
                self._say(f"another pod fetches {name} into this volume; waiting for it")
        try:
            yield
        finally:
            lock.release()
