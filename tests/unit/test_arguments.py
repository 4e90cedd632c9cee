"""Engine arguments: the catalogue, what is refused, and what the refusal says."""

import ast
from typing import Any

import pytest

from support.simulate import CATALOGUE, World, allowing
from tools.engine_arguments.annotations import read_annotation
from tools.engine_arguments.reader import read_arguments, read_speculative_methods
from tools.engine_arguments.source import Source
from triton_vllm_operator.repository.argument_policy import TYPED_FIELDS, load_policy
from triton_vllm_operator.repository.arguments import JsonType, catalogued_versions, load_arguments

GPU_SPEC: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


def accepted(spec: dict[str, Any], **catalogue: bool) -> tuple[str, str, str]:
    world = World(spec={**GPU_SPEC, **spec}, catalogue=allowing(**catalogue)).settle()
    (condition,) = (c for c in world.status.conditions or () if c.type == "Accepted")
    return condition.status.value, condition.reason, condition.message


def catalogue_of(version: str) -> Any:
    catalogue = load_arguments(version)
    assert catalogue is not None
    return catalogue


def test_every_argument_of_every_version_is_classified_once() -> None:
    known = {name for version in catalogued_versions() for name in catalogue_of(version).arguments}
    policy = load_policy()
    parts = [set(policy.operator), *(group.arguments for group in policy.refused), set(policy.members), policy.allowed]
    assert set().union(*parts, TYPED_FIELDS, policy.files, policy.addresses) == known
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_every_runtime_of_the_catalogue_has_its_arguments() -> None:
    assert {entry.vllm for entry in CATALOGUE.entries} <= set(catalogued_versions())


def test_defaults_are_those_of_the_version() -> None:
    defaults = {v: catalogue_of(v).arguments["gpu_memory_utilization"].default for v in ("0.19.0", "0.22.1", "0.32.0")}
    assert defaults == {"0.19.0": 0.9, "0.22.1": 0.92, "0.32.0": 0.92}


