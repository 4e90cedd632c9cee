"""Failures get a name from what the engine said as it ended."""
# ruff: noqa: E501 (texts stand as they were written)

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from support.failing_texts import MORE_TEXTS
from tools.reason_pages import SAID
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.health.failures.pods import find_problem
from triton_vllm_operator.health.failures.signatures import load_signatures, name_failure
from triton_vllm_operator.kube.pod import Ended, Pod

ENDS = Path(__file__).parents[1] / "fixtures" / "ends"
"""Ends of real logs, of the facts that this project started from (engine-logs)."""

LOGS = [
    (
        "h200-len",
        "MaxModelLenOverKv",
        "one sequence of 131072 tokens takes 16.0 GiB of KV cache, and 1.97 GiB are left",
    ),
    ("h200-oom", "CudaOutOfMemory", "GPU 0 of 139.80 GiB had 699.56 MiB free, and the engine asked for 896.00 MiB"),
    ("t2-f-arg", "ArgumentUnknown", "this version's engine has no argument gpu_memory_utilisation"),
    ("t2-f-badconfig", "ConfigUnreadable", "/weights/badconfig/config.json is no JSON"),
    ("t2-f-dtype-awq", "DtypeNotSupported", "the method awq computes in torch.float16, and not in torch.bfloat16"),
    ("t2-f-lfs", "ModelFilesDamaged", "a pointer of Git LFS lies in its place"),
    ("t2-f-missing", "CheckpointMismatch", "the files lack weights that the model has, as model.layers.3."),
    ("t2-f-nccl", "NcclFailed", "could not talk to each other (invalid usage"),
    ("t2-f-notok", "NoTokenizer", "there is no tokenizer"),
    ("t2-f-noweights", "NoWeights", "there are no weights in /weights/noweights"),
    ("t2-f-quant", "QuantizationMismatch", "the engine is told to read gptq"),
    ("t2-f-remote", "RemoteCodeNeeded", "the model brings code of its own"),
    ("t2-f-trunc", "ModelFilesDamaged", "a file of weights is cut off"),
    ("t2-f-type", "RuntimeTooOld", "the version knows no model of the type llama9"),
    ("t2-f-world", "TooFewGpus", "the engine wants 4 GPUs, and its container has 2"),
    ("t2-triton-tp2-f-len", "MaxModelLenOverKv", "one sequence of 131072 tokens takes 2.0 GiB"),
]

