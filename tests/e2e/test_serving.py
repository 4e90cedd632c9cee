"""One model through its life, on the real runtime. The tests build on each other, in this order."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.forward import forwarded
from support.generate import ask, generate
from support.install import restart_operator
from support.llm import (
    apply,
    condition,
    container_ids,
    endpoints_of,
    get_llm,
    is_observed,
    make_llm,
    pods_of,
    wait_for,
    wait_ready,
)
from support.load import run_load

pytestmark = pytest.mark.e2e
NAME, MODEL = "smol", "smol.v1"
LLM = {"servedName": MODEL, "image": {"reference": "localhost/triton-vllm-operator/smollm2-135m-instruct:1"}}
LLM["image"]["pullPolicy"] = "Never"  # type: ignore[index]


@pytest.fixture(scope="module")
def served(shared_namespace: str) -> Iterator[str]:
    """The namespace in which the model is served."""
    # What is dead is looked at here, and stays (test_death.py: it is replaced).
    apply(make_llm(NAME, shared_namespace, model=LLM, recovery={"policy": "Report"}))
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found")


@pytest.fixture
def port(served: str) -> Iterator[int]:
    """The model's HTTP port at 127.0.0.1."""
    with forwarded(served, f"svc/{NAME}", 8000) as local:
        yield local