REFUSED = [
    # what is unknown, with the nearest name or the successor
    ({"swap_space": 4}, "26.08", "swap_space was removed in vLLM 0.18.0, and nothing takes its place"),
    ({"cuda_graph_sizes": [1]}, "26.08", "removed in vLLM 0.13.0; write cudagraph_capture_sizes"),
    ({"max_seqs": 4}, "26.08", "did you mean max_num_seqs? It is the field spec.engine.maxNumSeqs"),
    ({"sead": 4}, "26.08", "vLLM 0.27.1 has no argument sead: did you mean seed?"),
    ({"zzz": 4}, "26.08", "vLLM 0.27.1 has no argument zzz"),
    ({"max_num_queued_reqs": 4}, "26.03", "came with vLLM 0.29.0: choose a spec.runtime"),
    # what is mistyped: vLLM would misread it
    ({"seed": "1"}, "26.08", "seed of vLLM 0.27.1 takes a whole number; found '1'"),
    ({"seed": True}, "26.08", "takes a whole number; found True"),
    ({"seed": 1.5}, "26.08", "takes a whole number; found 1.5"),
    ({"disable_cascade_attn": "false"}, "26.08", "takes true or false; found 'false'"),
    ({"max_logprobs": -2}, "26.08", "takes at least -1; found -2"),
    ({"logprobs_mode": "raw"}, "26.08", "takes one of raw_logits, raw_logprobs"),
    ({"limit_mm_per_prompt": []}, "26.08", "takes an object; found []"),
    # what has a field, is set by the operator, or is dangerous
    ({"max_num_seqs": 4}, "26.08", "write spec.engine.maxNumSeqs"),
    ({"model": "x"}, "26.08", "the weights are spec.model"),
    ({"data_parallel_size": 2}, "26.08", "how many devices or processes"),
    ({"distributed_executor_backend": "external_launcher"}, "26.08", "how many devices or processes"),
    ({"distributed_executor_backend": "mp"}, "26.08", "vLLM takes it by itself for several GPUs of one node"),
    ({"distributed_executor_backend": "ray"}, "26.08", "for which vLLM takes mp; leave it out"),
    ({"task": "generate"}, "26.08", "it is what is served; leave it out"),
    ({"task": "embed"}, "26.08", "serves text generation only"),
    ({"enable_lora": False}, "26.08", "leave it out"),
    ({"enable_auto_tool_choice": True}, "26.08", "an argument of vLLM's own server"),
    ({"api_key": "x"}, "26.08", "an argument of vLLM's own server"),
    ({"chat_template": "x"}, "26.08", "an argument of vLLM's own server"),
    # what names a repository, an address or another file, also where it is nested
    ({"tokenizer": "Qwen/Qwen2.5-7B-Instruct"}, "26.08", "write spec.model.tokenizer"),
    ({"tokenizer": "/etc/tokenizer"}, "26.08", "write spec.model.tokenizer"),
    ({"tokenizer": "/weights/../etc"}, "26.08", "write spec.model.tokenizer"),
    ({"generation_config": "acme/other"}, "26.08", "write auto, vllm, or a folder of the model"),
    ({"hf_config_path": "acme/other"}, "26.08", "write what differs into hf_overrides"),
    (
        {"hf_overrides": {"text_config": {"_name_or_path": "a/b"}}},
        "26.08",
        "its member text_config._name_or_path names",
    ),
    ({"hf_overrides": {"a": [{"b": "https://x/y"}]}}, "26.08", "its member a.0.b names 'https://x/y'"),
    ({"hf_overrides": {"a": "/etc/passwd"}}, "26.08", "it reads no file but those of the model"),
    ({"mm_processor_kwargs": {"x": "s3://b/c"}}, "26.08", "the engine fetches nothing from an address"),
    ({"hf_overrides": {"auto_map": {"AutoModel": "a/b--m.M"}}}, "26.08", "code and parts of a model"),
    # members of objects, by the version's own classes
    ({"compilation_config": {"level": 3}}, "26.08", "has no member level: did you mean mode?"),
    ({"compilation_config": {"cudagraph_copy_inputs": "yes"}}, "26.08", "takes true or false as its member"),
    ({"eplb_config": {"window_sise": 1}}, "26.08", "has no member window_sise: did you mean window_size?"),
    ({"attention_config": {"flash_attn_version": 9}}, "26.08", "takes one of 2, 3, 4 as its member flash_attn_version"),
    ({"worker_cls": "my.Worker"}, "26.08", "load code that is not vLLM's own"),
    ({"kv_events_config": {}}, "26.08", "opens a port"),
    ({"hf_token": "x"}, "26.08", "credential"),
    ({"allowed_local_media_path": "/"}, "26.08", "files of the container"),
    ({"compilation_config": {"backend": "my.backend"}}, "26.08", "its member backend is refused"),
    ({"compilation_config": '{"backend": "my.backend"}'}, "26.08", "write it as an object"),
    ({"model_loader_extra_config": {"s3_secret_access_key": "x"}}, "26.08", "s3_secret_access_key is refused"),
]