# As vLLM's sources of 0.19 to 0.33 write them, and issues show them; the source stands in signatures.yaml.
TEXTS = [
    (
        "The decoder prompt: max seq len (32768) is larger than the maximum number of tokens that can be stored in KV "
        "cache (16144)",
        "MaxModelLenOverKv",
        "the cache holds 16144 tokens, and one sequence may have 32768",
    ),
    (
        "ValueError: No available memory for the cache blocks. Try increasing",
        "NoKvMemory",
        "nothing of the GPU's share",
    ),
    (
        "CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering",
        "TooManySequences",
        "the sampler's pass over 1024 sequences",
    ),
    (
        "ValueError: Free memory on device cuda:0 (21.53/79.18 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 71.26 GiB). Decrease GPU memory utilization",
        "GpuMemoryTaken",
        "the engine asks for 71.26 GiB of the GPU's 79.18 GiB, and 21.53 GiB were free when it started",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has a total capacty of 23.69 "
        "GiB of which 3.09 GiB is free. Including",
        "CudaOutOfMemory",
        "GPU 0 of 23.69 GiB had 3.09 GiB free, and the engine asked for 3.50 GiB",
    ),
    ("OSError: You are trying to access a gated repo.", "ModelGated", "accepted its terms"),
    (
        "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url",
        "HubRateLimited",
        "no more requests",
    ),
    ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened", "HubUnreachable", "could not reach"),
    ("Error while deserializing header: HeaderTooLarge", "ModelFilesDamaged", "Git LFS"),
    (
        "KeyError: 'layers.0.mlp.experts.w2_weight_scale'",
        "CheckpointMismatch",
        "w2_weight_scale, which the model has not",
    ),
    (
        "Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures:",
        "UnsupportedArchitecture",
        "the version loads no FooForCausalLM",
    ),
    ("ValueError: FooForCausalLM has no vLLM implementation and", "UnsupportedArchitecture", "loads no FooForCausalLM"),
    (
        "The input size is not aligned with the quantized weight shape. This can be caused by too large tensor",
        "QuantGroupAgainstTp",
        "the input side of a quantised layer",
    ),
    (
        "Total number of attention heads (14) must be divisible by tensor parallel size (4).",
        "HeadsAgainstTp",
        "4 ranks cannot share out 14 attention heads",
    ),
    (
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute "
        "capability 7.5. You can use float16",
        "GpuTooOldForDtype",
        "bfloat16 needs compute capability 8.0, and Tesla T4 has 7.5",
    ),
    (
        "The quantization method fp8 is not supported for the current GPU. Minimum capability: 80. Current "
        "capability: 75.",
        "GpuTooOldForQuantization",
        "fp8 needs compute capability 80, and this GPU has 75",
    ),
    ("LoRA rank 64 is greater than max_lora_rank 16.", "LoraRank", "an adapter has rank 64, and there is room for 16"),
    ("no kernel image is available for execution on the device", "ImageLacksGpuArch", "no kernels for this GPU"),
    (
        "Error 803: system has unsupported display driver / cuda driver combination",
        "DriverMismatch",
        "do not go together",
    ),
    ("The NVIDIA driver on your system is too old (found version 12020).", "DriverTooOld", "driver 12020 is too old"),
    ("CUDA driver version is insufficient for CUDA runtime version", "DriverTooOld", "too old for the image"),
    ("Failed to initialize NVML: Unknown Error", "GpuLostInContainer", "lost its GPU"),
    ("RuntimeError: Failed to infer device type, please set", "NoGpuInContainer", "sees no GPU"),
    ("CUDA error: uncorrectable ECC error encountered", "GpuFaulty", "cannot correct"),
    ("CUDA error: an illegal memory access was encountered", "GpuFault", "an illegal memory access"),
    ('Unable to initialize shared memory key "triton_python_backend_shm"', "SharedMemoryTooSmall", "/dev/shm"),
    ("RuntimeError: The server socket has failed to listen: EADDRINUSE", "PortTaken", "is taken"),
    ("VLLM_PORT 'tcp://10.96.1.1:80' appears to be a URI.", "ServiceEnvCollision", "sets VLLM_PORT"),
    ("KeyError: 'getpwuid(): uid not found: 1000'", "UserWithoutName", "has no name"),
    ("PermissionError: [Errno 13] Permission denied: '/.triton'", "NoWritableHome", "may not write /.triton"),
    ("RuntimeError: Could not find nvcc and default cuda_home", "NoCompilerInImage", "has no compiler"),
    ("Cannot re-initialize CUDA in forked subprocess", "ForkedCuda", "was forked"),
    ("RuntimeError: vLLM failed to get the hash of the compiled graph", "CompileCacheDamaged", "is damaged"),
    ("TimeoutError: RPC call to execute_model timed out.", "EngineHung", "longer than it may (execute_model)"),
    ("Stub process 'llama_0_0' is not healthy.", "StubDead", "ended (llama_0_0)"),
    ("Stub process 'Qwen2.5-7B_0_0' is not healthy.", "StubDead", "ended (Qwen2.5-7B_0_0)"),
    (
        "no thread of stub process Qwen2.5-7B_0_0 ran for a second while it loaded the model, and Triton gave it up\n"
        "Stub process 'Qwen2.5-7B_0_0' is not healthy.",
        "StubDead",
        "had no processor for a second",
    ),
    ("Worker proc VllmWorker-1 died unexpectedly, shutting down executor.", "EngineDead", "(Worker proc VllmWorker-1)"),
    ("EngineCore encountered an issue. See stack trace (above) for the root cause.", "EngineDead", "the engine died"),
]


@pytest.mark.parametrize(("log", "reason", "words"), LOGS, ids=[log for log, _, _ in LOGS])
def test_the_end_of_a_real_log_is_named(log: str, reason: str, words: str) -> None:
    named = name_failure((ENDS / f"{log}.txt").read_text())
    assert named is not None
    assert (named.reason, words in named.says) == (reason, True), named.says


