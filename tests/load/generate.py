"""Load for one model, from inside the cluster: `generate.py URL CONCURRENCY...`; prints JSON.

Runs in the operator's image, which holds aiohttp; nothing else of this repository is needed there.
For each concurrency, that many requests are sent at once and every reply is checked to be complete.
"""

import asyncio
import json
import sys
import time

import aiohttp

MAX_TOKENS = 64
PROMPT = "Write a story about request number {number} and what it found on its way."


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> str:
    """The problem with one reply; empty if it is complete."""
    body = {
        "text_input": PROMPT.format(number=number),
        "parameters": {"max_tokens": MAX_TOKENS, "ignore_eos": True, "temperature": 0},
        "exclude_input_in_output": True,
        "return_num_output_tokens": True,
    }
    try:
        async with session.post(url, json=body) as response:
            reply = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"request {number}: {error!r}"
    if response.status != 200 or reply.get("num_output_tokens") != MAX_TOKENS or not reply.get("text_output"):
        return f"request {number}: HTTP {response.status}: {reply}"
    return ""


async def measure(url: str, concurrency: int) -> dict[str, object]:
    """Send that many requests at once."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.monotonic()
        problems = await asyncio.gather(*(ask(session, url, number) for number in range(concurrency)))
        seconds = time.monotonic() - started
    failed = [problem for problem in problems if problem]
    return {
        "concurrency": concurrency,
        "complete": concurrency - len(failed),
        "failed": failed[:3],
        "seconds": round(seconds, 2),
        "tokens_per_second": round((concurrency - len(failed)) * MAX_TOKENS / seconds, 1),
    }


async def main(url: str, concurrencies: list[int]) -> None:
    """Warm up with one request, then measure each concurrency."""
    await measure(url, 1)
    print(json.dumps([await measure(url, concurrency) for concurrency in concurrencies]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(word) for word in sys.argv[2:]]))
