"""Triton with our backend against vLLM's own server: the same engine, machine, prompts and client.

`python serving.py MODEL_FOLDER [options]`; needs vllm, tritonserver and aiohttp, and nothing of this repository: it
runs in a pod of the CPU runtime (`make bench-serving`) and on a machine with a GPU. One server after the other is
started with the same engine arguments; prints a table, and JSON as the last line.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.pool import Pool
from pathlib import Path

import aiohttp

NAME = "model"
PORT = 18000
START_SECONDS = 900
# As the operator writes it.
CONFIG = """\
backend: "vllm"
instance_group [{ count: 1 kind: KIND_MODEL }]
parameters { key: "REPORT_CUSTOM_METRICS" value { string_value: "true" } }
"""
TOKENS_OF_TRITON = re.compile(rb'"num_output_tokens":\[?(\d+)')
TOKENS_OF_VLLM = re.compile(rb'"completion_tokens":(\d+)')


@dataclass(frozen=True)
class Case:
    """One kind of load."""

    concurrency: int
    requests: int
    streaming: bool
    tokens: int
    words: int


@dataclass(frozen=True)
class Result:
    """What came of it."""

    tokens_per_second: float
    first_token_ms: float
    """Median until the first frame, or until the whole answer."""
    frames_median: int
    incomplete: int


class Triton:
    """Triton's generate and generate_stream."""

    label = "triton"
    ready = f"/v2/models/{NAME}/ready"

    @contextlib.contextmanager
    def command(self, arguments: dict[str, object]) -> Iterator[list[str]]:
        """The server's command, with a model repository for as long as it runs."""
        with tempfile.TemporaryDirectory() as folder:
            version = Path(folder, NAME, "1")
            version.mkdir(parents=True)
            Path(folder, NAME, "config.pbtxt").write_text(CONFIG)
            (version / "model.json").write_text(json.dumps(arguments))
            server = os.environ.get("TRITONSERVER", "tritonserver")
            backends = os.environ.get("TRITON_BACKENDS", "/opt/tritonserver/backends")
            yield [server, f"--model-repository={folder}", f"--backend-directory={backends}", f"--http-port={PORT}",
                   "--allow-grpc=false", f"--metrics-port={PORT + 2}", "--allow-gpu-metrics=false"]  # fmt: skip

    def request(self, prompt: str, case: Case) -> tuple[str, dict[str, object]]:
        """Path and body of one request."""
        parameters = {"max_tokens": case.tokens, "ignore_eos": True, "temperature": 0}
        body = {"text_input": prompt, "stream": case.streaming, "parameters": parameters}
        verb = "generate_stream" if case.streaming else "generate"
        return f"/v2/models/{NAME}/{verb}", {**body, "return_num_output_tokens": True, "exclude_input_in_output": True}

    def count(self, chunk: bytes) -> int:
        """The tokens that a part of an answer speaks of."""
        return sum(int(found) for found in TOKENS_OF_TRITON.findall(chunk))


class Vllm:
    """vLLM's OpenAI server."""

    label = "vllm serve"
    ready = "/health"

    @contextlib.contextmanager
    def command(self, arguments: dict[str, object]) -> Iterator[list[str]]:
        """The server's command."""
        flags = [f"--port={PORT}", f"--served-model-name={NAME}", "--disable-uvicorn-access-log"]
        for name, value in arguments.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                flags.append(f"--{flag}={json.dumps(value) if isinstance(value, dict) else value}")
        yield [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags]

    def request(self, prompt: str, case: Case) -> tuple[str, dict[str, object]]:
        """Path and body of one request."""
        body = {"model": NAME, "prompt": prompt, "max_tokens": case.tokens, "ignore_eos": True, "temperature": 0}
        if case.streaming:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return "/v1/completions", body

    def count(self, chunk: bytes) -> int:
        """The tokens that a part of an answer speaks of."""
        found = TOKENS_OF_VLLM.findall(chunk)
        return int(found[-1]) if found else 0


Server = Triton | Vllm


