"""Environment variables of the serving container: which pass, which are refused, and what the refusal says."""

from typing import Any

import pytest

from support.simulate import World, allowing
from triton_vllm_operator.repository.arguments import catalogued_versions, load_arguments
from triton_vllm_operator.repository.environment import load_environment_policy

GPU_SPEC: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


def accepted(name: str, value: str = "1", runtime: dict[str, Any] | None = None, **allow: Any) -> tuple[str, str, str]:
    spec = {**GPU_SPEC, "env": [{"name": name, "value": value}]}
    world = World(spec={**spec, "runtime": runtime or GPU_SPEC["runtime"]}, catalogue=allowing(**allow)).settle()
    (condition,) = (c for c in world.status.conditions or () if c.type == "Accepted")
    return condition.status.value, condition.reason, condition.message


def test_every_variable_of_every_version_is_refused_or_allowed() -> None:
    policy = load_environment_policy()
    catalogues = [load_arguments(version) for version in catalogued_versions()]
    known = {name for catalogue in catalogues if catalogue is not None for name in catalogue.environment}
    assert len(known) > 400
    assert sorted(name for name in known if not policy.refusal(name) and not policy.allows(name)) == []


def test_nothing_is_allowed_by_name_that_a_rule_refuses_or_that_no_version_reads() -> None:
    policy = load_environment_policy()
    own = [name for name in policy.allowed if name.startswith("VLLM_")]
    catalogues = [load_arguments(version) for version in catalogued_versions()]
    known = {name for catalogue in catalogues if catalogue is not None for name in catalogue.environment}
    assert [name for name in own if policy.refusal(name) or name not in known] == []


NEEDED = [
    *("NCCL_P2P_DISABLE", "NCCL_SOCKET_IFNAME", "NCCL_DEBUG", "OMP_NUM_THREADS", "TZ", "TOKENIZERS_PARALLELISM"),
    *("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_LOGGING_LEVEL", "VLLM_USE_DEEP_GEMM", "PYTORCH_CUDA_ALLOC_CONF"),
    *("GLOO_SOCKET_IFNAME", "FI_PROVIDER", "UCX_TLS", "LC_ALL", "CUDA_MODULE_LOADING"),
    *("NVIDIA_TF32_OVERRIDE", "NCCL_TOPO_FILE", "PYTHONHASHSEED", "PYTHONUNBUFFERED"),
    *("PYTHONFAULTHANDLER", "PYTHONDONTWRITEBYTECODE"),
]


@pytest.mark.parametrize("name", NEEDED)
def test_what_people_need_passes(name: str) -> None:
    assert accepted(name)[:2] == ("True", "Valid")


