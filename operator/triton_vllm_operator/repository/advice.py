"""What is allowed, and yet worth a word before it is applied. Pure."""

from collections.abc import Iterator

from triton_vllm_operator.api.engine import SchedulingPolicy
from triton_vllm_operator.api.hub import DEFAULT_REVISION
from triton_vllm_operator.api.hub_names import is_commit
from triton_vllm_operator.api.runtime import Backend
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.repository.catalogue import RuntimeEntry
from triton_vllm_operator.repository.environment import load_environment_policy

# https://github.com/triton-inference-server/server/issues/8651
_TENSOR_PARALLEL_SEGFAULT = "26.01"


def find_advice(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> tuple[str, ...]:
    """One sentence each; empty if nothing is worth saying."""
    return (
        *_memory(spec),
        *_sampling(spec),
        *_engine(spec, runtime),
        *_hub(spec),
        *_updates(spec, runtime),
        *_permissions(spec),
    )


def _memory(spec: LLMDeploymentSpec) -> Iterator[str]:
    engine = spec.engine
    if engine.kv_cache_memory_bytes is not None and engine.gpu_memory_utilization is not None:
        yield (
            "spec.engine.kvCacheMemoryBytes sets the KV cache: gpuMemoryUtilization then only decides how much "
            "memory must be free when the engine starts"
        )
    if engine.max_model_len is None:
        yield (
            "spec.engine.maxModelLen is not set: the engine takes the longest sequence that the model knows, and does "
            "not start if one of that length does not fit the memory; write a number, or Auto"
        )


def _sampling(spec: LLMDeploymentSpec) -> Iterator[str]:
    if "override_generation_config" in (spec.engine.extra_args or {}):
        yield (
            "spec.engine.extraArgs.override_generation_config sets no defaults for sampling behind Triton: its vLLM "
            "backend reads sampling parameters from the request alone, so send them with each request"
        )


def _engine(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> Iterator[str]:
    engine = spec.engine
    if engine.enforce_eager and spec.gpu_resource is not None:
        yield "spec.engine.enforceEager: without CUDA graphs each token takes longer; the start is shorter"
    if engine.scheduling_policy is SchedulingPolicy.PRIORITY:
        yield (
            "spec.engine.schedulingPolicy priority: no request behind Triton has a priority of its own, so that all "
            "are served in the order in which they came; fcfs says what happens"
        )
    if spec.runtime.backend is Backend.PROJECT and spec.gpu_resource is not None:
        yield "spec.runtime.backend Project: its image has not been tried on a GPU yet; NVIDIA's is what NVIDIA tests"
    if engine.gpus > 1 and runtime.version == _TENSOR_PARALLEL_SEGFAULT:
        yield (
            f"spec.runtime.version {runtime.version}: Triton was seen to crash there with several GPUs "
            "(triton-inference-server/server issue 8651); take a later one"
        )


def _hub(spec: LLMDeploymentSpec) -> Iterator[str]:
    for field, source in spec.sources:
        if (hub := source.hugging_face) is None:
            continue
        if hub.claim_name is None:
            yield (
                f"{field}.huggingFace.cache: without a persistentVolumeClaim every new pod fetches the weights again, "
                "and holds its GPUs while it does"
            )
        if not is_commit(hub.revision or ""):
            yield (
                f"{field}.huggingFace.revision {hub.revision or DEFAULT_REVISION!r} can move: it is resolved to a "
                "commit when it is first written; a full commit is the same everywhere"
            )
        if hub.mirror and hub.token_secret_ref:
            yield (
                f"{field}.huggingFace is refused unless the chart's allow.tokenEndpoints names {hub.mirror}, since a "
                "token is sent there"
            )


def _updates(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> Iterator[str]:
    cache = spec.cache.persistent_volume_claim.claim_name if spec.cache is not None else None
    claims = {source.persistent_volume_claim.claim_name for _, source in spec.sources if source.persistent_volume_claim}
    fetched = {source.hugging_face.claim_name for _, source in spec.sources if source.hugging_face is not None}
    if cache is not None and cache in claims | fetched:
        yield (
            f"spec.cache: the claim {cache} holds a model too, and the pod that serves may write to it; what lies in a "
            "cache is run: give it a claim of its own"
        )
    waits = spec.rollout.wait_for_idle_seconds if spec.rollout is not None else 0
    if waits and spec.replicas != 1:
        yield "spec.rollout.waitForIdleSeconds has no effect: with several replicas others answer when a pod goes"
    elif waits and spec.gpu_resource is not None and spec.runtime.backend is not Backend.PROJECT:
        yield f"spec.rollout.waitForIdleSeconds has no effect: NVIDIA's backend ({runtime.version}) tells no requests"


def _permissions(spec: LLMDeploymentSpec) -> Iterator[str]:
    if spec.engine.trust_remote_code:
        yield (
            "spec.engine.trustRemoteCode runs Python code that lies beside the weights, with the pod's rights; "
            "it is refused where the chart's allow.trustRemoteCode is false"
        )
    if spec.runtime.image is not None:
        yield "spec.runtime.image is refused unless the chart's allow.customImages is true"
    if spec.service_account_name is not None:
        account = spec.service_account_name
        yield f"spec.serviceAccountName is refused unless the chart's allow.serviceAccounts names {account}"
    policy = load_environment_policy()
    if unknown := [variable.name for variable in spec.env or () if not policy.allows(variable.name)]:
        yield f"spec.env {', '.join(unknown)}: refused unless the chart's allow.unknownEnvironment is true"
