"""Our backend's frames: whatever is left out on the way, the client gets the whole text."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.contract import GenerateRequest, RequestError, Wanted, resolve_prepend
from llm_backend.frames import Sent, build_frame, merge


@dataclass
class Output:
    text: str
    token_ids: list[int]
    index: int = 0
    finish_reason: str | None = None
    cumulative_logprob: float | None = None
    logprobs: None = field(default=None)


def request(stream: bool) -> GenerateRequest:
    wanted = Wanted(finish_reason=True, num_output_tokens=True, num_input_tokens=True)
    return GenerateRequest("prompt ", stream, resolve_prepend(stream, None), wanted, {})


@given(st.lists(st.text(max_size=5), min_size=1, max_size=30), st.data())
def test_frames_left_out_lose_nothing(tokens: list[str], data: st.DataObject) -> None:
    outputs = [Output("".join(tokens[:n]), list(range(n))) for n in range(1, len(tokens) + 1)]
    outputs[-1].finish_reason = "stop"
    sent_ones = [o for o in outputs[:-1] if data.draw(st.booleans())] + [outputs[-1]]
    sent: tuple[Sent, ...] = ()
    text, count = "", 0
    for output in sent_ones:
        frame, sent = build_frame(request(stream=True), [output], 3, sent)
        text += frame.text[0]
        count += frame.num_output_tokens[0] if frame.num_output_tokens else 0
    assert (text, count) == ("".join(tokens), len(tokens))
    assert frame.finish_reason == ("stop",)


class Growing(list[int]):
    """vLLM's own list of tokens: its thread appends while ours reads."""

    def __len__(self) -> int:
        self.append(0)
        return super().__len__()


def test_a_token_that_comes_while_a_frame_is_built_is_counted_once() -> None:
    output, sent, count = Output("a", Growing([0])), (), 0
    for _ in range(5):
        frame, sent = build_frame(request(stream=True), [output], 3, sent)
        count += frame.num_output_tokens[0] if frame.num_output_tokens else 0
    final = Output("a", list(output.token_ids))
    frame, _ = build_frame(request(stream=True), [final], 3, sent)
    count += frame.num_output_tokens[0] if frame.num_output_tokens else 0
    assert count == len(final.token_ids)


@given(st.lists(st.tuples(st.integers(0, 2), st.text(min_size=1, max_size=3)), min_size=1, max_size=30))
def test_several_completions_do_not_mix(steps: list[tuple[int, str]]) -> None:
    whole, received, newest, sent = ["", "", ""], ["", "", ""], {}, ()
    for index, piece in steps:
        whole[index] += piece
        newest[index] = Output(whole[index], list(range(len(whole[index]))), index)
        frame, sent = build_frame(request(stream=True), merge(newest), 3, sent)
        for place, text in enumerate(frame.text):
            received[place] += text
    assert received == whole


def test_a_whole_answer_repeats_the_prompt_and_a_stream_does_not() -> None:
    output = Output("answer", [1, 2], finish_reason="length")
    assert build_frame(request(stream=False), [output], 3, ())[0].text == ("prompt answer",)
    assert build_frame(request(stream=True), [output], 3, ())[0].text == ("answer",)


def test_a_stream_cannot_repeat_the_prompt() -> None:
    with pytest.raises(RequestError, match="exclude_input_in_output"):
        resolve_prepend(stream=True, exclude_input=False)


def test_an_output_that_was_not_asked_for_is_not_there() -> None:
    plain = GenerateRequest("p", False, True, Wanted(), {})
    frame, _ = build_frame(plain, [Output("a", [1])], 1, ())
    assert (frame.finish_reason, frame.num_output_tokens, frame.num_input_tokens, frame.logprobs) == (None,) * 4