@pytest.mark.parametrize(("arguments", "runtime", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_an_argument_is_refused_in_a_sentence_that_names_it(
    arguments: dict[str, Any], runtime: str, words: str
) -> None:
    status, _, message = accepted({"engine": {"extraArgs": arguments}, "runtime": {"version": runtime}})
    assert status == "False"
    assert words in message
    assert message.startswith(f"spec.engine.extraArgs.{next(iter(arguments))}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 3, "disable_cascade_attn": True, "enable_log_requests": False},
        {"compilation_config": {"cudagraph_mode": "PIECEWISE"}, "hf_overrides": {"a": [1]}},
        {"model_loader_extra_config": {"enable_multithread_load": True, "num_threads": 8}},
        {"tokenizer": "/weights/tokenizer", "max_cudagraph_capture_size": None},
        {"generation_config": "vllm", "otlp_traces_endpoint": "grpc://collector:4317"},
        {
            "compilation_config": {
                "mode": 3,
                "cudagraph_capture_sizes": [1, 2],
                "pass_config": {"fuse_norm_quant": True},
            }
        },
        {"hf_overrides": {"rope_parameters": {"rope_type": "yarn"}, "a": "b/c"}},
    ],
    ids=str,
)
def test_other_arguments_are_passed_on(arguments: dict[str, Any]) -> None:
    assert accepted({"engine": {"extraArgs": arguments}})[:2] == ("True", "Valid")


@pytest.mark.parametrize(
    "arguments",
    [
        {"attention_backend": "flash_attn"},
        {"attention_backend": "auto"},
        {"attention_config": {"backend": "FLASHINFER"}},
        {"reasoning_parser": ""},
        {"load_format": "SafeTensors"},
        {"tokenizer_mode": "Auto"},
        {"tokenizer_mode": "slow"},
        {"config_format": "hf"},
    ],
    ids=str,
)
def test_what_the_tables_of_vllm_list_passes(arguments: dict[str, Any]) -> None:
    assert accepted({"engine": {"extraArgs": arguments}})[:2] == ("True", "Valid")


def test_deprecated_quantization_passes_when_it_is_allowed() -> None:
    engine = {"quantization": "fbgemm_fp8", "extraArgs": {"allow_deprecated_quantization": True}}
    assert accepted({"engine": engine})[:2] == ("True", "Valid")


TYPED = [
    ({"extraArgs": {"no_enable_prefix_caching": True}}, "26.08", "write spec.engine.enablePrefixCaching: false"),
    ({"extraArgs": {"--no-async-scheduling": True}}, "26.08", "vLLM's command line: write async_scheduling: false"),
    ({"extraArgs": {"tp": 2}}, "26.08", "short for tensor_parallel_size: write spec.engine.tensorParallelSize"),
    ({"extraArgs": {"min_tokens": 2}}, "26.08", "it belongs to a request"),
    ({"extraArgs": {"lora_modules": "a"}}, "26.08", "write spec.model.loraAdapters"),
    ({"apiKey": "x"}, "26.08", "spec.engine.apiKey: there is no such field: it is an argument of vLLM's own server"),
    ({"extraArgs": {"attention_backend": "XFORMERS"}}, "26.08", "takes one of FLASH_ATTN, "),
    ({"extraArgs": {"attention_config": {"backend": "nope"}}}, "26.08", "as its member backend"),
    ({"extraArgs": {"load_format": "gguf"}}, "26.08", "takes one of auto, hf, "),
    ({"extraArgs": {"tokenizer_mode": "custom"}}, "26.08", "tokenizer_mode of vLLM 0.27.1 takes one of"),
    ({"extraArgs": {"reasoning_parser": "deepseek-r1"}}, "26.08", "reasoning_parser of vLLM 0.27.1 takes one of"),
    ({"extraArgs": {"reasoning_parser": "DeepSeek_R1"}}, "26.08", "reasoning_parser of vLLM 0.27.1 takes one of"),
    ({"extraArgs": {"no_max_model_len": True}}, "26.08", "has no argument no_max_model_len"),
    ({"compilationConfig": {}}, "26.08", "there is no such field: write spec.engine.extraArgs.compilation_config"),
    ({"extraArgs": {"config_format": "a/b"}}, "26.08", "takes one of hf, mistral, auto"),
    (
        {"extraArgs": {"max_num_queued_reqs": 5}},
        "26.08",
        "choose a spec.runtime with it or a newer one, or leave it out",
    ),
    ({"extraArgs": {"hf_overrides": {"text_model_id": "a/b"}}}, "26.08", "its member text_model_id names 'a/b'"),
    ({"extraArgs": {"decode_context_parallel_size": 2}}, "26.08", "must divide spec.engine.tensorParallelSize (1)"),
    (
        {
            "tensorParallelSize": 4,
            "speculativeConfig": {"method": "ngram", "numSpeculativeTokens": 2, "draftTensorParallelSize": 2},
        },
        "26.08",
        "draftTensorParallelSize: vLLM takes 1 or tensorParallelSize (4)",
    ),
    ({"quantization": "int4"}, "26.08", "spec.engine.quantization: vLLM 0.27.1 has no method int4: choose one of"),
    ({"quantization": "aqw"}, "26.08", "spec.engine.quantization: vLLM 0.27.1 has no method aqw: did you mean awq?"),
    (
        {"quantization": "fbgemm_fp8"},
        "26.08",
        "calls fbgemm_fp8 deprecated and refuses it: write spec.engine.",
    ),
    ({"quantization": "fbgemm_fp8", "extraArgs": {"allow_deprecated_quantization": False}}, "26.08", "deprecated"),
    ({"kvCacheDtype": "fp9"}, "26.08", "spec.engine.kvCacheDtype: kv_cache_dtype of vLLM 0.27.1 takes one of auto"),
    ({"maxModelLen": "Auto"}, "26.01", "spec.engine.maxModelLen: max_model_len of vLLM 0.13.0 takes more than 0"),
    ({"maxModelLen": "Auto"}, "25.10", "spec.engine.maxModelLen: vLLM 0.10.2 cannot choose it"),
    ({"maxModelLen": "auto"}, "26.08", "spec.engine.maxModelLen: maxModelLen is a number of tokens"),
    ({"maxNumSeqs": 8, "maxNumBatchedTokens": 4}, "26.08", "maxNumBatchedTokens must be at least maxNumSeqs"),
    ({"tensorParallelSize": 8, "pipelineParallelSize": 4}, "26.08", "one model over several nodes is not supported"),
    ({"speculativeConfig": {"method": "ngram"}}, "26.08", "ngram needs numSpeculativeTokens"),
    ({"speculativeConfig": {"method": "custom_class"}}, "26.08", "custom_class names foreign code"),
    ({"maxLength": 5}, "26.08", "spec.engine.maxLength: there is no such field"),
]


OLD_GPUS = [
    ({"quantization": "fp8"}, {"nvidia.com/gpu.product": "Tesla-V100-SXM2-16GB"}, "7.5 and newer, and Tesla-V100"),
    (
        {"quantization": "modelopt"},
        {"nvidia.com/gpu.compute.major": "7", "nvidia.com/gpu.compute.minor": "5"},
        "8.0 and",
    ),
    ({"dtype": "bfloat16"}, {"nvidia.com/gpu.product": "Tesla-T4"}, "Tesla-T4 has 7.5"),
]


@pytest.mark.parametrize(("engine", "selector", "words"), OLD_GPUS, ids=str)
def test_what_the_named_gpus_are_too_old_for_is_refused(
    engine: dict[str, Any], selector: dict[str, str], words: str
) -> None:
    spec = {"engine": engine, "scheduling": {"nodeSelector": selector}}
    assert accepted(spec)[1] == "ArgumentInvalid"
    assert words in accepted(spec)[2]
    newer = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert accepted({"engine": engine, "scheduling": {"nodeSelector": newer}})[:2] == ("True", "Valid")


@pytest.mark.parametrize(("engine", "runtime", "words"), TYPED, ids=str)
def test_a_field_is_checked_too(engine: dict[str, Any], runtime: str, words: str) -> None:
    status, _, message = accepted({"engine": engine, "runtime": {"version": runtime}})
    assert status == "False"
    assert words in message


def test_warn_lets_a_patched_build_have_its_own_arguments_but_nothing_dangerous() -> None:
    runtime = {"version": "26.08", "argumentCheck": "Warn"}
    status, reason, message = accepted({"runtime": runtime, "engine": {"extraArgs": {"nv_fast": 1}}})
    assert (status, reason) == ("True", "ArgumentsUnchecked")
    assert "vLLM 0.27.1 has no argument nv_fast; spec.runtime.argumentCheck lets it pass" in message
    assert accepted({"runtime": runtime, "engine": {"extraArgs": {"worker_cls": "x"}}})[1] == "ArgumentForbidden"


def test_an_image_of_your_own_is_the_administrators_to_allow() -> None:
    runtime = {"image": "registry/triton:mine", "vllmVersion": "0.27.1"}
    assert accepted({"runtime": runtime})[1] == "ForbiddenByAdministrator"
    assert accepted({"runtime": runtime}, custom_images=True)[:2] == ("True", "Valid")
    unknown = accepted({"runtime": {**runtime, "vllmVersion": "9.9.9"}}, custom_images=True)
    assert unknown[:2] == ("True", "ArgumentsUnchecked")
    assert "those of vLLM 9.9.9 are not catalogued" in unknown[2]
    mistyped = {"runtime": runtime, "engine": {"extraArgs": {"sead": 1}}}
    assert accepted(mistyped, custom_images=True)[1] == "ArgumentInvalid"


def test_code_beside_the_weights_is_the_administrators_to_forbid() -> None:
    engine = {"engine": {"trustRemoteCode": True}}
    assert accepted(engine)[:2] == ("True", "Valid")
    assert accepted(engine, trust_remote_code=False)[1] == "ForbiddenByAdministrator"


@pytest.mark.parametrize(
    ("method", "runtime", "said"),
    [
        ("ngrams", "26.08", "vLLM 0.27.1 has no method ngrams: did you mean ngram?"),
        ("zzz", "26.08", "vLLM 0.27.1 has no method zzz: choose one of "),
    ],
)
def test_a_method_of_speculative_decoding_that_the_version_lacks_is_refused(
    method: str, runtime: str, said: str
) -> None:
    engine = {"speculativeConfig": {"method": method, "numSpeculativeTokens": 2}}
    status, reason, message = accepted({"engine": engine, "runtime": {"version": runtime}})
    assert (status, reason) == ("False", "ArgumentInvalid")
    assert message.startswith(f"spec.engine.speculativeConfig.method: {said}")
    warned = accepted({"engine": engine, "runtime": {"version": runtime, "argumentCheck": "Warn"}})
    assert warned[:2] == ("True", "ArgumentsUnchecked")


def test_every_version_says_its_methods_of_speculative_decoding() -> None:
    for version in catalogued_versions():
        assert {"ngram", "eagle"} <= set(catalogue_of(version).speculative_methods), version


def test_a_changed_argument_check_restarts_nothing() -> None:
    world = World(spec={**GPU_SPEC, "runtime": {"version": "26.08"}}).settle()
    world.edit(runtime={"version": "26.08", "argumentCheck": "Warn"})
    assert world.decide().writes == ()


# The tool that reads vLLM's source.

MODULES = {
    "vllm/engine/arg_utils.py": """
from typing import TYPE_CHECKING
from vllm.config import CacheConfig, Mode
from vllm.config.speculative import SpeculativeConfig
if TYPE_CHECKING:
    from vllm.kinds import Kind
else:
    Kind = Any
class EngineArgs:
    plain: int = 3
    text: str | None = None
    kind: Kind = "a"
    utilization: float = CacheConfig.utilization
    made: dict[str, int] = get_field(CacheConfig, "made")
    config: CacheConfig = get_field(CacheConfig, "unreadable")
    mode: Mode | str = "x"
    computed: bool = not CacheConfig.flag
class AsyncEngineArgs(EngineArgs):
    last: bool = False
""",
    "vllm/config/__init__.py": """
from .cache import CacheConfig
Mode = Literal["x", "y"]
""",
    "vllm/config/cache.py": """
class CacheConfig:
    utilization: float = Field(default=0.9, gt=0, le=1)
    made: dict[str, int] = Field(default_factory=dict)
    unreadable: int = Field(default_factory=compute)
    flag: bool = True
""",
    "vllm/config/speculative.py": """
Mtp = Literal["mtp", "old_mtp"]
Methods = Literal["ngram", Mtp]
class SpeculativeConfig:
    method: Methods | None = None
""",
    "vllm/kinds.py": "from vllm.words import WORDS\nKind = Literal['a', WORDS]\n",
    "vllm/words.py": "WORDS = Literal['b', 'c']\n",
}


def test_the_tool_reads_types_choices_bounds_and_defaults() -> None:
    read = read_arguments(Source(MODULES.get))
    dumped = {name: argument.model_dump(mode="json", exclude_defaults=True) for name, argument in read.items()}
    assert dumped == {
        "plain": {"types": ["int"], "default": 3},
        "text": {"types": ["str", "null"]},
        "kind": {"choices": ["a", "b", "c"], "default": "a"},
        "utilization": {"types": ["float"], "gt": 0, "le": 1, "default": 0.9},
        "made": {"types": ["object"], "default": {}},
        "config": {"default_known": False},
        "mode": {"types": ["str"], "choices": ["x", "y"], "default": "x"},
        "computed": {"types": ["bool"], "default_known": False},
        "last": {"types": ["bool"], "default": False},
    }


@pytest.mark.parametrize(
    ("annotation", "methods"),
    [("Methods | None", ("ngram", "mtp", "old_mtp")), ("str | Methods", ()), ("Unknown", ()), ("str", ())],
)
def test_the_tool_reads_the_methods_of_speculative_decoding(annotation: str, methods: tuple[str, ...]) -> None:
    path = "vllm/config/speculative.py"
    modules = {**MODULES, path: MODULES[path].replace("Methods | None", annotation)}
    assert read_speculative_methods(Source(modules.get)) == methods


def test_what_the_tool_cannot_read_is_never_used_to_refuse() -> None:
    unreadable = read_arguments(Source(MODULES.get))["config"]
    assert unreadable.misfit(["anything"]) == ""


@pytest.mark.parametrize(
    ("annotation", "types", "resolved"),
    [
        ("Optional[Union[int, str]]", {"int", "str", "null"}, True),
        ("'dict[str, Any] | None'", {"object", "null"}, True),
        ("str | type[object]", {"str"}, True),
        ("Annotated[int, 1]", {"int"}, True),
        ("Nowhere | int", {"int"}, False),
        ("Any", set(), False),
    ],
)
def test_annotations(annotation: str, types: set[str], resolved: bool) -> None:
    allowed = read_annotation(Source(MODULES.get), "vllm.words", ast.parse(annotation, mode="eval").body)
    assert allowed.types == set(map(JsonType, types))
    assert allowed.resolved is resolved


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("enable-lora", "it is enable_lora: the operator sets it"),
        ("enableLora", "it is enable_lora: the operator sets it"),
        ("--max-num-seqs", "it is max_num_seqs: it has a field of its own: write spec.engine.maxNumSeqs"),
        ("temperature", "it belongs to a request"),
        ("maxTokens", "it is max_tokens: it belongs to a request"),
        ("toolCallParser", "it is tool_call_parser: it is an argument of vLLM's own server"),
        ("swap-blocks", "has no argument swap-blocks"),
        ("disable-cascade-attn", "vLLM's arguments are named as in Python: write disable_cascade_attn"),
    ],
)
def test_a_name_in_another_spelling_is_said_in_vllms(name: str, said: str) -> None:
    assert said in accepted({"engine": {"extraArgs": {name: True}}})[2]


