"""Our backend's frames: whatever is left out on the way, the client gets the whole text."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.contract import GenerateRequest, RequestError, Wanted, resolve_prepend
from llm_backend.frames import Sent, build_frame, merge, note


@dataclass
class Output:
    text: str
    token_ids: list[int]
    index: int = 0
    finish_reason: str | None = None
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, "Entry"]] | None = None


@dataclass
class Entry:
    decoded_token: str
    logprob: float = -1.0
    rank: int = 1


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
        frame, sent = build_frame(request(stream=True), [note(output)], 3, sent)
        text += frame.text[0]
        count += frame.num_output_tokens[0] if frame.num_output_tokens else 0
    assert (text, count) == ("".join(tokens), len(tokens))
    assert frame.finish_reason == ("stop",)


def test_a_token_that_comes_while_a_frame_is_built_belongs_to_the_next_one() -> None:
    """vLLM appends to the lists of an output that it has given away; its text stays as it was."""
    tokens, rows = [1], [{1: Entry("a")}]
    first = note(Output("a", tokens, logprobs=rows))
    tokens.append(2)
    rows.append({2: Entry("b")})
    last = note(Output("ab", tokens, logprobs=rows))
    wanted = GenerateRequest("", True, False, Wanted(logprobs=True, num_output_tokens=True), {})
    frame, sent = build_frame(wanted, [first], 3, ())
    rest, _ = build_frame(wanted, [last], 3, sent)
    assert [(f.text, f.num_output_tokens) for f in (frame, rest)] == [(("a",), (1,)), (("b",), (1,))]
    assert [list(json.loads(f.logprobs[0])[0]) for f in (frame, rest) if f.logprobs] == [["1"], ["2"]]


@given(st.lists(st.tuples(st.integers(0, 2), st.text(min_size=1, max_size=3)), min_size=1, max_size=30))
def test_several_completions_do_not_mix(steps: list[tuple[int, str]]) -> None:
    whole, received, newest, sent = ["", "", ""], ["", "", ""], {}, ()
    for index, piece in steps:
        whole[index] += piece
        newest[index] = note(Output(whole[index], list(range(len(whole[index]))), index))
        frame, sent = build_frame(request(stream=True), merge(newest), 3, sent)
        for place, text in enumerate(frame.text):
            received[place] += text
    assert received == whole


def test_a_whole_answer_repeats_the_prompt_and_a_stream_does_not() -> None:
    output = Output("answer", [1, 2], finish_reason="length")
    assert build_frame(request(stream=False), [note(output)], 3, ())[0].text == ("prompt answer",)
    assert build_frame(request(stream=True), [note(output)], 3, ())[0].text == ("answer",)


def test_a_stream_cannot_repeat_the_prompt() -> None:
    with pytest.raises(RequestError, match="exclude_input_in_output"):
        resolve_prepend(stream=True, exclude_input=False)


def test_an_output_that_was_not_asked_for_is_not_there() -> None:
    plain = GenerateRequest("p", False, True, Wanted(), {})
    frame, _ = build_frame(plain, [note(Output("a", [1]))], 1, ())
    assert (frame.finish_reason, frame.num_output_tokens, frame.num_input_tokens, frame.logprobs) == (None,) * 4
