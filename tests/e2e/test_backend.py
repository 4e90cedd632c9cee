"""The backend's contract on the running server: each row of NVIDIA's behaviour, and what ours adds.

The rows are those that were measured with NVIDIA's backend: success or failure is the same, the texts are better.
"""

import http.client
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.kubectl import kubectl, wait_until
from support.adapter import write_adapter
from support.forward import forwarded
from support.generate import generate, generate_stream, send
from support.llm import PROBED_ONCE, SMOLLM2, apply, make_llm, pods_of, wait_ready
from support.metrics import read_metrics
from support.volume import bind_folder

pytestmark = pytest.mark.e2e
MODEL = "contract"
PROMPT = "The capital of France is"
GREEDY = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def served(shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The namespace in which SmolLM2 is served with two adapters that lie on a volume."""
    folder: Path = tmp_path_factory.mktemp("adapters")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    for seed, name in enumerate(("pirate", "poet")):
        write_adapter(folder / name, rank=8, seed=seed)
    bind_folder(shared_namespace, "adapters", folder)
    adapters = [
        {"name": name, "persistentVolumeClaim": {"claimName": "adapters", "path": name}} for name in ("pirate", "poet")
    ]
    model = {**SMOLLM2["model"], "loraAdapters": adapters}
    engine = {"maxModelLen": 512, "maxNumSeqs": 32, "maxLoraRank": 8, "enforceEager": True}
    apply(make_llm(MODEL, shared_namespace, model=model, engine=engine, probe=PROBED_ONCE))
    wait_ready(shared_namespace, MODEL)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", MODEL)
    kubectl("-n", shared_namespace, "delete", "pvc", "adapters", "--wait=false")
    kubectl("delete", "pv", f"{shared_namespace}-adapters", "--wait=false")


@pytest.fixture(scope="module")
def port(served: str) -> Iterator[int]:
    """The model's HTTP port at 127.0.0.1."""
    with forwarded(served, f"svc/{MODEL}", 8000) as local:
        yield local


def sampling(**parameters: Any) -> dict[str, Any]:
    return {"sampling_parameters": json.dumps(parameters)}


FAILS: list[tuple[dict[str, Any], str]] = [
    ({"parameters": {"max_new_tokens": 3}}, "'max_new_tokens': no sampling parameter"),
    ({"parameters": {"best_of": 2}}, "best_of"),
    ({"parameters": {"priority": 1}}, "priority"),
    ({"parameters": {"temperature": -1}}, "temperature must be non-negative"),
    ({"parameters": {"top_p": 2}}, "top_p must be in"),
    ({"id": "abc"}, "'id'"),
    ({"parameters": {"stop": ["a"]}}, "parameter 'stop' has invalid type"),
    ({"parameters": {"bad_words": ["a"]}}, "parameter 'bad_words' has invalid type"),
    ({"parameters": {"max_tokens": None}}, "parameter 'max_tokens' has invalid type"),
    (sampling(logit_bias={"a": 1}), "logit_bias takes token ids as its keys"),
    (sampling(prompt_logprobs=2), "prompt_logprobs: Triton's vLLM backend has no output for them"),
    # What the engine's process would be lost for: types are checked there, by a thread that an error ends.
    (sampling(seed=2**70), ""),
    (sampling(allowed_token_ids=[1.5]), ""),
    (sampling(stop_token_ids=["a"]), ""),
    (sampling(structured_outputs={"choice": "yes"}), ""),
    (sampling(temperature=float("nan")), ""),
    ({"sampling_parameters": "{"}, "sampling_parameters is no JSON"),
    ({"sampling_parameters": "[]"}, "must be a JSON object"),
    ({"text_input": ["a", "b"]}, "can not convert input 'text_input'"),
    ({"text_input": [{"name": "text_input"}]}, ""),
    ({"text_input": ""}, "cannot be empty"),
    ({"text_input": "word " * 600}, "maximum context length is 512"),
    ({"stream": "yes"}, ""),
    ({"embedding_request": "{}"}, "generates text"),
    ({"image": ["!"]}, "image 0 is no base64 of a picture"),
    ({"parameters": {"lora_name": "nobody"}}, "LoRA nobody is not supported, we currently support ['pirate', 'poet']"),
]


@pytest.mark.parametrize(("body", "words"), FAILS, ids=lambda value: str(value)[:50])
def test_it_fails_as_nvidias_does(port: int, body: dict[str, Any], words: str) -> None:
    status, answer = generate(port, MODEL, {"text_input": PROMPT, **body})
    assert status >= 400
    assert words in answer["error"]


SUCCEEDS: list[dict[str, Any]] = [
    {},
    {"text_input": [PROMPT]},
    {"parameters": {"temperature": "0", "max_tokens": "4"}},
    {"parameters": {"temperature": 0.5, "top_p": 0.9, "seed": 7}},
    {"parameters": {"n": 2}},
    {"parameters": {"max_tokens": 100_000}},
    {"max_tokens": 3},
    {"parameters": {"seed": 1.5, "max_tokens": 4.5, "ignore_eos": 1, "skip_special_tokens": 0, "temperature": True}},
    sampling(stop=["a"], max_tokens=4),
    sampling(bad_words=["Paris"]),
    {"parameters": {"structured_outputs": '{"choice": ["yes", "no"]}'}},
    sampling(structured_outputs={"choice": ["yes", "no"]}),
    sampling(lora_name="poet"),
    sampling(logit_bias={"5": 1}, max_tokens=2),
    {"parameters": {"logit_bias": '{"5": 1.5}', "max_tokens": 2}},
]


@pytest.mark.parametrize("body", SUCCEEDS, ids=lambda value: str(value)[:50])
def test_it_succeeds_as_nvidias_does(port: int, body: dict[str, Any]) -> None:
    status, answer = generate(port, MODEL, {"text_input": PROMPT, **body})
    assert (status, "error" in answer) == (200, False)
    assert answer["text_output"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (f"/v2/models/{MODEL}/generate", b"{", 500),
        (f"/v2/models/{MODEL}/generate", b"{}", 400),
        ("/v2/models/nobody/generate", b'{"text_input": "a"}', 404),
        (f"/v2/models/{MODEL}/generate", None, 405),
        (f"/v2/models/{MODEL}/infer", b'{"inputs": []}', 501),
    ],
)
def test_http_codes_are_tritons(port: int, path: str, body: bytes | None, expected: int) -> None:
    assert send(port, path, body)[0] == expected


