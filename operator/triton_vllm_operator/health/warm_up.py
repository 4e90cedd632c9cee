"""What a container is asked once before users are let in: requests whose first one makes others wait. Pure.

vLLM compiles functions when they are first needed, in the thread that computes every request's tokens. On a CPU the
first request for log probabilities stood for 19 s, and every other stream with it.

Structured output is not asked for: vLLM keeps the backend of its first such request for all that follow, and one that
needs another is refused then (vllm/v1/structured_output/__init__.py, 0.11.0 to 0.33.0). The choice is the users'.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.health.target import ProbeTarget

TOGETHER: Final = 2
"""How often each is sent at the same time, after it was sent once alone."""
_TOKENS: Final = 4
_LONG_PROMPT_TOKENS: Final = 2048
_WORD: Final = " long"
"""One token in the vocabularies that are known."""
_ERROR_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class WarmUp:
    """One request."""

    kind: str
    """For people."""
    prompt: str
    parameters: Mapping[str, object]
    return_logprobs: bool = False
    is_base: bool = False
    """Whether the answers of the adapters are held against that to this one."""
    adapter: str | None = None

    @property
    def body(self) -> dict[str, object]:
        """What is sent."""
        body = build_body(self.prompt, self.parameters)
        return {**body, "return_logprobs": True} if self.return_logprobs else body


def build_warm_up(target: ProbeTarget) -> tuple[WarmUp, ...]:
    """The requests, in the order in which they are sent: what most users ask for comes first."""
    return tuple(_requests(target))


def build_body(prompt: str, parameters: Mapping[str, object]) -> dict[str, object]:
    """A request for a stream of a few tokens, which are the same at every time but for what `parameters` says."""
    return {"text_input": prompt, "stream": True, "parameters": complete(parameters)}


def complete(parameters: Mapping[str, object]) -> dict[str, object]:
    """Sampling parameters with those that make an answer short and always the same."""
    return {"max_tokens": _TOKENS, "ignore_eos": True, "temperature": 0, **parameters}


def _requests(target: ProbeTarget) -> Iterator[WarmUp]:
    prompt = target.settings.prompt
    with_logprobs = {"logprobs": 2}
    yield WarmUp("log probabilities", prompt, with_logprobs, return_logprobs=True, is_base=True)
    sampled = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 7}
    yield WarmUp("sampling", prompt, sampled)
    penalties = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1, "min_tokens": _TOKENS}
    yield WarmUp("penalties", prompt, penalties)
    for adapter in target.adapters:
        parameters = {**with_logprobs, "lora_name": adapter}
        yield WarmUp(f"the adapter {adapter}", prompt, parameters, return_logprobs=True, adapter=adapter)
    longest = min(_LONG_PROMPT_TOKENS, (target.max_model_len or _LONG_PROMPT_TOKENS) - 2 * _TOKENS)
    if longest > _TOKENS:
        yield WarmUp("a long prompt", _WORD * longest, {})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    error: str
    """Empty if there was none."""
    logprobs: tuple[str, ...]
    """Of each token."""


def split_logprobs(sent: object) -> tuple[str, ...]:
    """What a frame holds of each token: a frame holds several where they come faster than they are sent."""
    if sent is None:
        return ()
    try:
        rows = json.loads(str(sent))
    except (ValueError, RecursionError):
        rows = None
    return tuple(json.dumps(row) for row in rows) if isinstance(rows, list) else (str(sent),)


def find_adapter_faults(answers: Mapping[str, Answer], base: Answer | None) -> tuple[str, ...]:
    """The adapters that the engine cannot load, or that change nothing of what it answers, each with what is wrong.

    The latter by its log probabilities, token by token: an adapter that fits no module of the model is loaded, and vLLM
    says nothing of it. `base` is the answer without any adapter.
    """
    found = ((name, _judge(answer, base)) for name, answer in sorted(answers.items()))
    return tuple(f"{name}: {fault}" for name, fault in found if fault)


def _judge(answer: Answer, base: Answer | None) -> str:
    if base is None or base.error:
        return ""
    if answer.error:
        return f"requests with it fail: {shorten(answer.error, _ERROR_LIMIT)}"
    same = answer.logprobs and answer.logprobs == base.logprobs
    return "it answers exactly as the model does without it; was it trained on this model?" if same else ""
