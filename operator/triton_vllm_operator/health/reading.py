"""What a pod answers, up to a length. Whoever owns the pod may answer in Triton's place, with anything, for ever."""

from typing import Final

import aiohttp

LIMIT_BYTES: Final = 1024 * 1024
"""Far more than a few tokens, Triton's metrics or the configuration of a model."""


class TooLong(Exception):
    """The answer is longer than LIMIT_BYTES."""

    def __init__(self) -> None:
        super().__init__(f"the answer is longer than {LIMIT_BYTES // 1024} KiB")


def open_session() -> aiohttp.ClientSession:
    """The session for all pods. No connection is kept: an idle one would hold up Triton's shutdown."""
    # Nothing is unpacked: a short answer must not become a long one.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    )


async def read_all(response: aiohttp.ClientResponse) -> bytes:
    """The whole answer.

    Raises:
        TooLong: after as much as may be read.
        aiohttp.ClientError: the answer broke off.
    """
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > LIMIT_BYTES:
            raise TooLong
    return bytes(found)