@contextlib.contextmanager
def running(server: Server, arguments: dict[str, object], log_path: Path) -> Iterator[None]:
    """The server, ready; its whole process group ends with the context."""
    with log_path.open("w") as log, server.command(arguments) as command:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_ready(server, process, log_path)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_ready(server: Server, process: subprocess.Popen, log_path: Path) -> None:
    """Poll the server; its last words if it ends before it is ready."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{PORT}{server.ready}", timeout=5):
            return
        time.sleep(0.5)
    sys.exit(f"{server.label} did not become ready:\n{log_path.read_text()[-3000:]}")


async def ask(session: aiohttp.ClientSession, server: Server, prompt: str, case: Case) -> tuple[float, int, int]:
    """Seconds until the first part, frames, tokens."""
    path, body = server.request(prompt, case)
    began, first, frames, tokens = time.monotonic(), 0.0, 0, 0
    async with session.post(f"http://127.0.0.1:{PORT}{path}", json=body) as response:
        rest = b""
        async for chunk in response.content.iter_any():
            first = first or time.monotonic() - began
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                frames += line.startswith(b"data: {")
                tokens += server.count(line)
        tokens += server.count(rest)
    return first, frames, tokens


def drive(server: Server, case: Case, seed: int, share: tuple[int, int]) -> list[tuple[float, int, int]]:
    """One client process: `share` is its part of the concurrency and of the requests."""

    async def work() -> list[tuple[float, int, int]]:
        at_once, count = share
        pending = iter(range(count))
        draw = random.Random(seed)
        found: list[tuple[float, int, int]] = []
        timeout = aiohttp.ClientTimeout(total=1200)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session:

            async def client() -> None:
                for _ in pending:
                    prompt = " ".join(str(draw.randrange(10, 99)) for _ in range(case.words))
                    found.append(await ask(session, server, prompt, case))

            await asyncio.gather(*(client() for _ in range(at_once)))
        return found

    return asyncio.run(work())


def measure(server: Server, case: Case, processes: int, pool: Pool, seed: int) -> Result:
    """Run one case over the client processes."""
    count = min(processes, case.concurrency)
    shares = [
        (
            case.concurrency // count + (n < case.concurrency % count),
            case.requests // count + (n < case.requests % count),
        )
        for n in range(count)
    ]
    began = time.monotonic()
    parts = pool.starmap(drive, [(server, case, seed * 1000 + n, share) for n, share in enumerate(shares)])
    seconds = time.monotonic() - began
    rows = [row for part in parts for row in part]
    firsts = sorted(row[0] for row in rows)
    return Result(
        tokens_per_second=round(sum(row[2] for row in rows) / seconds, 1),
        first_token_ms=round(1000 * firsts[len(firsts) // 2], 1),
        frames_median=sorted(row[1] for row in rows)[len(rows) // 2],
        incomplete=sum(row[2] != case.tokens for row in rows),
    )


def main() -> None:
    """Start each server, measure every case, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--engine", type=json.loads, default={}, help="engine arguments as JSON")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 100, 256])
    parser.add_argument("--rounds", type=int, default=3, help="requests of each client in a case")
    parser.add_argument("--least", type=int, default=40, help="requests of a case at least")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each answer")
    parser.add_argument("--modes", nargs="+", choices=["whole", "stream"], default=["whole", "stream"])
    parser.add_argument("--words", type=int, default=50, help="words of each prompt")
    parser.add_argument("--processes", type=int, default=max(1, min(8, (os.cpu_count() or 2) // 2)))
    parser.add_argument("--passes", type=int, default=1, help="times that each case is measured on one server")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--servers", nargs="+", choices=["vllm", "triton"], default=["vllm", "triton"])
    options = parser.parse_args()
    cases = [
        Case(concurrency, max(concurrency * options.rounds, options.least), streaming, options.tokens, options.words)
        for _ in range(options.passes)
        for streaming in (mode == "stream" for mode in options.modes)
        for concurrency in options.concurrency
    ]
    arguments = {"model": options.model, **options.engine}
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    servers: list[Server] = [{"vllm": Vllm, "triton": Triton}[name]() for name in options.servers]
    results: dict[str, list[Result]] = {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for server in servers:
            with running(server, arguments, options.logs / f"{server.label.replace(' ', '-')}.log"):
                warm = Case(max(options.concurrency), max(options.concurrency), True, 16, options.words)
                measure(server, warm, options.processes, pool, seed=1)
                results[server.label] = []
                for number, case in enumerate(cases, start=2):
                    result = measure(server, case, options.processes, pool, number)
                    results[server.label].append(result)
                    print(
                        f"{server.label}: {case.concurrency} at once, streaming {case.streaming}: {result}", flush=True
                    )
    report(cases, results)


def report(cases: list[Case], results: dict[str, list[Result]]) -> None:
    """The table for people, the JSON for programs."""
    rows = []
    for number, case in enumerate(cases):
        found = {label: asdict(of[number]) for label, of in results.items()}
        row: dict[str, object] = {"concurrency": case.concurrency, "streaming": case.streaming, **found}
        if len(found) == 2:
            one, other = (entry["tokens_per_second"] for entry in found.values())
            row["ratio"] = round(other / one, 3)
            mode = "stream" if case.streaming else "whole "
            print(f"{mode} {case.concurrency:>4} at once: {one:>9} vllm serve, {other:>9} triton, ratio {row['ratio']}")
        rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
