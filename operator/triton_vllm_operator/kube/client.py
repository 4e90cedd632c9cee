"""The only place that talks to the API server: get, list, server-side apply, delete.

Built on the official client's asyncio half. Every request has a deadline and is tried again, with a
capped and jittered back-off, when there was no answer or one of 429 and 5xx.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.times import parse_time
from triton_vllm_operator.kube.answers import as_error, parse_answer
from triton_vllm_operator.kube.errors import Gone, Refused, Unavailable
from triton_vllm_operator.kube.resources import (
    EVENT,
    LEASE,
    NODE,
    POD,
    Kind,
    as_list,
    kind_of,
    metadata_of,
    name_of,
    time_of,
)

Measure = Callable[[str, str, int, float], None]
"""Called after every request with verb, resource, HTTP status (0: no answer) and seconds."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=10)
_TRIES: Final = 5
_BACKOFF_SECONDS: Final = 0.25
_BACKOFF_CAP_SECONDS: Final = 8.0
_PAGE: Final = 250
_PAGE_OF: Final = {POD: 100, NODE: 50}
"""Of those that are larger: what a page holds is read in one piece, and nothing else happens meanwhile."""
_LONGEST_MESSAGE: Final = 4096
"""Of an Event. The API server takes 1 KiB from Kubernetes' own parts, and any length from others."""
_LINE_LIMIT: Final = 1000
_START_LIMIT: Final = 256 * 1024
_END_LIMIT: Final = 256 * 2**10
"""Bytes of the end of one."""
_APPLY_TYPE: Final = "application/apply-patch+yaml"
_NO_VERSION: Final = "1"
"""A version that no object has (etcd's first write is version 2): an apply that names it creates or conflicts.
https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go"""
_LOST: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Warned:
    """What an Event warns of."""

    at: datetime
    reason: str
    message: str