FORBIDDEN = [
    ("VLLM_USE_V1", "every version here runs the V1 engine"),
    ("AWS_REGION", "for a cloud identity write spec.serviceAccountName"),
    ("PYTHONWARNINGS", "load code or programs"),
    ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "load code or programs"),
    ("TRANSFORMERS_CACHE", "caches and temporary files"),
    ("TRITON_DUMP_DIR", "for debugging"),
    ("LD_PRELOAD", "load code or programs"),
    ("PYTHONHOME", "load code or programs"),
    ("TRITON_CACHE_MANAGER", "load code or programs"),
    ("FLASHINFER_NVCC", "load code or programs"),
    ("VLLM_NIC_SELECTION_VARS", "load code or programs"),
    ("UCX_STATS_DEST", "for debugging"),
    ("TORCH_NCCL_DEBUG_INFO_TEMP_FILE", "for debugging"),
    ("HF_HUB_ENABLE_HF_TRANSFER", "nothing is fetched"),
    ("PYTHONPATH", "load code or programs"),
    ("PATH", "load code or programs"),
    ("VLLM_PLUGINS", "load code or programs"),
    ("CUDA_INJECTION64_PATH", "load code or programs"),
    ("NCCL_NET_PLUGIN", "load code or programs"),
    ("RDMAV_DRIVERS", "load code or programs"),
    ("IBV_DRIVERS", "load code or programs"),
    ("CUDA_PATH", "load code or programs"),
    ("NVCC_PREPEND_FLAGS", "load code or programs"),
    ("DG_JIT_NVCC_COMPILER", "load code or programs"),
    ("OPENSSL_CONF", "load code or programs"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a credential"),
    ("NCCL_COMM_ID", "names a peer"),
    ("NCCL_RAS_ADDR", "names a peer"),
    ("OMP_TOOL_LIBRARIES", "load code or programs"),
    ("VLLM_USE_MODELSCOPE", "another model"),
    ("VLLM_LORA_RESOLVER_CACHE_DIR", "another model"),
    ("VLLM_PORT", "opens a port"),
    ("VLLM_NIXL_SIDE_CHANNEL_PORT", "opens a port"),
    ("VLLM_SERVER_DEV_MODE", "for debugging"),
    ("VLLM_TORCH_PROFILER_DIR", "for debugging"),
    ("VLLM_API_KEY", "a credential"),
    ("HF_TOKEN", "a credential"),
    ("AWS_SECRET_ACCESS_KEY", "a credential"),
    ("CUDA_VISIBLE_DEVICES", "devices and processes"),
    ("NVIDIA_VISIBLE_DEVICES", "devices and processes"),
    ("NVIDIA_DRIVER_CAPABILITIES", "devices and processes"),
    ("NCCL_CONF_FILE", "load code or programs"),
    ("NCCL_TOPO_DUMP_FILE", "/tmp"),
    ("https_proxy", "fetch.proxy"),
    ("NO_PROXY", "fetch.proxy"),
    ("HF_HUB_OFFLINE", "the operator sets it"),
    ("VLLM_CPU_KVCACHE_SPACE", "write spec.accelerator.cpu.kvCacheSize"),
    ("HOME", "the operator sets it"),
    ("VLLM_CACHE_ROOT", "/tmp"),
    ("VLLM_ROCM_USE_AITER", "hardware"),
]


@pytest.mark.parametrize(("name", "words"), FORBIDDEN)
def test_what_does_harm_is_refused_whatever_is_allowed(name: str, words: str) -> None:
    for allow in ({}, {"unknown_environment": True}):
        status, reason, message = accepted(name, **allow)
        assert (status, reason) == ("False", "EnvironmentForbidden")
        assert message.startswith(f"spec.env[{name}]: ")
        assert words in message


def test_what_is_unknown_is_the_administrators_to_allow() -> None:
    assert accepted("MY_SETTING")[:2] == ("False", "EnvironmentForbidden")
    assert "allow.unknownEnvironment" in accepted("MY_SETTING")[2]
    assert accepted("MY_SETTING", unknown_environment=True)[:2] == ("True", "Valid")


INVALID = [
    ("VLLM_USE_DEEP_GEMM", "true", "vLLM 0.27.1 takes 0 or 1; found 'true'"),
    ("VLLM_ENGINE_READY_TIMEOUT_S", "10m", "takes a whole number; found '10m'"),
    ("VLLM_ALL2ALL_BACKEND", "pplx", "write spec.engine.extraArgs.all2all_backend"),
    ("VLLM_FLASH_ATTN_VERSION", "3", "attention_config: {flash_attn_version: 3}"),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "removed in vLLM 0.15.0; write spec.engine.extraArgs.attention_backend"),
    ("VLLM_USE_DEEP_GEM", "1", "vLLM 0.27.1 reads no such variable: did you mean VLLM_USE_DEEP_GEMM?"),
    ("VLLM_WORKER_MULTIPROC_METHOD", "threads", "vLLM 0.27.1 takes one of spawn, fork; found 'threads'"),
]


@pytest.mark.parametrize(("name", "value", "words"), INVALID)
def test_a_variable_of_vllm_is_held_against_the_version(name: str, value: str, words: str) -> None:
    status, reason, message = accepted(name, value)
    assert (status, reason) == ("False", "EnvironmentInvalid")
    assert words in message
    patched = {"version": "26.08", "argumentCheck": "Warn"}
    assert accepted(name, value, runtime=patched)[0] == "True"


def test_an_older_version_takes_what_it_knows() -> None:
    assert accepted("VLLM_ATTENTION_BACKEND", "FLASHINFER", runtime={"version": "25.12"})[:2] == ("True", "Valid")
