"""What a pod answers, up to a length. Whoever owns the pod may answer in Triton's place, with anything, for ever."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Final

import aiohttp

LIMIT_BYTES: Final = 1024 * 1024
"""Far more than the configuration of a model."""
STREAM_LIMIT_BYTES: Final = 256 * 1024
"""More than twice what 256 tokens take, the most that a probe asks for. Each line is parsed, and meanwhile nobody else
is probed."""
METRICS_LIMIT_BYTES: Final = 256 * 1024
"""They are read every other second; those of a server with eight GPUs are some 40 KiB."""


class TooLong(Exception):
    """The answer is longer than may be read."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        super().__init__(f"the answer is longer than {limit // 1024} KiB")


def open_session() -> aiohttp.ClientSession:
    """The session for all pods. No connection is kept: an idle one would hold up Triton's shutdown."""
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_tell_connected)
    # Nothing is unpacked: a short answer must not become a long one.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        trace_configs=[tracing],
    )


async def _tell_connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    """Call what a request brought as its `trace_request_ctx`: its connection stands."""
    if callable(connected := context.trace_request_ctx):
        connected()


async def read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer, as they come.

    Raises:
        TooLong: after as much as may be read.
        aiohttp.ClientError: the answer broke off.
    """
    left, rest = STREAM_LIMIT_BYTES, b""
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise TooLong(STREAM_LIMIT_BYTES)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    yield rest


async def read_all(response: aiohttp.ClientResponse, limit: int = LIMIT_BYTES) -> bytes:
    """The whole answer, up to so many bytes; raises as `read_lines` does."""
    parts, left = list[bytes](), limit
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise TooLong(limit)
        parts.append(chunk)
    return b"".join(parts)