class KubeClient:
    """Typed access to the few verbs that the operator uses."""

    def __init__(self, api: ApiClient, measure: Measure, may_write: Callable[[], bool] = lambda: True) -> None:
        """`may_write` is asked before each request that changes anything but a Lease."""
        self._api = api
        self._measure = measure
        self._may_write = may_write

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object, or None if there is none.

        Raises:
            ApiError: any other answer.
        """
        try:
            return await self._call("GET", "get", kind, kind.path(namespace, name))
        except Gone:
            return None

    async def list_all(
        self, kind: Kind, namespace: str | None, selector: str | None, fields: str | None = None
    ) -> AsyncIterator[Json]:
        """Every object of a kind that a label selector and a field selector choose, page by page.

        Raises:
            ApiError: a page could not be had; the list is incomplete.
        """
        query: dict[str, str] = {"limit": str(_PAGE_OF.get(kind, _PAGE))}
        if selector:
            query["labelSelector"] = selector
        if fields:
            query["fieldSelector"] = fields
        while True:
            page = await self._call("GET", "list", kind, kind.path(namespace), query)
            for item in as_list(page.get("items")):
                yield item
            token = metadata_of(page).get("continue")
            if not token:
                return
            query["continue"] = str(token)

    async def streams_initial_lists(self, kind: Kind, namespace: str | None) -> bool:
        """Whether a watch of this API server can begin with what is there (the feature gate WatchList).

        On by default in 1.32 and from 1.34 on: https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists

        Raises:
            ApiError: no answer, or any other refusal.
        """
        query = {
            "watch": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "1",
        }
        try:
            await self._once("GET", "watch", kind, kind.path(namespace), query)
        except Refused:
            return False
        return True

    async def create(self, manifest: Json, dry_run: bool = False) -> Json:
        """Server-side apply of an object that is not there yet; the object as it is afterwards.

        A dry run changes nothing: the object is what it would be.

        Raises:
            Conflict: there is an object of this name.
            Refused: the API server does not take this manifest.
            ApiError: any other answer.
        """
        fresh = {**manifest, "metadata": {**metadata_of(manifest), "resourceVersion": _NO_VERSION}}
        return await self.apply(fresh, dry_run=dry_run)

    async def apply(
        self, manifest: Json, subresource: str | None = None, dry_run: bool = False, manager: str = names.MANAGER
    ) -> Json:
        """Server-side apply under the operator's field manager; the object as it is afterwards.

        A dry run changes nothing: the object is what it would be. What one manager no longer applies is taken away,
        so that what is written apart needs a manager of its own.

        Raises:
            Conflict: the object of this name has not the uid that the manifest names.
            Refused: the API server does not take this manifest.
            ApiError: any other answer.
        """
        kind = kind_of(manifest)
        namespace = str(metadata_of(manifest)["namespace"])
        path = kind.path(namespace, name_of(manifest), subresource)
        # An apply knows no unknown field: without Ignore the API server parses the body a second time to find them.
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Ignore"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._call("PATCH", "apply", kind, path, query, manifest)

    async def read_last_line(self, namespace: str, pod: str, container: str) -> str:
        """The last line of a container's log; empty if it has said nothing.

        Raises:
            ApiError: the log could not be had. It is not tried again: the next line is as good.
        """
        return (await self._read_log(namespace, pod, container, tailLines="1", limitBytes=str(_LINE_LIMIT))).strip()

    async def read_last_time(self, namespace: str, pod: str, container: str) -> datetime | None:
        """When a container last said something; None if it has said nothing.

        Raises:
            ApiError: the log could not be had. It is not tried again.
        """
        line = await self._read_log(namespace, pod, container, tailLines="1", timestamps="true", limitBytes="64")
        return parse_time(line.partition(" ")[0])

    async def read_log_end(self, namespace: str, pod: str, container: str, lines: int, previous: bool) -> str:
        """The end of a container's log; of the one before it, if that is what is asked for.

        Raises:
            ApiError: the log could not be had. It is not tried again.
        """
        query = {"tailLines": str(lines), "limitBytes": str(_END_LIMIT)}
        return await self._read_log(namespace, pod, container, **query, **({"previous": "true"} if previous else {}))

    async def read_log_start(self, namespace: str, pod: str, container: str) -> str:
        """The beginning of a container's log, as far as the node still keeps it.

        Raises:
            ApiError: the log could not be had. It is not tried again.
        """
        return await self._read_log(namespace, pod, container, limitBytes=str(_START_LIMIT))

    async def read_newest_warning(self, namespace: str, uid: str, reasons: Collection[str]) -> Warned | None:
        """The newest Event of one of these reasons that warns about an object; None if there is none.

        Raises:
            ApiError: the events could not be had. It is not tried again.
        """
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": str(_PAGE)}
        path = EVENT.path(namespace)
        listed = parse_answer(f"list {path}", await self._once("GET", "list", EVENT, path, query))
        found = [
            Warned(at, str(event.get("reason")), str(event.get("message", ""))[:_LONGEST_MESSAGE])
            for event in as_list(listed.get("items"))
            if event.get("reason") in reasons
            and (at := time_of(event.get("lastTimestamp") or event.get("eventTime"))) is not None
        ]
        return max(found, key=lambda warned: warned.at, default=None)

    async def post_event(self, manifest: Json) -> None:
        """Create an Event.

        Raises:
            Conflict: there is one of this name.
            ApiError: any other answer.
        """
        path = EVENT.path(str(metadata_of(manifest)["namespace"]))
        await self._call("POST", "create", EVENT, path, None, manifest)

    async def _read_log(self, namespace: str, pod: str, container: str, **query: str) -> str:
        path = POD.path(namespace, pod, "log")
        text = await self._once("GET", "get", POD, path, {"container": container, **query})
        return text.decode(errors="replace")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> Json:
        """Delete exactly the object of that uid; one that is gone already is no error.

        Returns the object as it ends, or a Status; nothing if it was gone.

        `grace_seconds` is how long a pod may take to end; None is its own time.

        Raises:
            ApiError: any other answer.
        """
        body: Json = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            return await self._call("DELETE", "delete", kind, kind.path(namespace, name), body=body)
        except Gone:
            return {}

    async def _call(
        self,
        method: str,
        verb: str,
        kind: Kind,
        path: str,
        query: dict[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        what = f"{verb} {path}"
        for attempt in range(1, _TRIES + 1):
            try:
                return parse_answer(what, await self._once(method, verb, kind, path, query, body))
            except Unavailable as error:
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(_pause(attempt, error))
        raise AssertionError(what)

    async def _once(
        self, method: str, verb: str, kind: Kind, path: str, query: dict[str, str] | None, body: Json | None = None
    ) -> bytes:
        if method != "GET" and kind != LEASE and not self._may_write():
            raise Unavailable(0, f"{verb} {path}", "another operator may lead")
        url = f"{path}?{urlencode(query)}" if query else path
        content_type = _APPLY_TYPE if method == "PATCH" else "application/json"
        _, full_url, headers, _, _ = await self._api.param_serialize(
            method,
            url,
            header_params={
                "Accept": "*/*" if path.endswith("/log") else "application/json",
                "Content-Type": content_type,
            },
            auth_settings=["BearerToken"],
        )
        status, started = 0, time.monotonic()
        try:
            response = await self._api.call_api(method, full_url, headers, body, _request_timeout=_TIMEOUT)
            status = response.status
            text: bytes = await response.read()
        except _LOST as error:
            raise Unavailable(0, f"{verb} {path}", f"no answer ({error or type(error).__name__})") from error
        finally:
            self._measure(verb, kind.plural, status, time.monotonic() - started)
        if 200 <= status < 300:
            return text
        raise as_error(status, f"{verb} {path}", text, response.headers)


def _pause(attempt: int, error: Unavailable) -> float:
    """Seconds until the next try: doubling, capped, and spread so that many callers do not return at once."""
    if error.retry_after is not None:
        return min(error.retry_after, _BACKOFF_CAP_SECONDS) + random.uniform(0, 0.5)
    return random.uniform(0.5, 1.0) * min(_BACKOFF_SECONDS * 2.0**attempt, _BACKOFF_CAP_SECONDS)
