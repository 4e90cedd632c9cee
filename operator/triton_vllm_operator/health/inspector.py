"""Reads once from a pod that serves what its engine and its server say of themselves. This module does I/O."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import aiohttp

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.health.failures.hiding import hide_secrets
from triton_vllm_operator.health.failures.last_words import LOG_LINES, NO_WORDS, LastWords, find_last_words
from triton_vllm_operator.health.prober import read_metrics
from triton_vllm_operator.health.reading import TooLong, read_all
from triton_vllm_operator.health.running import Inspection
from triton_vllm_operator.health.target import metrics_url, url_host
from triton_vllm_operator.health.work import read_work
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.sources.wait_for_gpu import MARK

_LOG = logging.getLogger(__name__)
REST_SECONDS: Final = 60.0
_WAIT_REST_SECONDS: Final = 10.0
_NOT_CREATED: Final = "FailedCreate"
_HELD_BY: Final = frozenset(
    {
        "FailedMount",
        "FailedAttachVolume",
        "FailedMapVolume",
        "FailedCreatePodSandBox",
        "FailedCreatePodContainer",
        "NetworkNotReady",
    }
)
"""Events of kubelet and of the volume controller: https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/events/event.go."""
_LATE: Final = timedelta(minutes=3)
"""Kubelet tries again within two."""
_IDENTIFIER: Final = re.compile(r"\b[0-9a-f]{32,}\b")
_MOST_WORDS: Final = 2000
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class Inspector:
    """Reads logs through the API server, and Triton's configuration from the pod."""

    def __init__(self, client: KubeClient, session: aiohttp.ClientSession) -> None:
        self._client = client
        self._session = session
        self._not_before: dict[str, float] = {}
        """When to ask a pod again that could not be asked, by uid, or by the container that ended."""
        self._last_said: dict[str, datetime] = {}
        """When pods that do not start last said something, by uid."""
        self._held: dict[str, str] = {}
        """Why nodes do not start pods, by uid."""
        self._awaited: dict[str, str] = {}
        """What GPUs of pods lack that wait for it, by uid."""
        self._words: dict[str, LastWords] = {}
        """By the container that ended. A restart reads them again."""

    async def inspect(self, namespace: str, pod: Pod, served_name: str) -> Inspection | None:
        """What the pod says; None if it could not be asked now: every event would ask it again, so it rests."""
        if time.monotonic() < self._not_before.get(pod.uid, 0.0):
            return None
        inspection = await self._inspect(namespace, pod, served_name)
        if inspection is None:
            self._rest(pod.uid)
        return inspection

    def _rest(self, asked: str, seconds: float = REST_SECONDS) -> None:
        # What went while it rested is forgotten with the others.
        now = time.monotonic()
        resting = {each: until for each, until in self._not_before.items() if until > now}
        self._not_before = {**resting, asked: now + seconds}

    async def _inspect(self, namespace: str, pod: Pod, served_name: str) -> Inspection | None:
        url = f"http://{url_host(pod.ip or '')}:{names.PORT_HTTP}/v2/models/{served_name}/config"
        try:
            log = await self._client.read_log_start(namespace, pod.name, names.CONTAINER)
            async with self._session.get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
                config: Json = json.loads(await read_all(response)) if response.status == HTTPStatus.OK else {}
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError, TooLong, ValueError, RecursionError) as error:
            # It serves all the same; it is asked again later.
            _LOG.warning("cannot read how the engine of %s/%s runs: %s", namespace, pod.name, error)
            return None
        if not isinstance(config, dict) or not config:
            _LOG.warning("%s answers %d and no configuration", url, response.status)
            return None
        return Inspection(log, config, pod.name)

    async def loads(self, pods: Iterable[Pod]) -> dict[str, int | None]:
        """How many requests pods have that serve, by their names: None where a backend does not tell.

        Those that gave no answer are left out.
        """
        serving = [pod for pod in pods if pod.serves and pod.ip]
        found = await asyncio.gather(*(read_metrics(self._session, metrics_url(pod.ip or "")) for pod in serving))
        told = {pod.name: text for pod, text in zip(serving, found, strict=True) if text is not None}
        return {name: work.requests if (work := read_work(text)) is not None else None for name, text in told.items()}

    async def why_no_pod(self, namespace: str, job_uid: str) -> str:
        """Why Kubernetes makes no pod for a Job, which stands in events alone; empty if it does, or is late."""
        try:
            warned = await self._client.read_newest_warning(namespace, job_uid, (_NOT_CREATED,))
        except ApiError as error:
            _LOG.warning("cannot read the events of Job %s in %s: %s", job_uid, namespace, error)
            return ""
        return warned.message if warned is not None else ""

    async def why_held(self, namespace: str, pod: Pod, now: datetime) -> str:
        """Why its node does not start a pod, which stands in Events alone; empty if it says nothing of late.

        It is not asked every time. A mount that failed once, before minutes of pulling an image, holds nothing up.
        """
        if time.monotonic() < self._not_before.get(pod.uid, 0.0):
            return self._held.get(pod.uid, "")
        self._rest(pod.uid)
        try:
            warned = await self._client.read_newest_warning(namespace, pod.uid, _HELD_BY)
        except ApiError as error:
            _LOG.warning("cannot read the events of %s/%s: %s", namespace, pod.name, error)
            return ""
        is_late = warned is not None and now - warned.at <= _LATE
        # Each try has an identifier of its own.
        said = f"{warned.reason}: {_IDENTIFIER.sub('...', warned.message)}" if warned is not None and is_late else ""
        kept = {uid: text for uid, text in self._held.items() if uid in self._not_before}
        self._held = {**kept, pod.uid: said}
        return said

    async def awaited_memory(self, namespace: str, pod: Pod) -> str:
        """What a pod that loads says that its GPUs lack; empty if it does not wait. It is not asked every time."""
        if time.monotonic() < self._not_before.get(pod.uid, 0.0):
            return self._awaited.get(pod.uid, "")
        self._rest(pod.uid, _WAIT_REST_SECONDS)
        try:
            line = await self._client.read_last_line(namespace, pod.name, names.CONTAINER)
        except ApiError as error:
            _LOG.warning("cannot read whether %s/%s waits: %s", namespace, pod.name, error)
            return ""
        _, mark, said = line.partition(MARK)
        kept = {uid: text for uid, text in self._awaited.items() if uid in self._not_before}
        self._awaited = {**kept, pod.uid: hide_secrets(said) if mark else ""}
        return self._awaited[pod.uid]

    async def last_words(self, namespace: str, pod: Pod) -> LastWords:
        """What the log of the container that ended says; read once for each, and nothing if it cannot be read now."""
        ended = pod.ended.container_id if pod.ended is not None else ""
        if (known := self._words.get(ended)) is not None:
            return known
        if time.monotonic() < self._not_before.get(ended, 0.0):
            return NO_WORDS
        try:
            log = await self._client.read_log_end(namespace, pod.name, names.CONTAINER, LOG_LINES, pod.running)
        except ApiError as error:
            _LOG.warning("cannot read how %s/%s ended: %s", namespace, pod.name, error)
            self._rest(ended)
            return NO_WORDS
        if len(self._words) >= _MOST_WORDS:
            # The oldest; should it be asked for again, it is read again.
            del self._words[next(iter(self._words))]
        return self._words.setdefault(ended, find_last_words(log))

    async def last_word(self, namespace: str, pod: Pod) -> datetime | None:
        """When the server of a pod last said something; None if that is not known now. It is not asked every time."""
        if time.monotonic() < self._not_before.get(pod.uid, 0.0):
            return self._last_said.get(pod.uid)
        self._rest(pod.uid)
        try:
            said = await self._client.read_last_time(namespace, pod.name, names.CONTAINER)
        except ApiError as error:
            _LOG.warning("cannot read when %s/%s last said something: %s", namespace, pod.name, error)
            return None
        # Of those that are asked no more nothing is kept.
        kept = {uid: time for uid, time in self._last_said.items() if uid in self._not_before}
        self._last_said = {**kept, **({pod.uid: said} if said is not None else {})}
        return said

    async def last_line(self, namespace: str, pod: Pod) -> str:
        """The last word of a pod that fetches a model; empty if it cannot be read now."""
        try:
            return await self._client.read_last_line(namespace, pod.name, names.FETCH_CONTAINER)
        except ApiError as error:
            # How far a fetch is can wait.
            _LOG.warning("cannot read how far %s/%s is: %s", namespace, pod.name, error)
            return ""