def test_a_stream_asked_for_at_generate_is_an_error_with_code_200(port: int) -> None:
    status, answer = generate(port, MODEL, {"text_input": PROMPT, "stream": True, "parameters": GREEDY})
    assert status == 200
    assert "use generate stream" in answer["error"]


def test_a_whole_answer_repeats_the_prompt_unless_told_not_to(port: int) -> None:
    _, with_prompt = generate(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY})
    _, without = generate(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY, "exclude_input_in_output": True})
    assert with_prompt["text_output"] == PROMPT + without["text_output"]


def test_a_stream_never_repeats_the_prompt(port: int) -> None:
    _, whole = generate(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY, "exclude_input_in_output": True})
    frames = generate_stream(port, MODEL, {"text_input": PROMPT, "stream": True, "parameters": GREEDY})
    assert "".join(frame["text_output"] for frame in frames) == whole["text_output"]
    refused = {"text_input": PROMPT, "stream": True, "exclude_input_in_output": False}
    (frame,) = generate_stream(port, MODEL, refused)
    assert "When streaming, `exclude_input_in_output` = False is not allowed." in frame["error"]


def test_generate_stream_without_stream_is_one_frame(port: int) -> None:
    (frame,) = generate_stream(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY})
    assert frame["text_output"].startswith(PROMPT)


def test_a_stream_of_one_client_has_a_frame_for_each_token(port: int) -> None:
    body = {"text_input": PROMPT, "stream": True, "parameters": GREEDY, "return_num_output_tokens": True}
    assert [frame["num_output_tokens"] for frame in generate_stream(port, MODEL, body)] == [1] * 8


def test_a_bias_makes_a_token_come(port: int) -> None:
    wanted = {"text_input": PROMPT, "exclude_input_in_output": True, **sampling(logit_bias={"28": 100.0}, max_tokens=3)}
    _, answer = generate(port, MODEL, wanted)
    assert len(set(answer["text_output"].replace(" ", ""))) == 1, answer


def test_sampling_parameters_replace_parameters(port: int) -> None:
    body = {"text_input": PROMPT, "parameters": {"max_tokens": 3}, "return_num_output_tokens": True}
    assert generate(port, MODEL, body)[1]["num_output_tokens"] == 3
    both = {**body, **sampling(ignore_eos=True)}
    assert generate(port, MODEL, both)[1]["num_output_tokens"] == 16, "vLLM's own default, not the 3"


def test_every_output_that_can_be_asked_for(port: int) -> None:
    names = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
    plain = generate(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY})[1]
    assert set(plain) == {"model_name", "model_version", "text_output"}
    body = {"text_input": PROMPT, "parameters": {**GREEDY, "logprobs": 2}, **{f"return_{name}": True for name in names}}
    answer = generate(port, MODEL, body)[1]
    assert set(answer) == set(plain) | set(names)
    assert (answer["finish_reason"], answer["num_input_tokens"], answer["num_output_tokens"]) == ("length", 5, 8)
    rows = json.loads(answer["logprobs"])
    assert len(rows) == 8
    best = [max(row.values(), key=lambda entry: entry["logprob"]) for row in rows]
    assert [entry["rank"] for entry in best] == [1] * 8
    assert answer["text_output"] == PROMPT + "".join(entry["decoded_token"] for entry in best)
    assert sum(entry["logprob"] for entry in best) == pytest.approx(answer["cumulative_logprob"], abs=0.05)


