"""Runs in a pod: `drained.py URL CLIENTS SECONDS [--keep-alive]`: clients of a model while its pods come and go.

Each client asks again and again, every second one for a stream, on a connection of its own for each request, or with
--keep-alive on one that it keeps. An answer counts if it is whole: as many tokens as were asked for and the reason that
it ended by that; a stream that is cut is a failure although HTTP said 200. Runs in the operator's image.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

TOKENS = 20
BODY = {
    "parameters": {"max_tokens": TOKENS, "ignore_eos": True},
    "return_num_output_tokens": True,
    "return_finish_reason": True,
}


async def read_frames(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> str:
    """What is wrong with one answer; empty if it is whole."""
    is_stream = number % 2 == 0
    body = {**BODY, "text_input": f"Story {number}:", "stream": is_stream}
    found, last = 0, ""
    try:
        async with session.post(f"{url}_stream" if is_stream else url, json=body) as response:
            frames = [frame async for frame in read_frames(response)] if is_stream else [await response.json()]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return repr(error)
    for frame in frames:
        if "error" in frame:
            return f"HTTP {response.status}: {frame['error']}"
        found += int(frame.get("num_output_tokens", 0))
        last = frame.get("finish_reason") or last
    if response.status != 200 or found != TOKENS or "length" not in str(last):
        return f"HTTP {response.status}: {found} of {TOKENS} tokens, ended by {last!r}"
    return ""


class Seen:
    """What all clients saw."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.whole = 0
        self.failures: list[str] = []
        self.first_lost_at: float | None = None
        """When the first request was sent that has no whole answer, in seconds since the epoch."""
        self.longest = 0.0

    def add(self, failure: str, began: float) -> None:
        now = time.monotonic()
        if failure:
            self.failures.append(f"after {now - self.began:.1f} s, {now - began:.1f} s after it was sent: {failure}")
            sent_at = time.time() - (now - began)
            self.first_lost_at = min(sent_at, self.first_lost_at or sent_at)
            return
        self.whole += 1
        self.longest = max(self.longest, now - began)
        if self.whole == 1:
            print(json.dumps({"answered": 1}), flush=True)


async def ask_for_ever(session: aiohttp.ClientSession, url: str, number: int, until: float, seen: Seen) -> None:
    while (began := time.monotonic()) < until:
        seen.add(await ask(session, url, number), began)
        await asyncio.sleep(0.01)


async def main(url: str, clients: int, seconds: int, keeps: bool) -> None:
    seen = Seen()
    # The Service has one address: a hundred questions for it at once are too many for a busy name server.
    connector = aiohttp.TCPConnector(limit=0, force_close=not keeps, ttl_dns_cache=None)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        until = seen.began + seconds
        await asyncio.gather(*(ask_for_ever(session, url, number, until, seen) for number in range(clients)))
    said = {"answered": seen.whole, "failed": len(seen.failures), "errors": seen.failures[:5]}
    print(json.dumps({**said, "first_lost_at": seen.first_lost_at, "longest": round(seen.longest, 1)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "--keep-alive" in sys.argv[4:]))
