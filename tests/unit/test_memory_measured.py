"""What engines of several versions say of their memory in their logs."""

import pytest

from triton_vllm_operator.memory.measured import Measured, read_measured
from triton_vllm_operator.memory.versions import GIB

# vLLM 0.20.2 on two H100s, this project's own log.
TWO_RANKS = """\
(Worker_TP0 pid=15003) INFO 11-25 19:18:06 Using FLASH_ATTN attention backend out of potential backends: \
['FLASH_ATTN', 'TRITON_ATTN'].
(Worker_TP0 pid=15003) INFO 11-25 19:18:07 Model loading took 7.51 GiB memory and 0.718842 seconds
(Worker_TP1 pid=15004) INFO 11-25 19:18:07 Model loading took 7.52 GiB memory and 0.700000 seconds
(Worker_TP0 pid=15003) INFO 11-25 19:18:43 torch.compile took 35.45 s in total
(Worker_TP0 pid=15003) INFO 11-25 19:19:02 Estimated CUDA graph memory: 0.27 GiB total
(Worker_TP0 pid=15003) INFO 11-25 19:19:03 Available KV cache memory: 61.01 GiB
(Worker_TP1 pid=15004) INFO 11-25 19:19:03 Available KV cache memory: 60.9 GiB
(EngineCore pid=1) INFO 11-25 19:19:03 GPU KV cache size: 999,504 tokens
(EngineCore pid=1) INFO 11-25 19:19:03 Maximum concurrency for 8,192 tokens per request: 122.01x
(Worker_TP0 pid=15003) INFO 11-25 19:19:08 Graph capturing finished in 9 secs, took 0.51 GiB
(EngineCore pid=1) INFO 11-25 19:19:10 init engine (profile, create kv cache, warmup model) took 64.10 s \
(compilation: 35.45 s)
"""


def test_of_several_ranks_the_fullest_counts() -> None:
    assert read_measured(TWO_RANKS) == Measured(
        weights=round(7.52 * GIB),
        cache=round(60.9 * GIB),
        tokens=999504,
        length=8192,
        concurrency=122.01,
        graphs=round(0.51 * GIB),
        graphs_estimate=round(0.27 * GIB),
        attention="FLASH_ATTN",
        load_seconds=0.718842,
        compile_seconds=35.45,
        capture_seconds=9,
        init_seconds=64.1,
    )


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        # 0.10.2
        ("Model loading took 14.9889 GiB and 2.430000 seconds", "weights", round(14.9889 * GIB)),
        ("Model loading took 14.9889 GiB and 2.430000 seconds", "load_seconds", 2.43),
        ("GPU KV cache size: 118,736 tokens", "tokens", 118736),
        ("torch.compile takes 27.10 s in total", "compile_seconds", 27.1),
        ("init engine (profile, create kv cache, warmup model) took 41.48 seconds", "init_seconds", 41.48),
        # 0.28.0 and later: one line
        (
            "GPU KV cache size: 524,288 tokens, Maximum concurrency for 512 tokens per request: 1024.00x",
            "tokens",
            524288,
        ),
        (
            "CPU KV cache size: 21,760 tokens, Maximum concurrency for 1,024 tokens per request: 21.25x",
            "concurrency",
            21.25,
        ),
        (
            "Replace gpu_memory_utilization config with `--kv-cache-memory=57612345344` (53.66 GiB) to fit into "
            "requested memory, or `--kv-cache-memory=65612345344` (61.11 GiB) to fully utilize gpu memory.",
            "suggested_cache",
            57612345344,
        ),
    ],
)
def test_each_spelling_is_read(line: str, name: str, value: float) -> None:
    found = read_measured(f"Available KV cache memory: 1.0 GiB\n{line}\n")
    assert found is not None
    assert getattr(found, name) == value


def test_a_stored_start_plan_stands_in_for_the_profile() -> None:
    line = (
        "Applying persisted startup plan (fingerprint 0a1b): kv_cache_memory_bytes=57612345344 (53.66 GiB), recorded "
        "free-memory baseline 78.66 GiB, current 78.66 GiB. Memory profiling will be skipped."
    )
    found = read_measured(line)
    assert found is not None
    assert (found.cache, found.is_planned) == (57612345344, True)


@pytest.mark.parametrize(
    ("line", "cache"),
    [
        ("Explicitly set (1.0/8.0) GiB for KV cache on node 0.", 2**30),
        ("Auto set (3.5/16.0) GiB for KV cache on node 0, with 14.4 GiB requested memory for the worker.", 7 * 2**29),
    ],
)
def test_an_engine_on_a_cpu_says_its_cache_in_words_of_its_own(line: str, cache: int) -> None:
    found = read_measured(line)
    assert found is not None
    assert found.cache == cache


def test_a_log_without_memory_says_nothing() -> None:
    assert read_measured("INFO Starting to load model\n") is None


@pytest.mark.parametrize(
    "line",
    [
        "GPU KV cache size: -5 tokens",
        f"GPU KV cache size: {'9' * 400} tokens",
        "GPU KV cache size: , tokens",
        "Model loading took -1.0 GiB and 2 seconds",
        "torch.compile takes -5 s in total",
        "torch.compile takes 99999999999 s in total",
        f"Maximum concurrency for 8,192 tokens per request: {'9' * 44}x",
    ],
)
def test_what_no_engine_says_is_left_out(line: str) -> None:
    found = read_measured(f"Available KV cache memory: -3.0 GiB\n{line}\n")
    assert found is not None
    assert found.cache == -3 * 2**30
    assert (found.tokens, found.weights, found.compile_seconds, found.concurrency) == (None, None, None, None)
