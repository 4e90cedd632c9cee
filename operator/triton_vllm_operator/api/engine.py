"""The arguments of the vLLM engine that people really set; the others go through `extraArgs`."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, SkipValidation, WithJsonSchema
from pydantic_core import PydanticCustomError

from triton_vllm_operator.api.base import (
    CEL_RULES,
    FORM_ERROR,
    INT_OR_STRING,
    PRESERVE_UNKNOWN,
    ApiModel,
    Form,
    Quantity,
    rule,
)
from triton_vllm_operator.api.model import ModelSource

MAX_GPUS: Final = 16
_MAX_TOKENS: Final = 100_000_000
AUTO: Final = "Auto"
REQUEST_PARAMETERS: Final = (
    *("allowed_token_ids", "bad_words", "best_of", "detokenize", "early_stopping", "frequency_penalty", "ignore_eos"),
    *("include_stop_str_in_output", "length_penalty", "logit_bias", "logprobs", "max_tokens", "min_p", "min_tokens"),
    *("n", "presence_penalty", "prompt_logprobs", "repetition_penalty", "skip_special_tokens"),
    *("spaces_between_special_tokens", "stop", "stop_token_ids", "temperature", "top_k", "top_p"),
    *("truncate_prompt_tokens", "use_beam_search"),
)
"""What a request says of its answer, and people write among the engine's arguments: vLLM's SamplingParams."""
OF_A_REQUEST: Final = "it belongs to a request, and clients send it among its parameters"

_LENGTH_FORM: Final = f"maxModelLen is a number of tokens from 1 to {_MAX_TOKENS}, or {AUTO}"


def _check_length(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_TOKENS
    if not is_count and value not in (AUTO, None):
        raise PydanticCustomError(FORM_ERROR, "{form}", {"form": _LENGTH_FORM})
    return value


MaxModelLen = Annotated[
    int | Literal["Auto"],
    BeforeValidator(_check_length),
    WithJsonSchema(
        {
            INT_OR_STRING: True,
            "maxLength": 4,
            CEL_RULES: [
                {
                    "rule": f"type(self) == int ? self >= 1 && self <= {_MAX_TOKENS} : self == '{AUTO}'",
                    "message": _LENGTH_FORM,
                }
            ],
        }
    ),
]
EngineWord = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Form("^[A-Za-z0-9._-]+$", 'a word of vLLM has letters, digits, ".", "_" and "-", as compressed-tensors'),
]
"""A word of vLLM's own: which ones there are depends on its version, so the catalogue checks it."""

ExtraArgs = Annotated[
    # pydantic takes no JSON deeper than 255 levels; the API server does.
    dict[str, SkipValidation[JsonValue]],
    Field(max_length=64),
    WithJsonSchema({"type": "object", "maxProperties": 64, PRESERVE_UNKNOWN: True}),
]


class Dtype(StrEnum):
    """The data types that vLLM's `dtype` takes, spelled as vLLM spells them."""

    AUTO = "auto"
    HALF = "half"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT = "float"
    FLOAT32 = "float32"


class SchedulingPolicy(StrEnum):
    """In which order waiting requests are served, spelled as vLLM spells it."""

    FCFS = "fcfs"
    PRIORITY = "priority"


class SpeculativeConfig(ApiModel):
    """Speculative decoding: several tokens are guessed, and the model checks them in one step."""

    method: EngineWord | None = Field(
        None, description="As vLLM names it: ngram, eagle3, mtp, draft_model, ...; unset: vLLM chooses by the model."
    )
    num_speculative_tokens: int | None = Field(None, ge=1, le=1024, description="Tokens that are guessed in one step.")
    model: ModelSource | None = Field(None, description="Weights of the draft model, for methods that have one.")
    draft_tensor_parallel_size: int | None = Field(
        None, ge=1, le=MAX_GPUS, description="Number of the pod's GPUs over which the draft model is split."
    )
    prompt_lookup_max: int | None = Field(None, ge=1, le=1024, description="Longest n-gram that is looked up.")
    prompt_lookup_min: int | None = Field(None, ge=1, le=1024, description="Shortest n-gram that is looked up.")

    @rule("has(self.method) || has(self.model)", "set speculativeConfig.method, or the model that guesses")
    def _says_how(self) -> bool:
        return self.method is not None or self.model is not None

    @rule(
        "!has(self.method) || self.method != 'ngram' || (!has(self.model) && has(self.numSpeculativeTokens))",
        "speculativeConfig.method ngram needs numSpeculativeTokens, and has no model: it guesses from the prompt",
    )
    def _ngram_is_complete(self) -> bool:
        return self.method != "ngram" or (self.model is None and self.num_speculative_tokens is not None)

    @rule(
        "!has(self.method) || self.method != 'custom_class'",
        "speculativeConfig.method custom_class names foreign code; choose a method that vLLM brings along",
    )
    def _names_no_code(self) -> bool:
        return self.method != "custom_class"

    @rule(
        "!has(self.promptLookupMin) || !has(self.promptLookupMax) || self.promptLookupMin <= self.promptLookupMax",
        "promptLookupMin must not be larger than promptLookupMax",
    )
    def _lookup_has_an_order(self) -> bool:
        low, high = self.prompt_lookup_min, self.prompt_lookup_max
        return low is None or high is None or low <= high


