"""What it costs to probe many pods: `python -m perf.probes [COUNT] [--seconds N]`, with the defaults of spec.probe.

One process answers in place of all pods, at 127.0.0.1; the other holds what the operator does for them, and is
measured: its processor time as a part of one core, once the first proofs are through.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health.prober import look, probe
from triton_vllm_operator.health.reading import open_session
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import ProbeResult
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.health.work import Work
from triton_vllm_operator.kube.resources import Key

FRAMES: Final = "".join(
    f'data: {{"model_name":"m","text_output":" {word}","num_output_tokens":1,"finish_reason":"{ending}"}}\n\n'
    for word, ending in (("a", ""), ("b", ""), ("c", ""), ("d", "length"))
)
HISTOGRAMS: Final = "".join(
    f'vllm:{name}_bucket{{model="m",version="1",le="{bound}"}} 7\n'
    for name, bound in itertools.product(("e2e_request_latency_seconds", "request_prompt_tokens"), range(100))
)
"""13 KiB in all, as a server of ours writes after some requests."""


@dataclass
class Counted:
    """What the operator's side did."""

    probes: int = 0
    looks: int = 0
    outcomes: set[str] = field(default_factory=set)


def main(arguments: list[str]) -> int:
    """Measure idle pods, then such as work, and print both as JSON."""
    parser = argparse.ArgumentParser(prog="python -m perf.probes", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args(arguments)
    for works in (False, True):
        pods = multiprocessing.Process(target=serve, args=(works,), daemon=True)
        pods.start()
        try:
            measured = asyncio.run(measure(options.count, options.seconds))
        finally:
            pods.terminate()
            pods.join()
        print(json.dumps({"pods": options.count, "work": works, **measured}))
    return 0


async def measure(count: int, seconds: int) -> dict[str, object]:
    """What the probes of so many pods cost, from one period after their start on."""
    counted = Counted()
    async with open_session() as session:
        watcher = make_watcher(session, counted)
        settings = Probe()
        for number in range(count):
            target = ProbeTarget(f"uid-{number}", f"pod-{number}", "containerd://1", "127.0.0.1", "m", settings, True)
            watcher.sync(Key("ns", f"llm-{number}"), [target])
        await asyncio.sleep(2 * settings.period_seconds)
        began, used, before = time.monotonic(), time.process_time(), (counted.probes, counted.looks)
        await asyncio.sleep(seconds)
        took, used = time.monotonic() - began, time.process_time() - used
        await watcher.stop()
    return {
        "cores": round(used / took, 3),
        "probes_per_second": round((counted.probes - before[0]) / took, 1),
        "looks_per_second": round((counted.looks - before[1]) / took, 1),
        "outcomes": sorted(counted.outcomes),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def make_watcher(session: aiohttp.ClientSession, counted: Counted) -> ProbeWatcher:
    """As in the operator's process, and counted."""

    async def run_look(target: ProbeTarget) -> Work | None:
        counted.looks += 1
        return await look(session, target)

    def note(result: ProbeResult) -> None:
        counted.probes += 1
        counted.outcomes.add(result.outcome)

    return ProbeWatcher(
        lambda target, connected: probe(session, target, connected), run_look, lambda _: None, measure=note
    )


def serve(works: bool) -> None:
    """Answer in place of all pods, with little work."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")), 0
        )
        await reader.readexactly(length)
        tokens = int(time.monotonic() * 1000) if works else 7
        figures = (
            f'vllm:generation_tokens_total{{model="m"}} {tokens}\nvllm:num_requests_running{{model="m"}} {works:d}\n'
        )
        body = (FRAMES if head.startswith(b"POST") else HISTOGRAMS + figures).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def run() -> None:
        for port in (names.PORT_HTTP, names.PORT_METRICS):
            await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
