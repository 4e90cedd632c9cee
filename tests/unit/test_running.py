"""What an engine says of itself, and what is made of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.pods import make_serving
from support.simulate import World
from triton_vllm_operator.health.running import (
    Inspection,
    find_config_differences,
    find_engine_differences,
    find_unused_cache,
    parse_engine_line,
)
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.reconcile.learning import wants_to_hear
from triton_vllm_operator.sources import compile_cache

# The line of vLLM 0.20.2 on an H200, cut at the end.
LINE = (
    "(EngineCore pid=9) INFO 11-20 [core.py:108] Initializing a V1 LLM engine (v0.20.2) with config: "
    "model='/weights/llama3-8b', speculative_config=None, tokenizer='/weights/llama3-8b', skip_tokenizer_init=False, "
    "tokenizer_mode=auto, revision=None, tokenizer_revision=None, trust_remote_code=False, dtype=torch.bfloat16, "
    "max_seq_len=8192, download_dir=None, load_format=dummy, tensor_parallel_size=1, pipeline_parallel_size=1, "
    "data_parallel_size=1, quantization=None, quantization_config=None, enforce_eager=False, kv_cache_dtype=auto, "
    "device_config=cuda, seed=0, served_model_name=/weights/llama3-8b, enable_prefix_caching=True, "
    "enable_chunked_prefill=True, pooler_config=None, compilation_config={'mode': 3, 'seed': 7}"
)
CONFIG: dict[str, Any] = {
    "backend": "vllm",
    "max_batch_size": 0,
    "instance_group": [{"kind": "KIND_MODEL", "count": 1}],
    "model_transaction_policy": {"decoupled": True},
}


def test_the_line_is_read_as_the_engine_prints_it() -> None:
    line = parse_engine_line(f"before\n{LINE}\nafter")
    assert line is not None
    assert (line.vllm, line.max_model_len) == ("0.20.2", 8192)
    assert line.values["dtype"] == "bfloat16"
    assert (line.values["seed"], line.values["quantization"]) == ("0", "None")
    assert parse_engine_line("a log without it") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "bfloat16", "max_model_len": 8192, "enforce_eager": False, "seed": 0}, ()),
        ({"dtype": "auto", "max_model_len": -1, "kv_cache_dtype": "auto"}, ()),
        ({"disable_cascade_attn": True}, ()),
        ({"max_model_len": 4096}, ("max_model_len is 8192, not 4096",)),
        ({"dtype": "half"}, ("dtype is bfloat16, not float16",)),
        ({"enforce_eager": True}, ("enforce_eager is False, not True",)),
        ({"quantization": "fp8"}, ("quantization is None, not fp8",)),
        ({"tensor_parallel_size": 2}, ("tensor_parallel_size is 1, not 2",)),
    ],
)
def test_a_setting_that_did_not_arrive_is_named(given: dict[str, Any], said: tuple[str, ...]) -> None:
    line = parse_engine_line(LINE)
    assert line is not None
    assert find_engine_differences(line, json.dumps({"model": "/weights", **given}), "0.20.2") == said


def test_another_vllm_than_the_catalogue_says_is_named() -> None:
    line = parse_engine_line(LINE.replace("v0.20.2", "v0.27.1+b1082979.nv26.8"))
    assert line is not None
    assert find_engine_differences(line, "{}", "0.27.1") == ()
    assert find_engine_differences(line, "{}", "0.24.0") == ("vLLM is 0.27.1+b1082979.nv26.8, not 0.24.0",)


def test_the_engines_name_of_a_kernel_is_no_difference() -> None:
    line = parse_engine_line(LINE.replace("quantization=None", "quantization=auto_awq"))
    assert line is not None
    assert find_engine_differences(line, '{"quantization": "awq"}', "0.20.2") == ()


@pytest.mark.parametrize("value", ["3000000000", "\u00b2", "9" * 5000, "-1"])
def test_a_log_cannot_make_the_decision_fail(value: str) -> None:
    world = served(inspection=Inspection(LINE.replace("max_seq_len=8192", f"max_seq_len={value}"), CONFIG, "web-0"))
    assert world.condition("Ready")[0] == "True"
    assert parse_engine_line(LINE.replace("v0.20.2", "v" + "9" * 100)) is None


def test_a_short_form_stands_for_its_long_one() -> None:
    line = parse_engine_line(LINE.replace("kv_cache_dtype=auto", "kv_cache_dtype=fp8_e4m3"))
    assert line is not None
    assert find_engine_differences(line, '{"kv_cache_dtype": "fp8"}', "0.20.2") == ()


def test_a_server_that_serves_otherwise_is_named() -> None:
    assert find_config_differences(CONFIG) == ()
    several = {**CONFIG, "instance_group": [{"kind": "KIND_GPU", "count": 2}]}
    assert find_config_differences(several) == (
        "Triton's instance kind is KIND_GPU, not KIND_MODEL",
        "Triton's instance count is 2, not 1",
    )


def served(**changes: Any) -> World:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.changes |= changes
    return world.settle()


def test_what_runs_stands_in_the_status_and_is_asked_once() -> None:
    world = served()
    assert world.decide().look_again_at is not None, "nobody has asked yet"
    world.changes["inspection"] = Inspection(LINE.replace("0.20.2", "0.32.0"), CONFIG, "web-0")
    world.settle()
    assert world.status.engine is not None
    running = world.status.engine.running
    assert running is not None
    assert (running.vllm_version, running.max_model_len, running.differences) == ("0.32.0", 8192, None)
    assert world.message("Ready") == "1 of 1 pods generate"
    world.changes.clear()
    decision = world.decide()
    assert (decision.status, decision.look_again_at) == (None, None)


def test_a_difference_stands_in_the_sentence_that_people_read() -> None:
    world = served(inspection=Inspection(LINE, CONFIG, "web-0"))
    assert world.condition("Ready")[0] == "True"
    assert world.message("Ready") == "1 of 1 pods generate; but vLLM is 0.20.2, not 0.32.0"
    world.changes.clear()
    assert world.settle().message("Ready").endswith("not 0.32.0"), "it stays said"


def test_a_log_without_the_line_is_not_asked_for_again() -> None:
    world = served(inspection=Inspection("rotated away", CONFIG, "web-0"))
    world.changes.clear()
    assert world.decide().look_again_at is None
    assert world.message("Ready") == "1 of 1 pods generate"


def test_another_revision_is_asked_anew() -> None:
    world = served(inspection=Inspection(LINE, CONFIG, "web-0"))
    world.changes.clear()
    world.edit(engine={"maxModelLen": 64}).settle()
    assert world.status.engine is not None
    assert world.status.engine.running is None


MEMORY = """\
INFO Model loading took 14.99 GiB memory and 3.718842 seconds
INFO Available KV cache memory: 53.66 GiB
INFO GPU KV cache size: 439,552 tokens, Maximum concurrency for 8,192 tokens per request: 53.66x
"""


def test_what_the_engine_allocated_stands_in_the_status_of_its_revision() -> None:
    world = served(inspection=Inspection(LINE + "\n" + MEMORY, CONFIG, "web-0"))
    world.changes.clear()
    assert world.decide().status is None, "it is read once"
    assert world.status.memory_plan is not None
    assert world.status.memory_plan.model_dump(by_alias=True, exclude_none=True) == {
        "measured": {
            "weightsBytes": round(14.99 * GIB),
            "kvCacheBytes": round(53.66 * GIB),
            "kvCacheTokens": 439552,
            "maxConcurrency": "53.66",
            "loadSeconds": 4,
        },
        "measuredPods": ("web-0",),
    }
    world.edit(engine={"maxModelLen": 64}).settle()
    assert world.status.memory_plan is None, "another revision may take something else"


def test_a_log_that_says_nothing_of_memory_leaves_it_out() -> None:
    assert served(inspection=Inspection(LINE, CONFIG, "web-0")).status.memory_plan is None


def test_other_pods_are_heard_once_and_the_smallest_cache_counts() -> None:
    world = served(inspection=Inspection(LINE + "\n" + MEMORY, CONFIG, "web-0"))
    assert not wants_to_hear(world.status, "web-0")
    assert wants_to_hear(world.status, "web-1")
    world.changes["inspection"] = Inspection(LINE + "\n" + MEMORY.replace("439,552", "401,000"), CONFIG, "web-1")
    world.settle()
    found = world.status.memory_plan
    assert found is not None
    assert found.measured is not None
    assert found.measured.kv_cache_tokens == 401000
    assert not wants_to_hear(world.status, "web-1")
    world.changes["inspection"] = Inspection(LINE + "\n" + MEMORY, CONFIG, "web-2")
    assert world.settle().status.memory_plan is not None
    assert world.status.memory_plan.measured is not None
    assert world.status.memory_plan.measured.kv_cache_tokens == 401000


def test_pods_of_an_engine_that_says_nothing_of_memory_are_not_asked() -> None:
    world = served(inspection=Inspection(LINE, CONFIG, "web-0"))
    assert not wants_to_hear(world.status, "web-1")


def test_no_more_than_sixteen_pods_are_heard_at_a_time() -> None:
    world = served(inspection=Inspection(LINE + "\n" + MEMORY, CONFIG, "web-0"))
    assert world.status.memory_plan is not None
    heard = tuple(f"web-{number}" for number in range(16))
    full = world.status.memory_plan.model_copy(update={"measured_pods": heard})
    assert wants_to_hear(world.status, "web-16")
    assert not wants_to_hear(world.status.model_copy(update={"memory_plan": full}), "web-16")


def test_a_cache_that_is_not_used_is_said_with_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert compile_cache.choose(tmp_path / "nowhere", "settings") is None
    log = f"{capsys.readouterr().out}{LINE}\n"
    (said,) = find_unused_cache(log)
    assert said.startswith("spec.cache is not used: ")
    assert "nowhere" in said
    assert find_unused_cache(f"compile cache: /compile-cache/x, empty\n{LINE}") == ()
