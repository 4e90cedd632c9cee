"""What of a cumulative output goes into the next response. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.contract import GenerateRequest


class Logprob(Protocol):
    """The members of vLLM's Logprob that are reported."""

    logprob: float
    rank: int | None
    decoded_token: str | None


class Completion(Protocol):
    """The members of vLLM's CompletionOutput that are reported."""

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: Sequence[Mapping[int, Logprob]] | None
    finish_reason: str | None


@dataclass(slots=True)
class Unseen:
    """A completion of a request with `n` > 1 of which nothing came yet."""

    index: int
    text: str = ""
    token_ids: Sequence[int] = ()
    cumulative_logprob: float | None = None
    logprobs: Sequence[Mapping[int, Logprob]] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """A completion as it was when it came."""

    completion: Completion
    tokens: int
    """vLLM goes on to append to the lists of tokens and log probabilities, but never to the text."""


def note(completion: Completion) -> Newest:
    """The completion with its tokens counted; called by the thread that appends, before it appends again."""
    return Newest(completion, len(completion.token_ids))


@dataclass(frozen=True, slots=True)
class Sent:
    """How much of one completion the client has."""

    characters: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of one response; None means that the output was not asked for."""

    text: tuple[str, ...]
    finish_reason: tuple[str, ...] | None = None
    cumulative_logprob: tuple[float, ...] | None = None
    logprobs: tuple[str, ...] | None = None
    num_input_tokens: int | None = None
    num_output_tokens: tuple[int, ...] | None = None


def merge(newest: Mapping[int, Newest]) -> tuple[Newest, ...]:
    """All completions, each at its index: with `n` > 1 an output of vLLM holds only those that changed."""
    return tuple(newest.get(index) or Newest(Unseen(index), 0) for index in range(max(newest, default=-1) + 1))


def build_frame(
    request: GenerateRequest, newest: Sequence[Newest], input_tokens: int, sent: Sequence[Sent]
) -> tuple[Frame, tuple[Sent, ...]]:
    """The part that the client lacks, and what it has afterwards.

    Outputs are cumulative: a frame left out loses nothing, the next one carries it.
    """
    wanted = request.wanted
    completions = tuple(one.completion for one in newest)
    before = (*sent, *(Sent() for _ in newest[len(sent) :]))
    after = tuple(Sent(len(one.completion.text), one.tokens) for one in newest)
    prefix = request.prompt if request.prepend_prompt else ""
    pairs = list(zip(completions, before, strict=True))
    spans = [slice(was.tokens, now.tokens) for was, now in zip(before, after, strict=True)]
    frame = Frame(
        text=tuple(prefix + completion.text[was.characters :] for completion, was in pairs),
        finish_reason=tuple(str(completion.finish_reason) for completion in completions)
        if wanted.finish_reason
        else None,
        cumulative_logprob=tuple(_or_nan(completion.cumulative_logprob) for completion in completions)
        if wanted.cumulative_logprob
        else None,
        logprobs=tuple(_logprobs(completion, span) for completion, span in zip(completions, spans, strict=True))
        if wanted.logprobs
        else None,
        num_input_tokens=input_tokens if wanted.num_input_tokens else None,
        num_output_tokens=tuple(span.stop - span.start for span in spans) if wanted.num_output_tokens else None,
    )
    return frame, after


def _or_nan(value: float | None) -> float:
    """Unknown unless the request asks for log probabilities; NVIDIA's backend sends NaN as well."""
    return math.nan if value is None else value


def _logprobs(completion: Completion, span: slice) -> str:
    if completion.logprobs is None:
        return "null"
    rows = [
        {
            str(token): {"logprob": entry.logprob, "rank": entry.rank, "decoded_token": entry.decoded_token}
            for token, entry in row.items()
        }
        for row in completion.logprobs[span]
    ]
    return json.dumps(rows)
