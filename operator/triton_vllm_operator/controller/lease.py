"""One of several operators leads: a Lease that it renews, after which it writes nothing any more.

The official client has an election as well (kubernetes.aio.leaderelection, 37.0.2). It is not used: its requests have
no deadline, a lost connection ends it, its own deadline counts from the end of a pause, and it trusts a clock that may
be set back. Each of these lets two lead at once.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import LEASE, metadata_of

_LOG = logging.getLogger(__name__)

DURATION_SECONDS: Final = 10
"""Without a renewal that others can see, after which one of them takes the Lease."""
DEADLINE_SECONDS: Final = 8.0
"""From the beginning of the last renewal that went well, after which the leader writes no more: less than DURATION."""
RETRY_SECONDS: Final = 1.5
_REQUEST_SECONDS: Final = 3.0
"""For one attempt: a leader has time for two that fail."""


class LeaseLost(Exception):
    """Another operator may lead by now: this process must end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was when it last changed, and when that was seen, on this process's own clock."""

    version: str
    holder: str
    at: float


def look(before: Seen | None, lease: Json, now: float) -> Seen:
    """What is known of the Lease after one more look. Clocks of other machines are not asked."""
    version = str(metadata_of(lease).get("resourceVersion", ""))
    if before is not None and before.version == version:
        return before
    spec = lease.get("spec")
    holder = spec.get("holderIdentity") if isinstance(spec, dict) else None
    return Seen(version, str(holder or ""), now)


def may_take(seen: Seen, identity: str, now: float) -> bool:
    """Whether the Lease is free, ours, or was not renewed for its whole time."""
    return seen.holder in ("", identity) or now - seen.at > DURATION_SECONDS


class Leadership:
    """Whether this process leads."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._seen: Seen | None = None
        self._until = float("-inf")

    @property
    def holds(self) -> bool:
        """Whether nobody else leads: asked before each write, since this process may have stood still."""
        return self._clock() < self._until

    async def acquire(self) -> None:
        """Wait until this process leads."""
        _LOG.info("waiting for the Lease %s/%s as %s", self._namespace, self._name, self._identity)
        while not await self._try():  # noqa: ASYNC110 - the API server tells nobody
            await asyncio.sleep(RETRY_SECONDS)
        _LOG.info("leading as %s", self._identity)

    async def keep(self) -> None:
        """Renew the Lease for ever.

        Raises:
            LeaseLost: it could not be renewed in time, or another holds it.
        """
        while self.holds:
            await asyncio.sleep(RETRY_SECONDS)
            if not await self._try() and self._seen is not None and self._seen.holder not in ("", self._identity):
                break
        raise LeaseLost(f"the Lease {self._namespace}/{self._name} is held no longer")

    async def release(self) -> None:
        """Let another lead at once. Nothing may be written after it."""
        if not self.holds:
            return
        self._until = float("-inf")
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                await self._client.apply(self._manifest(None, self._seen.version if self._seen else None))

    async def _try(self) -> bool:
        """One attempt to take or renew it."""
        began = self._clock()
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                taken = await self._take()
        except (ApiError, TimeoutError) as error:
            _LOG.warning("the Lease %s/%s: %s", self._namespace, self._name, str(error) or "no answer in time")
            return False
        if taken:
            self._until = began + DEADLINE_SECONDS
        return taken

    async def _take(self) -> bool:
        found = await self._client.get(LEASE, self._namespace, self._name)
        if found is None:
            self._note(await self._client.create(self._manifest(self._identity)))
            return True
        self._note(found)
        assert self._seen is not None
        if not may_take(self._seen, self._identity, self._clock()):
            return False
        self._note(await self._client.apply(self._manifest(self._identity, self._seen.version)))
        return True

    def _note(self, lease: Json) -> None:
        self._seen = look(self._seen, lease, self._clock())

    def _manifest(self, holder: str | None, version: str | None = None) -> Json:
        """With the version, one that another has written meanwhile is not overwritten."""
        metadata: Json = {"namespace": self._namespace, "name": self._name}
        if version is not None:
            metadata["resourceVersion"] = version
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": metadata,
            "spec": {
                **({"holderIdentity": holder} if holder else {}),
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            },
        }
