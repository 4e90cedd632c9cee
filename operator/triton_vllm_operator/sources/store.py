"""Where fetched models lie: one folder for each commit, complete from the moment that it has its name.

Several pods may share a volume. A model is fetched under a lock into a folder beside, checked there, and renamed
into place; nothing is ever deleted but what a fetch left unfinished.
"""

import contextlib
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
from triton_vllm_operator.sources.task import Repository

_HIDDEN: Final = ".triton-vllm"
_LOCK_LOOK_SECONDS: Final = 10.0


class Store:
    """The folders of one repository under a root."""

    def __init__(self, root: Path, repository: Repository, load_format: str | None, say: Say) -> None:
        self._root = root
        self._repository = repository
        self._load_format = load_format
        self._say = say

    def _name(self, commit: str) -> str:
        return folder_name(self._repository.name, commit, self._load_format, self._repository.endpoint)

    def find(self, commit: str) -> Path | None:
        """The complete folder of a commit."""
        folder = self._root / self._name(commit)
        return folder if folder.is_dir() else None

    def fill(self, commit: str, fetch: Callable[[Path], None]) -> Path:
        """The folder of a commit; `fetch` fills it, in a folder of another name, if it is not there yet.

        Raises:
            SourceFault: the volume cannot be written to, or what `fetch` raises.
            TryAgain: what `fetch` raises.
        """
        name = self._name(commit)
        with self._volume_errors(), self._locked(name):
            if (found := self.find(commit)) is not None:
                return found
            try:
                return self._fill_beside(name, fetch)
            except (OSError, SourceFault, TryAgain):
                # Some file systems let everybody have a lock (huggingface_hub pull request 4228): another was faster,
                # and what it left behind it is not what this one looked for.
                if (found := self.find(commit)) is not None:
                    return found
                raise

    def _fill_beside(self, name: str, fetch: Callable[[Path], None]) -> Path:
        partial = self._root / _HIDDEN / "partial" / name
        partial.mkdir(parents=True, exist_ok=True)
        for rest in (*partial.rglob("*.incomplete"), *partial.rglob("*.lock")):
            # Of a pod that was killed: the hub's library begins such a file anew, and would wait for its own locks.
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

    def remember(self, commit: str) -> None:
        """Note what the revision stands for, so that it is known offline.

        Raises:
            SourceFault: the volume cannot be written to.
        """
        self._note(self._reference(self._repository.revision), commit)
        asked = self._repository.asked
        # A volume that was emptied has forgotten it; else another may know better what it stands for now.
        if asked is not None and not self._reference(asked).is_file():
            self._note(self._reference(asked), commit)

    def _note(self, path: Path, commit: str) -> None:
        # Every container has a process 1: its number is no name for a file on a shared volume.
        beside = path.with_name(f"{path.name}.{uuid4().hex}")
        with self._volume_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(commit)
            beside.replace(path)

    def recall(self) -> str | None:
        """What the revision stood for when it was last fetched."""
        path = self._reference(self._repository.revision)
        return path.read_text() if path.is_file() else None

    def _reference(self, revision: str) -> Path:
        return self._root / _HIDDEN / "refs" / quote(self._name(""), safe="") / quote(revision, safe="")

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        locks = self._root / _HIDDEN / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        # No lock file in place of a real lock: that of a pod that was killed would hold for ever.
        lock = FileLock(locks / f"{name}.lock", fallback_to_soft=False)
        with contextlib.ExitStack() as held:
            try:
                self._acquire(lock, name)
                held.callback(lock.release)
            except (NotImplementedError, OSError) as error:
                self._say(f"this volume has no locks ({error}): another pod may fetch {name} too")
            yield

    def _acquire(self, lock: FileLock, name: str) -> None:
        while True:
            try:
                lock.acquire(timeout=_LOCK_LOOK_SECONDS)
                return
            except Timeout:
                self._say(f"another pod fetches {name} into this volume; waiting for it")
