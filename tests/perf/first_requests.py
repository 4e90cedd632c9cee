"""How long the first request of each kind makes a stream of others stand: with the operator's warm-up and without.

`python -m perf.first_requests MODEL_FOLDER [options]` with this repository's `operator`, `tests` and
`images/vllm-backend` on PYTHONPATH; needs vllm and a device that it runs on, and neither Triton nor a cluster: what
stands is the engine. Each way is measured in an engine of its own with empty caches, as a new pod has them. Prints a
table, and JSON as the last line.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

STORY = "Tell a long story."
KINDS: dict[str, dict[str, Any]] = {
    "log probabilities": {"logprobs": 5},
    "sampling": {"temperature": 1.0, "top_k": 50, "top_p": 0.8, "seed": 3},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2},
    "an adapter": {"lora_name": "adapter"},
    "several answers": {"n": 2, "temperature": 1.0},
    "stop words": {"stop": ["seven"]},
    "a bias": {"logit_bias": {"5": 1.0}},
    "a long prompt": {},
    "structured output: choice": {"structured_outputs": {"choice": ["yes", "no"]}},
    "structured output: schema": {
        "structured_outputs": {"json": {"type": "object", "properties": {"name": {"type": "string"}}}}
    },
}
LONG_PROMPT_WORDS = 2000
CACHES = ("TRITON_CACHE_DIR", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE")


@dataclass(frozen=True)
class Measured:
    """One request that came while another was answered in a stream."""

    kind: str
    longest_gap: float
    """Between two outputs of the stream while the request was under way; seconds."""
    answered: float
    """Seconds until the request's whole answer."""


class Server:
    """The engine as the backend drives it, without Triton."""

    def __init__(self, arguments: dict[str, Any], adapter: str | None) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        from llm_backend.adapters import Adapters, LoRARequest

        self._engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**arguments), usage_context=UsageContext.OPENAI_API_SERVER
        )
        self._adapters = Adapters({"adapter": LoRARequest("adapter", 1, adapter)} if adapter else None)
        self._ids = itertools.count()

    async def times(self, prompt: str, parameters: dict[str, Any]) -> AsyncIterator[float]:
        """When each output of one request came."""
        from llm_backend.sampling import build_sampling_params

        given = {"ignore_eos": True, **parameters}
        adapter = self._adapters.choose(given.pop("lora_name", None))
        sampling = build_sampling_params(given, stream=True)
        async for _ in self._engine.generate(prompt, sampling, str(next(self._ids)), lora_request=adapter):
            yield time.monotonic()

    async def finish(self, prompt: str, parameters: dict[str, Any]) -> float:
        """Seconds until the whole answer."""
        began = time.monotonic()
        return max([at async for at in self.times(prompt, parameters)]) - began

    async def warm_up(self, adapter: bool, max_model_len: int) -> float:
        """What the operator's first proof of a container asks for; seconds."""
        from triton_vllm_operator.api.spec import Probe
        from triton_vllm_operator.health.target import ProbeTarget
        from triton_vllm_operator.health.warm_up import TOGETHER, build_warm_up, complete

        names = ("adapter",) if adapter else ()
        target = ProbeTarget("", "", "", "", "", Probe(), False, names, max_model_len)
        began = time.monotonic()
        for request in build_warm_up(target):
            parameters = complete(request.parameters)
            await self.finish(request.prompt, parameters)
            await asyncio.gather(*(self.finish(request.prompt, parameters) for _ in range(TOGETHER)))
        return time.monotonic() - began


async def measure(server: Server, kind: str, tokens: int) -> Measured:
    """Send one request of a kind in the middle of a stream."""
    stamps: list[float] = []
    running = asyncio.Event()

    async def stream() -> None:
        async for at in server.times(STORY, {"max_tokens": tokens}):
            stamps.append(at)
            if len(stamps) == 20:
                running.set()

    other = asyncio.create_task(stream())
    await running.wait()
    sent = time.monotonic()
    prompt = " long" * LONG_PROMPT_WORDS if kind == "a long prompt" else "Hi"
    answered = await server.finish(prompt, {"max_tokens": 8, **KINDS[kind]})
    until = sent + answered
    await other
    near = [(earlier, later) for earlier, later in itertools.pairwise(stamps) if later >= sent and earlier <= until]
    return Measured(kind, max(later - earlier for earlier, later in near), answered)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start an engine, warm it up if asked, and measure every kind once and then once more."""
    began = time.monotonic()
    server = Server({"model": options.model, **options.engine}, options.adapter)
    ready = time.monotonic() - began
    # The operator's probe, which every container gets.
    await server.finish("Hi", {"max_tokens": 3, "temperature": 0})
    longest = options.engine.get("max_model_len", 4096)
    took = await server.warm_up(bool(options.adapter), longest) if options.warm == "yes" else 0.0
    kinds = [kind for kind in KINDS if options.adapter or kind != "an adapter"]
    first = [await measure(server, kind, options.tokens) for kind in kinds]
    again = [await measure(server, kind, options.tokens) for kind in kinds]
    rows = {a.kind: {"first": a.longest_gap, "answered": a.answered, "again": b.longest_gap}
            for a, b in zip(first, again, strict=True)}  # fmt: skip
    return {"seconds_to_start": ready, "seconds_of_warm_up": took, "kinds": rows}


def run_in_new_caches(arguments: list[str], warm: str) -> dict[str, Any]:
    """One way in a process of its own; its last line."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: f"{folder}/{name}" for name in CACHES}
        command = [sys.executable, "-m", "perf.first_requests", *arguments, "--warm", warm]
        environment = {**os.environ, **caches, "XDG_CACHE_HOME": folder, "VLLM_NO_USAGE_STATS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the engine ended with {done.returncode}; what it said stands above")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure both ways and print them beside each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--adapter", help="folder of a LoRA adapter of that model")
    parser.add_argument("--engine", type=json.loads, default={}, help="engine arguments as JSON")
    parser.add_argument("--tokens", type=int, default=400, help="tokens of the stream that is watched")
    parser.add_argument("--warm", choices=("yes", "no"), help="one way only, in this process")
    options = parser.parse_args()
    if options.warm:
        print(json.dumps(asyncio.run(run(options))), flush=True)
        os._exit(0)
    ways = {warm: run_in_new_caches(sys.argv[1:], warm) for warm in ("no", "yes")}
    print(f"start {ways['no']['seconds_to_start']:.0f} s, warm-up {ways['yes']['seconds_of_warm_up']:.1f} s")
    print(f"{'longest gap of another stream, ms':34} {'cold':>8} {'warmed up':>10} {'any later':>10}")
    for kind, cold in ways["no"]["kinds"].items():
        warm = ways["yes"]["kinds"][kind]
        print(f"{kind:34} {cold['first'] * 1000:8.0f} {warm['first'] * 1000:10.0f} {warm['again'] * 1000:10.0f}")
    print(json.dumps(ways))


if __name__ == "__main__":
    main()
