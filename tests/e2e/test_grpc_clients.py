"""NVIDIA's own tests of its backend, done with ours: gRPC clients, exact metrics, cancelled and drained streams."""

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from cluster.errors import ClusterError
from cluster.kubectl import kubectl, wait_until
from support.forward import forwarded
from support.llm import PROBED_ONCE, apply, make_llm, pods_of, wait_ready
from support.metrics import read_metrics

pytestmark = pytest.mark.e2e
MODEL = "grpc"
PROMPTS = ["The most dangerous animal is", "The capital of France is", "The future of AI is"]
SAMPLING = {"temperature": "0", "top_p": "1"}
EVERY_OUTPUT = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")


@pytest.fixture(scope="module")
def served(shared_namespace: str) -> Iterator[str]:
    """The namespace in which SmolLM2 is served."""
    apply(make_llm(MODEL, shared_namespace, probe=PROBED_ONCE))
    wait_ready(shared_namespace, MODEL)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", MODEL)


class Client:
    """One bidirectional stream; requests go in, responses come back in any order."""

    def __init__(self, port: int) -> None:
        self._client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        self.responses: list[tuple[Any, Any]] = []

    def __enter__(self) -> "Client":
        self._client.start_stream(lambda result, error: self.responses.append((result, error)))
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream()
        self._client.close()

    def ask(self, prompt: str, parameters: dict[str, Any], name: str = "", **inputs: Any) -> None:
        """Send a request; `inputs` are the optional tensors."""
        tensors = [_tensor("text_input", prompt), *(_tensor(key, value) for key, value in inputs.items())]
        self._client.async_stream_infer(MODEL, tensors, request_id=name, parameters=parameters)

    def cancel(self) -> None:
        """Leave, as a client that lost interest."""
        self._client.stop_stream(cancel_requests=True)

    def texts(self) -> dict[str, str]:
        """The text of each request by its name, once each has ended."""
        found: dict[str, str] = {}
        for result, error in self.responses:
            assert error is None
            text = b"".join(result.as_numpy("text_output")).decode()
            found[result.get_response().id] = found.get(result.get_response().id, "") + text
        return found


