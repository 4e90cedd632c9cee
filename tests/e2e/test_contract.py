"""The catalogue and the renders against the real engine and the real server, in a pod of the CPU runtime."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.paths import REPOSITORY
from support.adapter import write_adapter
from support.runtime_pod import run_in_runtime
from support.simulate import CPU_SPEC, World
from support.volume import bind_folder
from support.weights import TOKENIZER
from triton_vllm_operator.repository.arguments import load_arguments
from triton_vllm_operator.repository.content import CONFIG_PBTXT
from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.files import Files
from triton_vllm_operator.sources.servable import check_source
from triton_vllm_operator.sources.task import Expectation, Role

pytestmark = pytest.mark.e2e
SCENARIOS = REPOSITORY / "tests/golden/scenarios"
LOADER = (REPOSITORY / "tests/load/repository.py").read_text()

_FIELDS = """
import dataclasses, json
from vllm.engine.arg_utils import AsyncEngineArgs

def plain(value):
    return value if isinstance(value, (str, int, float, bool, type(None))) else "?"

print(json.dumps({f.name: plain(f.default) if f.default is not dataclasses.MISSING else "?"
                  for f in dataclasses.fields(AsyncEngineArgs)}))
"""


def test_the_catalogue_says_what_the_engine_itself_says(shared_namespace: str) -> None:
    fields: dict[str, Any] = run_in_runtime(shared_namespace, _FIELDS)
    catalogue = load_arguments("0.32.0")
    assert catalogue is not None
    assert set(catalogue.arguments) == set(fields)
    wrong = {
        name: (argument.default, fields[name])
        for name, argument in catalogue.arguments.items()
        # What is no plain value (a factory, an object of vLLM's) is compared with nothing.
        if argument.default_known and fields[name] != "?" and argument.default != fields[name]
    }
    assert wrong == {}
    compared = sum(a.default_known and fields[name] != "?" for name, a in catalogue.arguments.items())
    assert compared > 200, f"only {compared} defaults were compared"


def repository_of(spec: dict[str, Any]) -> dict[str, str]:
    """The rendered files, by their paths in the model's folder."""
    world = World(spec=spec).settle()
    assert world.condition("Accepted")[0] == "True", world.message("Accepted")
    (config_map,) = world.of_kind("ConfigMap")
    data: Any = config_map.body["data"]
    return {key if key == "config.pbtxt" else f"1/{key}": text for key, text in data.items()}


CPU_SCENARIOS = ["cpu", "cpu-every-field", "cpu-lora", "ngram"]


@pytest.mark.full
def test_every_rendered_repository_of_the_cpu_is_loaded_by_the_real_server(
    shared_namespace: str, tmp_path: Path
) -> None:
    for name, rank in (("sql", 8), ("tone", 16)):
        write_adapter(tmp_path / name, rank=rank, seed=rank)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    bind_folder(shared_namespace, "adapters-of-contract", tmp_path)
    cases = {name: repository_of(yaml.safe_load((SCENARIOS / f"{name}.in.yaml").read_text())) for name in CPU_SCENARIOS}
    claims = {"/adapters": "adapters-of-contract"}
    results = run_in_runtime(shared_namespace, LOADER, json.dumps(cases), 600, claims)
    assert {name: "text" in result for name, result in results.items()} == dict.fromkeys(CPU_SCENARIOS, True), results


@dataclass(frozen=True)
class Refusal:
    """What the server refuses, and what an LLMDeployment that asks for it is told beforehand."""

    server: str
    """Part of the server's words."""
    ours: str
    """Part of our words."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What a user would write; {} if the files of the model decide."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What stands in model.json by hand."""
    config: str = CONFIG_PBTXT
    expected: Mapping[str, Any] = field(default_factory=dict)
    """What the program that checks the files is told."""


def engine(**fields: Any) -> dict[str, Any]:
    return {**CPU_SPEC, "engine": fields}


def extra(**arguments: Any) -> dict[str, Any]:
    return engine(extraArgs=arguments)


