"""What `kubectl llm plan` takes for granted, in words."""

from collections.abc import Iterator
from typing import Final

from triton_vllm_operator.cli.plan_cpu import say_uncounted
from triton_vllm_operator.memory.advice import Case
from triton_vllm_operator.memory.drafts import maybe_shared_bytes
from triton_vllm_operator.memory.encoder import count_profiled, is_measured, smaller_sizes
from triton_vllm_operator.memory.fit import gib
from triton_vllm_operator.memory.plan import find_batch
from triton_vllm_operator.memory.settings import Runner
from triton_vllm_operator.repository.arguments import load_arguments, nearest_version

_RECORDED_SECOND: Final = "0.24.0"


def find_assumptions(case: Case, uncounted: str) -> Iterator[str]:
    """One sentence each; `uncounted` is what of a spec is in none of the numbers."""
    if uncounted:
        yield say_uncounted(uncounted)
    yield f"the GPU is empty, and has {gib(case.gpu.total_bytes)} by CUDA"
    nearest = nearest_version(case.settings.vllm)
    if load_arguments(case.settings.vllm) is None:
        yield f"vLLM {case.settings.vllm} is not known; its defaults are those of {nearest}"
    if case.settings.max_model_len is None and case.chooses_length:
        yield f"sequences may be as long as fits: about {case.length} tokens"
    elif case.settings.max_model_len is None:
        yield f"sequences may be as long as the model knows: {case.length} tokens"
    if case.settings.max_model_len and case.shape.longest and case.length > case.shape.longest:
        yield (
            f"sequences of {case.length} tokens may be longer than the {case.shape.longest} that the model knows: vLLM "
            "refuses that unless VLLM_ALLOW_LONG_MAX_MODEL_LEN is set"
        )
    if case.shape.strange:
        yield f"counted whole on each rank, since not understood: {', '.join(case.shape.strange)}"
    if maybe_shared_bytes(case.shape, case.settings):
        yield "embedding and output of the draft model equal the model's, and are held once"
    yield from _say_what_sees(case)
    if case.settings.runner is Runner.V2:
        yield f"vLLM's second model runner takes what it took in {_RECORDED_SECOND}, of which starts are recorded"


def _say_what_sees(case: Case) -> Iterator[str]:
    vision, batch = case.shape.vision, find_batch(case.settings, case.gpu)
    if vision is None:
        return
    length = case.settings.measured_length or case.length
    if tokens := count_profiled(vision, case.settings, batch, length):
        measures = "measures itself" if is_measured(case.settings) else "does not measure itself"
        yield f"the engine {measures} with images or videos of {tokens} tokens, as many as it takes at once"
    smaller = next((pixels for pixels in smaller_sizes(vision, case.settings.seeing, case.length)), None)
    if vision.image_tokens > case.length and smaller is not None:
        yield (
            f"the largest image takes more than the {case.length} tokens of a sequence: requests with it are refused, "
            f"unless spec.engine.extraArgs.mm_processor_kwargs: {{max_pixels: {smaller}}} makes it smaller"
        )