@pytest.mark.parametrize(("text", "reason", "words"), [*TEXTS, *MORE_TEXTS])
def test_a_text_is_named(text: str, reason: str, words: str) -> None:
    named = name_failure(text)
    assert named is not None
    assert (named.reason, words in named.says) == (reason, True), named.says


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
        "Exception: WorkerProc initialization failed due to an exception in a background process.",
        "error: creating server: Internal - failed to load all models",
        "INFO non-default args: {'trust_remote_code': True, 'max_model_len': 4096}",
        "WARNING No available shared memory broadcast block found in 60 seconds.",
        "ValueError: something that nobody has seen before",
    ],
)
def test_what_only_says_that_something_failed_names_nothing(text: str) -> None:
    assert name_failure(text) is None


def test_every_signature_is_shown_by_a_text() -> None:
    texts = [
        *(text for text, _, _ in (*TEXTS, *MORE_TEXTS)),
        *((ENDS / f"{log}.txt").read_text() for log, _, _ in LOGS),
    ]
    assert [each.match.pattern for each in load_signatures() if not any(map(each.match.search, texts))] == []


def test_fields_that_are_named_exist() -> None:
    told = " ".join(f"{each.says} {each.do}" for each in load_signatures()) + SAID.read_text()
    for path in set(re.findall(r"\bspec((?:\.[a-z]\w*)+)", told)):
        model: object = LLMDeploymentSpec
        for name in path.split(".")[1:]:
            if not _is_model(model):
                # What a map holds is its user's.
                break
            assert isinstance(model, type)
            assert issubclass(model, BaseModel)
            fields = {field.alias or key: field for key, field in model.model_fields.items()}
            assert name in fields, path
            model = next((each for each in _types(fields[name].annotation) if _is_model(each)), None)


def _types(annotation: object) -> list[object]:
    return [annotation, *(inner for part in get_args(annotation) for inner in _types(part))]


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_what_is_told_of_a_text_is_bounded_and_printable() -> None:
    named = name_failure(f"Cannot find any model weights with `/w{'x' * 5000}`")
    assert named is not None
    assert len(named.says) < 200
    named = name_failure("EngineArgs.__init__() got an unexpected keyword argument 'a\x1bb'")
    assert named is None


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        # What was said long before the end is of something else.
        ("LoRA rank 64 is greater than max_lora_rank 16.\nCUDA error: an illegal memory access was encountered", "GpuFault"),
        ("429 Client Error: Too Many Requests\nValueError: No available memory for the cache blocks.", "NoKvMemory"),
        # What follows from a cause: another rank is gone, the engine is dead.
        ("ValueError: No available memory for the cache blocks.\nNCCL error: remote process exited", "NoKvMemory"),
        ("NCCL error: invalid usage\nWorker proc VllmWorker-0 died unexpectedly", "NcclFailed"),
        ("Error 803: system has unsupported display driver / cuda driver combination\nFailed to infer device type", "DriverMismatch"),
        ("KeyError: 'getpwuid(): uid not found: 1000'\nModel architectures ['LlamaForCausalLM'] failed to be inspected.", "UserWithoutName"),
    ],
)  # fmt: skip
def test_of_several_texts_the_last_cause_is_the_name(log: str, reason: str) -> None:
    named = name_failure(log)
    assert named is not None
    assert named.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: Model architectures ['LlamaForCausalLM'] failed to be inspected. Please check the logs",
        "TypeError: FlashAttentionImpl.__init__() got an unexpected keyword argument 'layer_idx'",
        "TypeError: flash_attn_varlen_func() got an unexpected keyword argument 'num_splits'",
    ],
)
def test_what_a_new_start_may_mend_is_not_said_to_be_in_vain(text: str) -> None:
    assert name_failure(text) is None


def crashed(message: str, reason: str = "Error") -> Pod:
    ended = Ended(exit_code=1, reason=reason, message=message, finished_at="")
    return Pod(name="llama-0", uid="u", revision="r", phase="Running", ended=ended)


def test_a_crashed_pod_says_what_the_engine_said_and_what_would_help() -> None:
    found = find_problem(
        crashed("Error: Total number of attention heads (14) must be divisible by tensor parallel size (4).")
    )
    assert found is not None
    assert found.reason is Reason.HEADS_AGAINST_TP
    assert found.message == (
        "pod llama-0: 4 ranks cannot share out 14 attention heads; what helps: a spec.engine.tensorParallelSize that "
        "divides 14; see kubectl logs llama-0 --previous"
    )


def test_memory_of_the_container_comes_before_what_the_engine_said() -> None:
    found = find_problem(crashed("EngineCore encountered an issue", "OOMKilled"))
    assert found is not None
    assert found.reason is Reason.OUT_OF_MEMORY
