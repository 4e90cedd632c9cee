"""What a container is asked once before users are let in: requests whose first one makes others wait. Pure.

vLLM compiles functions when they are first needed, in the thread that computes every request's tokens. On a CPU the
first request for log probabilities stood for 19 s, and every other stream with it.

Structured output is not asked for: vLLM keeps the backend of its first such request for all that follow, and one that
needs another is refused then (vllm/v1/structured_output/__init__.py, 0.11.0 to 0.33.0). The choice is the users'.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Final

from triton_vllm_operator.health.target import ProbeTarget

BASE: Final = "log probabilities"
"""The kind whose answer those of the adapters are held against."""
_TOKENS: Final = 4
_LONG_PROMPT_TOKENS: Final = 2048
_WORD: Final = " long"
"""One token in the vocabularies that are known."""
_ERROR_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class WarmUp:
    """One request."""

    kind: str
    body: dict[str, object]
    adapter: str | None = None


def build_warm_up(target: ProbeTarget) -> tuple[WarmUp, ...]:
    """The requests, in the order in which they are sent: what most users ask for comes first."""
    return tuple(_requests(target))


def _requests(target: ProbeTarget) -> Iterator[WarmUp]:
    prompt = target.settings.prompt
    with_logprobs = {"logprobs": 2}
    yield WarmUp(BASE, _body(prompt, with_logprobs, return_logprobs=True))
    sampled = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 7}
    yield WarmUp("sampling", _body(prompt, sampled))
    penalties = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1, "min_tokens": _TOKENS}
    yield WarmUp("penalties", _body(prompt, penalties))
    for adapter in target.adapters:
        parameters = {**with_logprobs, "lora_name": adapter}
        yield WarmUp("adapter", _body(prompt, parameters, return_logprobs=True), adapter)
    longest = min(_LONG_PROMPT_TOKENS, (target.max_model_len or _LONG_PROMPT_TOKENS) - 2 * _TOKENS)
    if longest > _TOKENS:
        yield WarmUp("long prompt", _body(_WORD * longest, {}))


def _body(prompt: str, parameters: Mapping[str, object], return_logprobs: bool = False) -> dict[str, object]:
    whole = {"max_tokens": _TOKENS, "ignore_eos": True, "temperature": 0, **parameters}
    body: dict[str, object] = {"text_input": prompt, "stream": True, "parameters": whole}
    return {**body, "return_logprobs": True} if return_logprobs else body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    error: str
    """Empty if there was none."""
    logprobs: tuple[str, ...]


def find_useless_adapters(answers: Mapping[str, Answer], base: Answer | None) -> tuple[str, ...]:
    """What to say of each adapter that the engine cannot load, or that changes nothing of what it answers.

    The latter by its log probabilities, frame by frame: an adapter that fits no module of the model is loaded, and vLLM
    says nothing of it. `base` is the answer without any adapter.
    """
    return tuple(f"{name} {found}" for name, answer in sorted(answers.items()) if (found := _judge(answer, base)))


def _judge(answer: Answer, base: Answer | None) -> str:
    if answer.error and base is not None and not base.error:
        return f"requests fail: {shorten(answer.error, _ERROR_LIMIT, placeholder=' ...')}"
    same = base is not None and answer.logprobs and answer.logprobs == base.logprobs
    return "it answers exactly as without" if same else ""