DRAFT = {"image": {"reference": "registry/draft:1"}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "eagle3"}, "the method eagle3 needs model"),
        ({"method": "draft_model"}, "the method draft_model needs model and numSpeculativeTokens"),
        ({"method": "medusa", "numSpeculativeTokens": 3}, "the method medusa needs model"),
        ({"method": "mtp"}, "the method mtp needs numSpeculativeTokens"),
        ({"method": "deepseek_mtp"}, "the method deepseek_mtp needs numSpeculativeTokens"),
        (
            {"method": "eagle3", "model": {"image": {"reference": "a:1"}}},
            "the method eagle3 needs numSpeculativeTokens",
        ),
        ({"model": {"image": {"reference": "a:1"}}}, "a draft model needs numSpeculativeTokens"),
    ],
)
def test_a_method_that_guesses_by_a_model_needs_one(given: dict[str, Any], said: str) -> None:
    assert said in accepted({"engine": {"speculativeConfig": given}})[2]


def test_faults_of_the_schema_hide_no_others() -> None:
    spec = {
        "replicas": -1,
        "engine": {"extraArgs": {"api_key": "x"}, "maxLen": 5},
        "env": [{"name": "LD_X", "value": ""}],
    }
    message = accepted(spec)[2]
    assert all(part in message for part in ("spec.replicas", "maxLen", "api_key", "spec.env[LD_X]")), message
