"""The hub: resolves revisions and fetches files, by the hub's own library, with patience where it helps."""

import os
import random
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar
from urllib.request import getproxies

import httpx2
from huggingface_hub import HfApi, get_session, hf_hub_download, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from triton_vllm_operator.api.hub_names import HUB, is_commit
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault, TryAgain
from triton_vllm_operator.sources.progress import Say
from triton_vllm_operator.sources.task import Repository
from triton_vllm_operator.sources.trust import trust_authorities

_T = TypeVar("_T")
_TRIES: Final = 8
_PAUSE_CAP_SECONDS: Final = 300.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LIST_TIMEOUT_SECONDS: Final = 30.0
_WORKERS: Final = 4
_DEEPEST_CAUSE: Final = 10
_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_MAY_PASS: Final = (HfHubHTTPError, LocalEntryNotFoundError, XetDownloadError, httpx2.HTTPError, OSError)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit."""

    commit: str
    sizes: dict[str, int]
    """Of every file, in bytes."""


class Hub:
    """One repository of a hub."""

    def __init__(self, repository: Repository, say: Say, pause: Callable[[float], None] = time.sleep) -> None:
        self._repository = repository
        self._say = say
        self._pause = pause
        variable = repository.token_variable
        # False: no token at all. The library would otherwise look for one in the environment.
        self._token = (os.environ.get(variable, "").strip() if variable else "") or False
        trust_authorities(repository)
        self._api = HfApi(endpoint=repository.endpoint, token=self._token)

    def look_up(self) -> Snapshot:
        """The commit that the revision stands for, and its files.

        Raises:
            SourceFault: there is no such repository or revision, or no right to it.
            TryAgain: the hub did not answer, for longer than is waited.
        """
        name, revision = self._repository.name, self._repository.revision
        found = self._patiently(
            lambda: self._api.model_info(
                name, revision=revision, files_metadata=True, timeout=_LIST_TIMEOUT_SECONDS, token=self._token
            )
        )
        if found.sha is None or not is_commit(found.sha):
            raise SourceFault(Reason.MODEL_FETCH_FAILED, f"{self._hub} names no commit of {name}@{revision}")
        return Snapshot(found.sha, {file.rfilename: file.size or 0 for file in found.siblings or ()})

    def fetch(self, snapshot: Snapshot, names: tuple[str, ...], folder: Path) -> None:
        """Fetch files into a folder; what an earlier try brought is kept, and a file begun is gone on with.

        Raises:
            SourceFault, TryAgain: as `look_up`.
        """
        with ThreadPoolExecutor(_WORKERS) as pool:
            # A list: the first error is raised here, after the files under way are done.
            list(pool.map(lambda name: self._fetch_one(snapshot, name, folder), names))

    def read_start(self, snapshot: Snapshot, name: str, count: int) -> bytes:
        """The first bytes of a file: a mirror that serves no ranges is left after them.

        Raises:
            SourceFault, TryAgain: as `look_up`.
        """
        return self._patiently(lambda: self._ask_start(snapshot, name, count))

    def _ask_start(self, snapshot: Snapshot, name: str, count: int) -> bytes:
        url = hf_hub_url(
            self._repository.name, name, revision=snapshot.commit, endpoint=self._repository.endpoint or HUB
        )
        headers = {"Range": f"bytes=0-{count - 1}", "Accept-Encoding": "identity"}
        if self._token:
            # The client sends it to the hub alone, and not to the store that the hub names.
            headers["Authorization"] = f"Bearer {self._token}"
        found = bytearray()
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
            hf_raise_for_status(response)
            for part in response.iter_bytes():
                found += part
                if len(found) >= count:
                    break
        return bytes(found[:count])

    def _fetch_one(self, snapshot: Snapshot, name: str, folder: Path) -> None:
        self._patiently(
            lambda: hf_hub_download(
                self._repository.name,
                name,
                revision=snapshot.commit,
                local_dir=folder,
                endpoint=self._repository.endpoint,
                token=self._token,
            )
        )
        found, wanted = (folder / name).stat().st_size, snapshot.sizes[name]
        if wanted and found != wanted:
            (folder / name).unlink()
            raise TryAgain(f"{name} came with {found} bytes where the hub names {wanted}")

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask again after a pause where that helps: doubling, spread, capped; as long as the hub says where it does.

        During a download the library itself waits out 429, as long as it is told.
        """
        for attempt in range(_TRIES):
            try:
                return ask()
            except _MAY_PASS as error:
                cause = _cause(error)
                if _is_of_the_volume(cause):
                    raise
                if fault := self._fault(cause):
                    raise fault from error
                if attempt == _TRIES - 1:
                    raise TryAgain(f"{self._hub} cannot be used: {_say_error(cause)}{_hint(cause)}") from error
                seconds = _seconds_to_wait(cause, attempt)
                self._say(f"{self._hub}: {_say_error(cause)}; next try in {seconds:.0f} s")
                self._pause(seconds)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _hub(self) -> str:
        return self._repository.endpoint or f"the hub ({HUB})"

    def _fault(self, error: BaseException) -> SourceFault | None:
        name, revision = self._repository.name, self._repository.revision
        token = "the token of huggingFace.tokenSecretRef" if self._token else "no huggingFace.tokenSecretRef"
        # GatedRepoError is a kind of RepositoryNotFoundError: the order counts.
        denied = isinstance(error, GatedRepoError | DisabledRepoError) or _status(error) == HTTPStatus.FORBIDDEN
        if denied and not self._is_from_store(error):
            return SourceFault(
                Reason.MODEL_ACCESS_DENIED,
                f"{self._hub} gives no access to {name} with {token}: a gated repository wants its terms accepted by "
                "the account of the token",
            )
        if isinstance(error, RepositoryNotFoundError) or _status(error) == HTTPStatus.UNAUTHORIZED:
            return SourceFault(
                Reason.MODEL_NOT_FOUND, f"{self._hub} has no repository {name} that can be seen with {token}"
            )
        if isinstance(error, RevisionNotFoundError):
            return SourceFault(Reason.MODEL_NOT_FOUND, f"{name} has no revision {revision!r}")
        if (distrust := _distrust(error)) is not None:
            return SourceFault(
                Reason.MODEL_FETCH_FAILED,
                f"the certificate of {self._hub} is not trusted ({distrust.verify_message}): name its authority in "
                "huggingFace.caConfigMapRef, or have it set in the chart's fetch.caBundle",
            )
        status = _status(error)
        if (
            status is not None
            and status not in _PASSING
            and not self._is_from_store(error)
            and status < HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            return SourceFault(Reason.MODEL_FETCH_FAILED, f"{self._hub} does not serve {name}: {_say_error(error)}")
        return None

    def _is_from_store(self, error: BaseException) -> bool:
        """Whether an answer is not the hub's own: an address that it signed may have run out, and a new one helps."""
        response = getattr(error, "response", None)
        return response is not None and response.url.host != httpx2.URL(self._repository.endpoint or HUB).host


def _cause(error: BaseException) -> BaseException:
    """The library wraps what a HEAD request met into "not in the cache"."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_of_the_volume(error: BaseException) -> bool:
    """Full, read-only, not ours: no matter of patience."""
    if not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError):
        return False
    return error.errno is not None


def _distrust(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate, however deep it lies."""
    for _ in range(_DEEPEST_CAUSE):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _hint(error: BaseException) -> str:
    """For a hub that cannot be reached at all."""
    if _status(error) is not None or getproxies():
        return ""
    return "; where hubs are reached through a proxy, the administrator sets it in the chart's fetch.proxy"


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _say_error(error: BaseException) -> str:
    status = _status(error)
    if status is not None:
        return f"it answers {status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else f"status {status}"
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _seconds_to_wait(error: BaseException, attempt: int) -> float:
    response = getattr(error, "response", None)
    told = response.headers.get("Retry-After", "") if response is not None else ""
    if told.isdigit():
        return min(float(told), _PAUSE_CAP_SECONDS) + random.uniform(0, 1)
    return random.uniform(0.5, 1.0) * min(_FIRST_PAUSE_SECONDS * 2.0**attempt, _PAUSE_CAP_SECONDS)