def test_a_probability_that_was_not_computed_is_no_number(port: int) -> None:
    """NVIDIA's own test wants it to differ from 0; Triton writes it as JSON's readers take it."""
    _, text = send(port, f"/v2/models/{MODEL}/generate", b'{"text_input": "a", "return_cumulative_logprob": true}')
    assert math.isnan(json.loads(text)["cumulative_logprob"])


def test_no_value_of_a_parameter_stops_the_engine(served: str, port: int) -> None:
    """A request of a wrong type once left an engine that looked healthy and answered nobody."""
    (pod,) = pods_of(served, MODEL)
    listing = "from vllm.sampling_params import SamplingParams as S; print(*S.__annotations__)"
    out = kubectl("-n", served, "exec", pod["metadata"]["name"], "--", "python", "-c", listing)
    names = [name for name in out.splitlines()[-1].split() if not name.startswith("_")]
    assert len(names) > 30
    values = (1.5, -1, 0, 2**70, 1e308, True, "x", None, [], ["a"], [1.5], [-1], [10**9], {}, {"a": 1}, {"5": 1})
    bodies = [
        {"text_input": "a", **sampling(max_tokens=2, **{name: v})}
        for name in names
        for v in values
        if name != "max_tokens"
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: generate(port, MODEL, body, timeout=60), bodies))
    assert {status for status, _ in answers} == {200, 400}
    assert generate(port, MODEL, {"text_input": PROMPT}, timeout=60)[0] == 200


def test_structured_outputs_hold(port: int) -> None:
    body = {"text_input": "Is Paris in France? ", "exclude_input_in_output": True}
    assert generate(port, MODEL, {**body, **sampling(structured_outputs={"choice": ["yes", "no"]})})[1][
        "text_output"
    ] in ("yes", "no")


def test_each_adapter_answers_in_its_own_way(port: int) -> None:
    def answer(**name: str) -> str:
        body = {"text_input": PROMPT, "exclude_input_in_output": True, "parameters": {**GREEDY, **name}}
        return str(generate(port, MODEL, body)[1]["text_output"])

    answers = [answer(), answer(lora_name="pirate"), answer(lora_name="poet")]
    assert len(set(answers)) == 3
    assert answers == [answer(), answer(lora_name="pirate"), answer(lora_name="poet")]


def test_a_client_that_leaves_its_stream_frees_the_engine(served: str, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"text_input": PROMPT, "stream": True, "parameters": {"max_tokens": 500, "ignore_eos": True}}
    connection.request("POST", f"/v2/models/{MODEL}/generate_stream", json.dumps(body))
    assert connection.getresponse().readline().startswith(b"data:")
    with forwarded(served, f"svc/{MODEL}", 8002) as metrics:
        _wait_for(metrics, "num_requests_running", 1)
        connection.close()
        # 500 tokens take tens of seconds here.
        _wait_for(metrics, "num_requests_running", 0)


def test_the_metrics_are_nvidias_and_those_that_it_lacks(served: str, port: int) -> None:
    generate(port, MODEL, {"text_input": PROMPT, "parameters": GREEDY})
    nvidias = ("prompt_tokens_total", "generation_tokens_total", "time_to_first_token_seconds_count")
    nvidias += ("time_per_output_token_seconds_count", "e2e_request_latency_seconds_count")
    nvidias += ("request_prompt_tokens_count", "request_generation_tokens_count", "request_params_n_count")
    with forwarded(served, f"svc/{MODEL}", 8002) as metrics:
        read = read_metrics(metrics, MODEL)
    assert {name: read[name] > 0 for name in nvidias} == dict.fromkeys(nvidias, True)
    idle = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "num_preemptions_total")
    assert {name: read[name] for name in idle} == dict.fromkeys(idle, 0)
    assert read["engine_up"] == 1


def test_a_missing_adapter_is_told_in_nvidias_words(port: int) -> None:
    """Its own test compares the whole text."""
    _, answer = generate(port, MODEL, {"text_input": PROMPT, "parameters": {"lora_name": "nobody"}})
    assert answer == {"error": "LoRA nobody is not supported, we currently support ['pirate', 'poet']"}


def test_every_token_of_a_few_requests_is_counted_exactly(served: str, port: int) -> None:
    names = ("generation_tokens_total", "time_per_output_token_seconds_count", "request_generation_tokens_sum")
    with forwarded(served, f"svc/{MODEL}", 8002) as metrics:
        before = read_metrics(metrics, MODEL)
        for _ in range(3):
            body = {"text_input": PROMPT, "parameters": {"max_tokens": 16, "ignore_eos": True}}
            assert generate(port, MODEL, body)[0] == 200
        # As NVIDIA's own test has it: the first token of a request is no time between tokens.
        after = read_metrics(metrics, MODEL)
        assert [after[name] - before[name] for name in names] == [48, 45, 48]


def _wait_for(port: int, name: str, value: float) -> None:
    """While the engine works, metrics are written half a second late at most; the rest is for a busy machine."""
    wait_until(f"{name} is {value:g}", 5, lambda: read_metrics(port, MODEL)[name] == value, every=0.1)