def gate_of(pod: dict[str, Any]) -> dict[str, Any]:
    conditions = pod["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == "triton-vllm.dev/generates"), {})


def test_ready_is_said_only_after_a_generate(served: str) -> None:
    seen: list[tuple[str, str]] = []

    def watch(llm: dict[str, Any]) -> bool:
        gates = [gate_of(pod).get("status", "None") for pod in pods_of(served, NAME)]
        ready = condition(llm, "Ready").get("status", "None")
        seen.append((ready, gates[0] if gates else "None"))
        return ready == "True"

    wait_for(served, NAME, "is ready", 300, watch)
    assert all(gate == "True" for ready, gate in seen if ready == "True")
    assert ("False", "None") in seen, "it was not ready before"
    (pod,) = pods_of(served, NAME)
    assert gate_of(pod)["message"].startswith(pod["status"]["containerStatuses"][0]["containerID"])
    assert endpoints_of(served, NAME) == {pod["metadata"]["name"]}


def test_what_runs_is_what_was_rendered(served: str) -> None:
    """Read from the engine's own log, and from Triton's configuration of the model."""
    wait_for(served, NAME, "says how it runs", 30, lambda x: "running" in x["status"]["engine"])
    llm = get_llm(served, NAME)
    assert llm["status"]["engine"]["running"] == {"vllmVersion": "0.32.0", "maxModelLen": 1024}
    # 1 GiB, in blocks of 128 tokens of 23,040 bytes.
    assert llm["status"]["memoryPlan"]["measured"]["kvCacheTokens"] == 364 * 128
    assert condition(llm, "Ready")["message"] == "1 of 1 pods generate"


def test_it_answers_over_http(port: int) -> None:
    assert "Paris" in ask(port, MODEL, "What is the capital of France?")


def test_sampling_parameters_go_per_request(port: int) -> None:
    body = {"text_input": "One, two, three,", "exclude_input_in_output": True, "return_num_output_tokens": True}
    status, answer = generate(port, MODEL, {**body, "parameters": {"max_tokens": 5, "ignore_eos": True}})
    assert (status, answer["num_output_tokens"]) == (200, 5)
    listed = json.dumps({"max_tokens": 32, "temperature": 0, "stop": ["seven"]})
    status, answer = generate(port, MODEL, {**body, "sampling_parameters": listed})
    assert status == 200
    assert "seven" not in answer["text_output"]


def test_several_completions_come_together(port: int) -> None:
    parameters = {"n": 3, "max_tokens": 4, "ignore_eos": True, "temperature": 1.0}
    status, answer = generate(
        port, MODEL, {"text_input": "One,", "exclude_input_in_output": True, "parameters": parameters}
    )
    assert status == 200
    assert [bool(text) for text in answer["text_output"]] == [True, True, True]


def test_it_streams_over_grpc(served: str) -> None:
    import tritonclient.grpc as triton

    with forwarded(served, f"svc/{NAME}", 8001) as local, triton.InferenceServerClient(f"127.0.0.1:{local}") as client:
        frames: list[Any] = []
        client.start_stream(lambda result, error: frames.append(error or result))
        text = triton.InferInput("text_input", [1], "BYTES")
        text.set_data_from_numpy(np.array([b"The capital of France is"], dtype=np.object_))
        stream = triton.InferInput("stream", [1], "BOOL")
        stream.set_data_from_numpy(np.array([True]))
        parameters = {"max_tokens": 8, "ignore_eos": True, "temperature": "0"}
        client.async_stream_infer(MODEL, [text, stream], parameters=parameters, enable_empty_final_response=True)
        wait_until("the stream has ended", 60, lambda: bool(frames) and _is_final(frames[-1]), every=0.1)
        client.stop_stream()
    errors = [frame for frame in frames if isinstance(frame, Exception)]
    assert errors == []
    texts = [frame.as_numpy("text_output") for frame in frames if frame.as_numpy("text_output") is not None]
    assert len(texts) > 1, "deltas, not one answer"
    assert "Paris" in b"".join(part for text in texts for part in text).decode()


def _is_final(frame: Any) -> bool:
    if isinstance(frame, Exception):
        return True
    return bool(frame.get_response().parameters["triton_final_response"].bool_param)


def test_the_model_control_endpoints_are_closed(port: int) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/repository/index", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
    assert refused.value.code == 403


def test_a_hundred_requests_at_once_are_all_answered(served: str) -> None:
    url = str(get_llm(served, NAME)["status"]["url"])
    assert url == f"http://{NAME}.{served}.svc:8000/v2/models/{MODEL}/generate"
    (measured,) = run_load(served, url, 100)
    assert (measured["complete"], measured["failed"]) == (100, [])
    assert condition(get_llm(served, NAME), "Ready")["status"] == "True", "the probe survives a busy engine"


def test_a_killed_operator_restarts_no_pod(served: str) -> None:
    before = container_ids(served, NAME)
    restart_operator()
    wait_ready(served, NAME, 60)
    assert container_ids(served, NAME) == before
    assert all(p["status"]["containerStatuses"][0]["restartCount"] == 0 for p in pods_of(served, NAME))


def test_an_engine_setting_becomes_a_new_engine(served: str) -> None:
    before = container_ids(served, NAME)
    apply(make_llm(NAME, served, model=LLM, engine={"maxModelLen": 512, "maxNumSeqs": 64, "enforceEager": True}))
    wait_ready(served, NAME)
    assert container_ids(served, NAME).isdisjoint(before)
    (pod,) = pods_of(served, NAME)
    log = kubectl("-n", served, "logs", pod["metadata"]["name"])
    assert "max_seq_len=512" in next(line for line in log.splitlines() if "Initializing a V1 LLM engine" in line)


def test_a_refused_edit_leaves_it_serving(served: str, port: int) -> None:
    before = container_ids(served, NAME)
    kubectl("-n", served, "patch", "llm", NAME, "--type=merge", "-p", '{"spec":{"runtime":{"version":"99.99"}}}')
    refused = wait_for(served, NAME, "is refused", 10, lambda x: condition(x, "Accepted").get("status") == "False")
    assert refused < 10
    llm = get_llm(served, NAME)
    assert condition(llm, "Accepted")["reason"] == "UnknownRuntime"
    assert condition(llm, "Available")["status"] == "True"
    assert "Paris" in ask(port, MODEL, "What is the capital of France?")
    kubectl("-n", served, "patch", "llm", NAME, "--type=merge", "-p", '{"spec":{"runtime":{"version":"cpu-0.32.0"}}}')
    wait_ready(served, NAME, 10)
    assert container_ids(served, NAME) == before


def test_scaling_restarts_nothing(served: str) -> None:
    before = container_ids(served, NAME)
    kubectl("-n", served, "scale", "llm", NAME, "--replicas=2")
    wait_for(served, NAME, "has two pods", 30, lambda x: x["status"].get("replicas") == 2)
    wait_until("the second container runs", 30, lambda: len(container_ids(served, NAME) - {""}) == 2)
    both = container_ids(served, NAME)
    assert before < both
    kubectl("-n", served, "scale", "llm", NAME, "--replicas=1")
    wait_ready(served, NAME, 120)
    (left,) = container_ids(served, NAME)
    assert left in both


def test_a_killed_engine_leaves_the_service_and_is_named(served: str) -> None:
    wait_ready(served, NAME)
    (pod,) = pods_of(served, NAME)
    name = pod["metadata"]["name"]
    kill = "import os,glob\nfor f in glob.glob('/proc/[0-9]*/cmdline'):\n"
    kill += "  c=open(f,'rb').read()\n  if b'Engine' + b'Core' in c: os.kill(int(f.split('/')[2]), 9)"
    kubectl("-n", served, "exec", name, "--", "python3", "-c", kill)
    # Two failures at a period of 2 s, and the time of the probes themselves.
    wait_for(served, NAME, "is degraded", 20, lambda x: condition(x, "Degraded").get("status") == "True")
    degraded = condition(get_llm(served, NAME), "Degraded")
    assert degraded["reason"] == "EngineDead"
    assert name in degraded["message"]
    wait_until("the pod is out of the Service", 10, lambda: endpoints_of(served, NAME) == set())
    with forwarded(served, f"pod/{name}", 8000) as local:
        status, answer = generate(local, MODEL, {"text_input": "Hello"})
    assert status != 200
    assert "EngineCore encountered an issue" in answer["error"], "the server itself lives on"


def test_an_engine_that_cannot_start_says_why(namespace: str) -> None:
    strange = {"hf_overrides": {"architectures": ["StrangeForCausalLM"]}}
    apply(make_llm("strange", namespace, engine={"maxModelLen": 64, "enforceEager": True, "extraArgs": strange}))
    wait_for(
        namespace, "strange", "crashed", 120, lambda x: condition(x, "Ready").get("reason") == "UnsupportedArchitecture"
    )
    assert "StrangeForCausalLM" in condition(get_llm(namespace, "strange"), "Ready")["message"]
    kubectl("-n", namespace, "delete", "llm", "strange")


def test_what_the_engines_own_process_said_names_the_failure(namespace: str) -> None:
    """To Triton's process vLLM says no more than "Engine core initialization failed. See root cause above"."""
    longer = {"hf_overrides": {"max_position_embeddings": 131072}}
    apply(make_llm("long", namespace, engine={"maxModelLen": 65536, "enforceEager": True, "extraArgs": longer}))
    named = "MaxModelLenOverKv"
    wait_for(namespace, "long", "named", 120, lambda x: condition(x, "Ready").get("reason") == named)
    message = condition(get_llm(namespace, "long"), "Ready")["message"]
    assert "one sequence of 65536 tokens takes 1.41 GiB of KV cache, and 1.0 GiB are left" in message
    assert "what helps: spec.engine.maxModelLen: " in message
    kubectl("-n", namespace, "delete", "llm", "long")


def test_a_deleted_pod_is_replaced(served: str) -> None:
    (pod,) = pods_of(served, NAME)
    kubectl("-n", served, "delete", "pod", pod["metadata"]["name"], "--wait=false")
    wait_for(served, NAME, "has lost its pod", 10, lambda x: condition(x, "Ready").get("status") == "False")
    wait_ready(served, NAME)
    assert condition(get_llm(served, NAME), "Degraded")["status"] == "False"


def test_kubectl_wait_passes_for_the_present_spec(served: str) -> None:
    llm = get_llm(served, NAME)
    assert is_observed(llm)
    kubectl("-n", served, "wait", "--for=condition=Ready", f"llm/{NAME}", "--timeout=5s")


def test_deleting_it_deletes_everything(served: str) -> None:
    kubectl("-n", served, "delete", "llm", NAME, "--timeout=10s")

    def is_gone() -> bool:
        kinds = "deployments,services,configmaps,controllerrevisions,pods"
        found = kubectl_json("-n", served, "get", kinds, "-l", f"app.kubernetes.io/instance={NAME}")
        return not found["items"]

    wait_until("all children are gone", 120, is_gone)