def _tensor(name: str, value: str | bool) -> triton.InferInput:
    array = np.array([value]) if isinstance(value, bool) else np.array([value.encode()], dtype=np.object_)
    tensor = triton.InferInput(name, [1], "BOOL" if isinstance(value, bool) else "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.fixture
def port(served: str) -> Iterator[int]:
    """The model's gRPC port at 127.0.0.1."""
    with forwarded(served, f"svc/{MODEL}", 8001) as local:
        yield local


@pytest.fixture
def metrics(served: str) -> Iterator[int]:
    """The model's metrics port at 127.0.0.1."""
    with forwarded(served, f"svc/{MODEL}", 8002) as local:
        yield local


def test_parameters_go_as_a_tensor_or_beside_the_request(port: int) -> None:
    answers = []
    for inputs in ({"sampling_parameters": json.dumps(SAMPLING)}, {}):
        with Client(port) as client:
            for prompt in PROMPTS:
                client.ask(prompt, SAMPLING, name=prompt, stream=False, **inputs)
        answers.append(client.texts())
    assert answers[0] == answers[1]
    assert all(text.startswith(prompt) and len(text) > len(prompt) for prompt, text in answers[0].items())
    assert set(answers[0]) == set(PROMPTS)


@pytest.mark.parametrize("stream", [True, False])
def test_every_output_of_every_response_fits_its_text(port: int, stream: bool) -> None:
    """Eight at once, so that responses pile up: what is said of the tokens is said of the text beside it."""
    parameters = {**SAMPLING, "logprobs": 2, "max_tokens": 64, "ignore_eos": True, "skip_special_tokens": False}
    wanted = {f"return_{name}": True for name in EVERY_OUTPUT}
    with Client(port) as client:
        for number in range(8):
            text = json.dumps(parameters)
            client.ask(PROMPTS[0], {}, f"{number}", stream=stream, sampling_parameters=text, **wanted)
    reasons: dict[str, list[str]] = {}
    for result, error in client.responses:
        assert error is None
        found = {name: result.as_numpy(name)[0] for name in ("text_output", *EVERY_OUTPUT)}
        reasons.setdefault(result.get_response().id, []).append(found["finish_reason"].decode())
        rows = json.loads(found["logprobs"])
        assert len(rows) == found["num_output_tokens"] > 0
        # The token itself stands first; of two that are as likely, in bfloat16, the other may have rank 1.
        chosen = "".join(next(iter(row.values()))["decoded_token"] for row in rows)
        assert found["text_output"].decode() == ("" if stream else PROMPTS[0]) + chosen
        assert found["num_input_tokens"] == 5
        assert found["cumulative_logprob"] < 0, "computed: neither 0 nor NaN"
    assert len(reasons) == 8
    assert all(said == ["None"] * (len(said) - 1) + ["length"] for said in reasons.values())


def test_the_metrics_hold_every_answer_that_a_client_has(port: int, metrics: int) -> None:
    """Read once, right after the last answer, as NVIDIA's test reads them."""
    for _ in range(5):
        before = read_metrics(metrics, MODEL)
        with Client(port) as client:
            for prompt in PROMPTS:
                client.ask(prompt, SAMPLING, name=prompt, stream=False)
        after = read_metrics(metrics, MODEL)
        assert set(client.texts()) == set(PROMPTS)
        grown = {
            name: value - before.get(name, 0) for name, value in after.items() if name.endswith(("_total", "_count"))
        }
        assert grown == {
            "prompt_tokens_total": 15,
            "generation_tokens_total": 48,
            "num_preemptions_total": 0,
            "time_to_first_token_seconds_count": 3,
            "time_per_output_token_seconds_count": 45,
            "e2e_request_latency_seconds_count": 3,
            "request_prompt_tokens_count": 3,
            "request_generation_tokens_count": 3,
            "request_params_n_count": 3,
        }
        assert (after["num_requests_running"], after["num_requests_waiting"]) == (0, 0)


def test_an_answer_that_a_stop_string_ended_is_in_the_metrics_too(port: int, metrics: int) -> None:
    before = read_metrics(metrics, MODEL)
    with Client(port) as client:
        inputs = {"sampling_parameters": json.dumps({"stop": ["e"], "temperature": 0, "max_tokens": 64})}
        client.ask("One, two, three,", {}, stream=False, exclude_input_in_output=True, **inputs)
    after = read_metrics(metrics, MODEL)
    assert "e" not in client.texts()[""]
    assert after["request_generation_tokens_count"] == before["request_generation_tokens_count"] + 1
    assert after["generation_tokens_total"] - before["generation_tokens_total"] < 64, (
        "it was not the length that ended it"
    )


@pytest.mark.parametrize("computed", [0, 100])
def test_whole_answers_that_nobody_waits_for_free_the_engine(port: int, metrics: int, computed: int) -> None:
    """Also those that the engine has not been told of when their client leaves."""
    with Client(port) as client:
        for number in range(100):
            client.ask(f"Write a poem of {100 + number} words.", {"max_tokens": 900, "ignore_eos": True}, stream=False)
        wait_until(
            "they are computed", 20, lambda: read_metrics(metrics, MODEL)["num_requests_running"] >= computed, every=0.1
        )
        client.cancel()
        # 90,000 tokens would take minutes here.
        wait_until("the engine is free", 10, lambda: _is_free(metrics), every=0.1)
    ((result, error),) = client.responses
    assert (result, error.status()) == (None, "StatusCode.CANCELLED")


def _is_free(port: int) -> bool:
    """Whether nothing is computed, and nothing is added for a second."""
    tokens = read_metrics(port, MODEL)["generation_tokens_total"]
    time.sleep(1)
    after = read_metrics(port, MODEL)
    return (
        after["num_requests_running"] == after["num_requests_waiting"] == 0
        and after["generation_tokens_total"] == tokens
    )


def test_a_stream_that_is_under_way_ends_well_when_its_pod_goes(served: str) -> None:
    """Last: no pod is left.

    Scaled to none instead of deleted: a new pod that loads beside it takes the processors, and how
    long the stream takes could not be said. Streams beside a new pod are test_drain's.
    """
    (pod,) = pods_of(served, MODEL)
    with forwarded(served, f"pod/{pod['metadata']['name']}", 8001) as local, Client(local) as client:
        # The pod has 5 s of preStop, then Triton 60 s.
        tokens = min(1000, round(25 * _tokens_per_second(client)))
        client.ask(PROMPTS[2], {"max_tokens": tokens, "ignore_eos": True}, stream=True, return_finish_reason=True)
        wait_until("it streams", 20, lambda: len(client.responses) > 5, every=0.1)
        kubectl("-n", served, "scale", "llm", MODEL, "--replicas=0")
        wait_until("the server is told to end", 20, lambda: "live models" in _log(served, pod), every=0.5)
        assert not _is_over(client), "it was too short to be under way then"
        _wait_for_the_end(client, tokens)
    assert client.responses[-1][0].as_numpy("finish_reason")[0] == b"length"
    assert all(error is None for _, error in client.responses)


def _wait_for_the_end(client: Client, tokens: int) -> None:
    try:
        wait_until("the stream has ended", 60, lambda: _is_over(client), every=0.2)
    except ClusterError as error:
        raise AssertionError(f"{error}: {len(client.responses)} responses, {tokens} tokens asked for") from error


def _tokens_per_second(client: Client) -> float:
    client.ask(PROMPTS[2], {"max_tokens": 64, "ignore_eos": True}, stream=True, return_finish_reason=True)
    wait_until("the first token came", 20, lambda: bool(client.responses), every=0.01)
    began = time.monotonic()
    wait_until("the last token came", 60, lambda: _is_over(client), every=0.01)
    client.responses.clear()
    return 63 / (time.monotonic() - began)


def _is_over(client: Client) -> bool:
    result, error = client.responses[-1]
    return error is not None or result.as_numpy("finish_reason")[0] != b"None"


def _log(namespace: str, pod: dict[str, Any]) -> str:
    return kubectl("-n", namespace, "logs", pod["metadata"]["name"])