GPU = {"model": CPU_SPEC["model"], "runtime": {"version": "26.08"}}
REFUSALS = {
    "removed": Refusal(
        "unexpected keyword argument 'swap_space'",
        "swap_space was removed in vLLM 0.18.0",
        extra(swap_space=4),
        {"swap_space": 4},
    ),
    "misspelt": Refusal(
        "unexpected keyword argument 'max_seqs'", "did you mean max_num_seqs?", extra(max_seqs=4), {"max_seqs": 4}
    ),
    "wrong-type": Refusal(
        "Input should be a valid integer", "seed of vLLM 0.32.0 takes", extra(seed="many"), {"seed": "many"}
    ),
    "no-choice": Refusal("Input should be", "takes one of", engine(kvCacheDtype="fp9"), {"kv_cache_dtype": "fp9"}),
    "word-for-auto": Refusal(
        "Input should be a valid integer", "or Auto", engine(maxModelLen="auto"), {"max_model_len": "auto"}
    ),
    "too-much-memory": Refusal(
        "less than or equal to 1",
        "spec.engine.gpuMemoryUtilization: takes at most 1, found 1.5",
        {**GPU, "engine": {"gpuMemoryUtilization": 1.5}},
        {"gpu_memory_utilization": 1.5},
    ),
    "lora-without-adapters": Refusal(
        "multi_lora.json", "spec.engine.extraArgs.enable_lora", extra(enable_lora=True), {"enable_lora": True}
    ),
    "too-long": Refusal(
        "is greater than the derived max_model_len",
        "spec.engine.maxModelLen 100000 is more than the 8192 tokens",
        arguments={"max_model_len": 100_000},
        expected={"max_model_len": 100_000},
    ),
    "heads": Refusal(
        "must be divisible by tensor parallel size",
        "spec.engine.tensorParallelSize 2 does not divide the model's 9 attention heads",
        arguments={"tensor_parallel_size": 2},
        expected={"tensor_parallel_size": 2},
    ),
    "platform": Refusal(
        "failed to poll", "there is no such field", {**CPU_SPEC, "platform": "vllm"}, config='platform: "vllm"\n'
    ),
    "batch-size": Refusal(
        "max_batch_size",
        "spec.engine.maxBatchSize: there is no such field",
        engine(maxBatchSize=1024),
        config=f"max_batch_size: 1024\n{CONFIG_PBTXT}",
    ),
    "decoupled": Refusal(
        "decoupled",
        "there is no such field",
        {**CPU_SPEC, "decoupled": "no"},
        config=f"model_transaction_policy {{ decoupled: false }}\n{CONFIG_PBTXT}",
    ),
    "backend-config": Refusal(
        "failed to poll",
        "there is no such field",
        {**CPU_SPEC, "backendConfig": {"vllm_gpu_memory_utilization": "0.9"}},
        config=f'backend_config {{ a: "b" }}\n{CONFIG_PBTXT}',
    ),
}
_CONFIG_JSON = 'import json, pathlib\nprint(json.dumps(json.loads(pathlib.Path("/weights/config.json").read_text())))\n'


@pytest.mark.full
def test_what_the_server_refuses_is_refused_before_there_is_a_server(shared_namespace: str) -> None:
    cases = {
        name: {
            "config.pbtxt": refusal.config,
            "1/model.json": json.dumps(
                {"model": "/weights", "max_model_len": 64, "enforce_eager": True, **refusal.arguments}
            ),
        }
        for name, refusal in REFUSALS.items()
    }
    results = run_in_runtime(shared_namespace, LOADER, json.dumps(cases), 900)
    told = {name: result.get("error", "it was loaded") for name, result in results.items()}
    assert {name: text for name, text in told.items() if REFUSALS[name].server not in text} == {}
    config = run_in_runtime(shared_namespace, _CONFIG_JSON)
    said = {name: our_words(refusal, config) for name, refusal in REFUSALS.items()}
    assert {name: text for name, text in said.items() if REFUSALS[name].ours not in text} == {}


def our_words(refusal: Refusal, config: dict[str, Any]) -> str:
    """What the operator, or the program that checks the files, says beforehand."""
    if refusal.spec:
        world = World(spec=dict(refusal.spec)).settle()
        assert world.condition("Accepted")[0] == "False", refusal
        return world.message("Accepted")
    files = {"config.json": json.dumps(config), "model.safetensors": "", "tokenizer.json": TOKENIZER}
    listed = Files({name: len(text) for name, text in files.items()}, lambda name: files[name].encode(), "in /weights")
    with pytest.raises(SourceFault) as caught:
        check_source(listed, Expectation(role=Role.MODEL, **refusal.expected))
    return str(caught.value)
