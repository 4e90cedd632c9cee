"""Record what vLLM allocates on the GPU of this machine.

`PYTHONPATH=operator:tests python -m gpu.record STARTS [RECORDED]` needs a GPU, vLLM, pydantic and PyYAML, and no
weights: they are dummies. STARTS is a file as tests/gpu/starts.yaml: `model` and `config` say what is started,
`arguments` and `environment` with what; the other keys are in _ARGUMENTS below (`cache_bytes` and `quantises` tell the
planner what vLLM is told by `cache_dtype` and `quantization`). `method`, `guesses` and `draft`, a model too, say how
tokens are guessed. What is recorded has the form of tests/perf/starts, so
that `python -m perf.memory` holds the planner against it; each start's log lies beside it. A start takes one to four
minutes; SECONDS_AT_MOST in the environment bounds all of them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Final

import yaml

from gpu.processors import load_processors, write_processor
from support.configs import overlaid
from triton_vllm_operator.memory.measured import read_measured
from triton_vllm_operator.memory.versions import GIB

MODELS: Final = Path(__file__).parents[1] / "perf" / "starts" / "models.yaml"
LONGEST_START: Final = 240.0
"""Seconds after which a start is ended: some kernels tune themselves for longer than anybody waits."""
Row = dict[str, Any]
# The keys of a row, as AsyncEngineArgs calls them.
_ARGUMENTS: Final = {
    "length": "max_model_len",
    "utilization": "gpu_memory_utilization",
    "sequences": "max_num_seqs",
    "batched": "max_num_batched_tokens",
    "tensor": "tensor_parallel_size",
    "pipeline": "pipeline_parallel_size",
    "eager": "enforce_eager",
    "cache_dtype": "kv_cache_dtype",
    "quantization": "quantization",
    "rank": "max_lora_rank",
    "adapters": "max_loras",
}
# What vLLM says at DEBUG alone, GiB.
_PROFILE: Final = {
    "activation": re.compile(r"torch peak memory increase: ([\d.]+)\s*GiB"),
    "beside": re.compile(r"non-torch forward increase memory: (-?[\d.]+)\s*GiB"),
    "free": re.compile(r"Initial free memory: ([\d.]+)"),
}
_SECOND_RUNNER: Final = re.compile(r"Using V2 Model Runner|model_runner\.py:\d+\].*V2|gpu/model_runner\.py")


def start(row: Row, config: dict[str, Any], draft: dict[str, Any], folder: Path) -> None:
    """Start the engine in this process, as Triton's backends do: in the API server's usage context."""
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    (folder / "config.json").write_text(json.dumps(config))
    processor = load_processors().get(row["model"])
    if processor is not None:
        write_processor(processor, folder)
    if "method" in row:
        guessing = {"method": row["method"], "num_speculative_tokens": row["guesses"]}
        if draft:
            guessing["model"] = str(folder / "draft")
            (folder / "draft").mkdir()
            (folder / "draft" / "config.json").write_text(json.dumps(draft))
        row = {**row, "arguments": {**row.get("arguments", {}), "speculative_config": guessing}}
    given = {argument: row[key] for key, argument in _ARGUMENTS.items() if key in row}
    arguments = AsyncEngineArgs(
        model=str(folder),
        load_format="dummy",
        skip_tokenizer_init=processor is None,
        dtype="bfloat16",
        enable_lora="adapters" in row,
        **{**given, **row.get("arguments", {})},
    )
    LLMEngine.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)


def run(row: Row, config: dict[str, Any], draft: dict[str, Any], log: Path) -> bool:
    """Start it in a process of its own, whose words go to `log`; whether it started."""
    child = os.fork()
    if child:
        return _wait(child)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        os.environ.update({str(name): str(value) for name, value in row.get("environment", {}).items()})
        with tempfile.TemporaryDirectory() as folder:
            start(row, config, draft, Path(folder))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _wait(child: int) -> bool:
    until = time.monotonic() + LONGEST_START
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def read_row(row: Row, log: str, started: bool) -> Row:
    """The row with what the engine said."""
    found = read_measured(log)
    recorded: Row = dict(row)
    if not started:
        lines = [line for line in log.splitlines() if re.match(r"^[\w.]*(Error|Exception)\b", line)]
        recorded["failed"] = lines[-1][:300] if lines else "no error was printed"
    for name, pattern in _PROFILE.items():
        if numbers := pattern.findall(log):
            recorded[name] = float(numbers[-1])
    if found is None:
        return recorded
    amounts = {"weights": found.weights, "cache": found.cache, "graphs": found.graphs}
    recorded |= {name: round(size / GIB, 2) for name, size in amounts.items() if size is not None}
    if found.graphs_estimate is not None:
        recorded["graphs_estimate"] = round(found.graphs_estimate / GIB, 2)
    texts = {"tokens": found.tokens, "attention": found.attention, "concurrency": found.concurrency}
    recorded |= {name: value for name, value in texts.items() if value is not None}
    recorded["runner"] = "V2" if _SECOND_RUNNER.search(log) else "V1"
    return recorded


def _find_gpu() -> dict[str, Any]:
    """As CUDA says, asked in a process of its own: one that holds a GPU cannot be forked."""
    ask = "import torch; p = torch.cuda.get_device_properties(0); print(p.name); print(p.total_memory)"
    asked = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    name, total = asked.stdout.splitlines()[-2:]
    return {"product": name.replace(" ", "-"), "gib": round(int(total) / GIB, 2)}


def main(arguments: list[str]) -> int:
    """Record every start of the file; those that do not fit into the time that is given are left out."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    wanted = yaml.safe_load(Path(arguments[0]).read_text())
    out = Path(arguments[1]) if len(arguments) > 1 else Path("recorded.yaml")
    seconds = float(os.environ.get("SECONDS_AT_MOST", "86400"))
    models, until = yaml.safe_load(MODELS.read_text()), time.monotonic() + seconds
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "DEBUG", "HF_HUB_OFFLINE": "1"}
    import vllm  # the import takes ten seconds, and every start is forked from here

    recorded: list[Row] = []
    for number, row in enumerate(wanted["starts"]):
        if time.monotonic() > until:
            print(f"{len(wanted['starts']) - number} starts are left out: the time is over")
            break
        given, began = {**wanted["defaults"], **row}, time.monotonic()
        config = overlaid(models[row["model"]], row.get("config", {}))
        log = out.with_name(f"start-{number:02}.log")
        draft = {**models[row["draft"]], **row.get("draft_config", {})} if "draft" in row else {}
        started = run(given, config, draft, log)
        found = read_row(row, log.read_text(errors="replace"), started)
        recorded.append(found)
        print(f"{time.monotonic() - began:5.0f} s {found}", flush=True)
        defaults = {**wanted["defaults"], "vllm": vllm.__version__, "gpu": _find_gpu()}
        out.write_text(yaml.safe_dump({"defaults": defaults, "starts": recorded}, sort_keys=False, width=200))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