class Engine(ApiModel):
    """Arguments of the vLLM engine, named as in vLLM; what is unset keeps that version's own default."""

    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Fraction of each GPU's memory that the engine may use, weights included."
    )
    kv_cache_memory_bytes: Quantity | None = Field(
        None, description="Memory of each GPU for the KV cache, as 20Gi; vLLM then takes it without measuring."
    )
    max_model_len: MaxModelLen | None = Field(
        None,
        description="Longest sequence in tokens, prompt and answer together; Auto: the longest that fits the memory.",
    )
    max_num_seqs: int | None = Field(
        None, ge=1, le=1_000_000, description="Most sequences that one step of the engine computes."
    )
    max_num_batched_tokens: int | None = Field(
        None, ge=1, le=_MAX_TOKENS, description="Most tokens that one step of the engine computes."
    )
    scheduling_policy: SchedulingPolicy | None = Field(
        None, description="fcfs, or priority; requests carry none through Triton, so both serve in their order."
    )
    tensor_parallel_size: int | None = Field(
        None, ge=1, le=MAX_GPUS, description="Number of GPUs of one pod over which each layer is split."
    )
    pipeline_parallel_size: int | None = Field(
        None, ge=1, le=MAX_GPUS, description="Number of groups of GPUs of one pod over which the layers are shared out."
    )
    dtype: Dtype | None = Field(None, description="Data type of weights and activations.")
    quantization: EngineWord | None = Field(
        None, description="How the weights are quantised, as vLLM names it: fp8, awq, ...; unset: the model says it."
    )
    kv_cache_dtype: EngineWord | None = Field(None, description="Data type of the KV cache, as vLLM names it: fp8, ...")
    enforce_eager: bool | None = Field(
        None, description="True starts faster and runs slower: no compilation, no CUDA graphs."
    )
    enable_prefix_caching: bool | None = Field(
        None, description="Whether prompts that begin alike share their KV cache."
    )
    enable_chunked_prefill: bool | None = Field(
        None, description="Whether long prompts are computed in parts, so that other answers go on."
    )
    trust_remote_code: bool | None = Field(
        None, description="True runs Python code that lies beside the weights; the administrator may forbid it."
    )
    speculative_config: SpeculativeConfig | None = Field(None, description="Speculative decoding.")
    max_lora_rank: int | None = Field(
        None, ge=1, le=512, description="Largest rank among model.loraAdapters; vLLM's default is 16."
    )
    extra_args: ExtraArgs | None = Field(
        None, description="Any other argument of this vLLM version, by its own name and in its own form."
    )

    @rule(
        "(has(self.tensorParallelSize) ? self.tensorParallelSize : 1) * "
        f"(has(self.pipelineParallelSize) ? self.pipelineParallelSize : 1) <= {MAX_GPUS}",
        f"tensorParallelSize x pipelineParallelSize is the number of GPUs of one pod, at most {MAX_GPUS}: "
        "one model over several nodes is not supported; choose a quantised or smaller model, or larger GPUs",
    )
    def _fits_one_node(self) -> bool:
        return self.gpus <= MAX_GPUS

    @rule(
        "!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) || self.maxNumBatchedTokens >= self.maxNumSeqs",
        "maxNumBatchedTokens must be at least maxNumSeqs: each sequence of a step takes one token or more",
    )
    def _step_holds_its_sequences(self) -> bool:
        tokens, sequences = self.max_num_batched_tokens, self.max_num_seqs
        return tokens is None or sequences is None or tokens >= sequences

    @rule(
        "!has(self.enableChunkedPrefill) || self.enableChunkedPrefill || !has(self.maxNumBatchedTokens) || "
        "!has(self.maxModelLen) || type(self.maxModelLen) != int || self.maxNumBatchedTokens >= self.maxModelLen",
        "with enableChunkedPrefill false, maxNumBatchedTokens must be at least maxModelLen: "
        "a prompt is then computed in one step",
    )
    def _prompt_fits_one_step(self) -> bool:
        tokens, length = self.max_num_batched_tokens, self.max_model_len
        chunked = self.enable_chunked_prefill is not False
        return chunked or tokens is None or not isinstance(length, int) or tokens >= length

    @property
    def gpus(self) -> int:
        """The number of GPUs, or ranks, of one engine."""
        return (self.tensor_parallel_size or 1) * (self.pipeline_parallel_size or 1)
