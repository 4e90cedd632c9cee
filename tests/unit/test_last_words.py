"""Where a termination message says too little, the end of the log names the failure, and what the engine was doing."""
# ruff: noqa: E501 (texts stand as they were written)

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.pods import make_pod
from support.simulate import World
from triton_vllm_operator.api import names
from triton_vllm_operator.health.failures.last_words import Phase, find_last_words, find_phase, find_telling_line
from triton_vllm_operator.health.failures.pods import find_problem, wants_words
from triton_vllm_operator.kube.pod import Ended, Pod
from triton_vllm_operator.kube.pod_reading import project_pod

ENDS = Path(__file__).parents[1] / "fixtures" / "ends"
NVIDIA = "error: creating server: Internal - failed to load all models"
"""What NVIDIA's backend leaves: it says the rest into its log alone."""
ENDED = Ended("Error", 1, NVIDIA, container_id="containerd://0")
# As vLLM 0.20.2 and 0.24.0 write them (engine-logs of the facts that this project started from).
LOAD = "(EngineCore pid=5397) INFO 11-23 13:21:55 [gpu_model_runner.py:4777] Starting to load model /weights/big..."
LOADED = "INFO 11-23 13:22:40 [gpu_model_runner.py:4879] Model loading took 14.99 GiB memory and 0.372368 seconds"
CACHE = "INFO 11-23 13:23:08 [gpu_worker.py:440] Available KV cache memory: 1.97 GiB"
READY = "INFO 11-23 13:23:42 [core.py:299] init engine (profile, create kv cache, warmup model) took 10.70 s"
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total capacity of "
    "139.80 GiB of which 699.56 MiB is free."
)


def crashed(**changes: Any) -> Pod:
    return make_pod("r", running=False, ended=replace(ENDED, **changes))


@pytest.mark.parametrize(
    ("lines", "phase"),
    [
        ((), None),
        ((LOAD,), Phase.LOAD),
        ((LOAD, LOADED), Phase.PROFILE),
        ((LOAD, LOADED, CACHE), Phase.CAPTURE),
        ((LOAD, LOADED, CACHE, READY), Phase.SERVING),
        # A worker that was started again loads again.
        ((LOAD, LOADED, CACHE, READY, LOAD), Phase.LOAD),
    ],
)
def test_the_last_phase_that_began_is_told(lines: tuple[str, ...], phase: Phase | None) -> None:
    assert find_phase("\n".join((*lines, OOM))) is phase


def test_the_log_names_what_the_message_does_not() -> None:
    words = find_last_words((ENDS / "h200-len.txt").read_text())
    found = find_problem(crashed(), words)
    assert found is not None
    assert found.reason == "MaxModelLenOverKv"
    assert "one sequence of 131072 tokens takes 16.0 GiB" in found.message


@pytest.mark.parametrize(("message", "reason"), [(NVIDIA, "CudaOutOfMemory"), (OOM, "CudaOutOfMemory")])
def test_running_out_of_the_gpus_memory_says_when(message: str, reason: str) -> None:
    pod = crashed(message=message)
    assert wants_words(pod)
    found = find_problem(pod, find_last_words("\n".join((LOAD, LOADED, OOM))))
    assert found is not None
    assert found.reason == reason
    assert "the engine asked for 896.00 MiB, while it measured itself" in found.message


def test_running_out_of_the_containers_memory_says_when() -> None:
    pod = crashed(reason="OOMKilled", exit_code=137)
    found = find_problem(pod, find_last_words(LOAD))
    assert found is not None
    assert found.reason == "OutOfMemory"
    assert "used too much memory and was killed (OOMKilled) while the weights were loaded; raise" in found.message


@pytest.mark.parametrize(
    "line",
    [
        'W1130 09:01:02.003 1 metrics.cc:701] "DCGM unable to start: DCGM initialization error"',
        "(EngineCore pid=211) WARNING 11-30 09:01:02 [cuda.py:1] Error is not fatal",
        "INFO 11-30 09:01:02 [llm.py:1] no error so far",
    ],
)
def test_a_warning_is_no_end(line: str) -> None:
    assert find_telling_line(line) == ""
    assert find_telling_line(f"E1130 09:01:02.004 1 server.cc:1] error: address already in use\n{line}").startswith(
        "E1130"
    )


def test_the_end_of_a_stub_is_told_although_triton_calls_it_information() -> None:
    stub = (
        'I1123 11:22:33.4 7 pb_stub.cc:335] "Failed to initialize Python stub for auto-complete: ImportError: '
        'libcudart.so.13: cannot open shared object file"'
    )
    log = f"{stub}\nerror: creating server: Internal - failed to load all models"
    assert find_telling_line(log) == stub


def test_of_an_unknown_text_the_last_line_of_an_error_is_told_and_no_wrapper() -> None:
    log = (
        f"{LOAD}\nValueError: the moon is full\nRuntimeError: Engine core initialization failed. See root cause above."
    )
    assert find_telling_line(log) == "ValueError: the moon is full"
    found = find_problem(crashed(message=""), find_last_words(log))
    assert found is not None
    assert found.reason == "ContainerCrashed"
    assert "exit code 1): ValueError: the moon is full" in found.message


@pytest.mark.parametrize(
    ("message", "log", "wanted"),
    [
        # Of what a worker ended stands in the log; that it ended is no name beside it.
        (
            "",
            "OSError: the moon is full\nERROR Worker proc VllmWorker-0 died unexpectedly",
            "OSError: the moon is full",
        ),
        ("Error: Engine core initialization failed. See root cause above.", "TypeError: no moon", "TypeError: no moon"),
        (
            "",
            "Error in inspecting model architecture 'A'\nValueError: the moon is full",
            "ValueError: the moon is full",
        ),
        (
            "",
            "RuntimeError: the moon is full\nCUDA kernel errors might be asynchronously reported at some other API call",
            "RuntimeError: the moon is full",
        ),
        (
            "",
            '    raise RuntimeError(\nValueError: the moon is full\n    raise RuntimeError("x")',
            "ValueError: the moon is full",
        ),
        ("", "Exception: data did not match any variant", "Exception: data did not match any variant"),
        ("", "\x1b[1;36m(Worker)\x1b[0;0m ValueError: the moon is full", "(Worker) ValueError: the moon is full"),
    ],
)
def test_the_cause_is_told_and_not_what_stands_around_it(message: str, log: str, wanted: str) -> None:
    found = find_problem(crashed(message=message), find_last_words(log))
    assert found is not None
    assert (found.reason, found.message) == (
        "ContainerCrashed",
        f"pod llama-1 ended with Error (exit code 1): {wanted}; see kubectl logs llama-1 --previous",
    )


def test_a_process_that_only_ended_is_said_to_be_dead() -> None:
    found = find_problem(crashed(), find_last_words("ERROR Worker proc VllmWorker-0 died unexpectedly"))
    assert found is not None
    assert found.reason == "EngineDead"


@pytest.mark.parametrize(("code", "told"), [(137, "137, SIGKILL"), (139, "139, SIGSEGV"), (1, "1"), (255, "255")])
def test_an_exit_code_says_its_signal(code: int, told: str) -> None:
    found = find_problem(crashed(exit_code=code))
    assert found is not None
    assert f"(exit code {told})" in found.message


def test_weights_that_do_not_fit_are_not_helped_by_a_smaller_cache() -> None:
    found = find_problem(crashed(), find_last_words(f"{LOAD}\n{OOM}"))
    assert found is not None
    assert "what helps: more GPUs by spec.engine.tensorParallelSize, or a quantised model" in found.message


def test_what_ends_again_and_again_says_how_often_and_whether_it_will_again() -> None:
    pod = replace(crashed(), restarts=4)
    lasting = find_problem(pod, find_last_words((ENDS / "h200-len.txt").read_text()))
    assert lasting is not None
    assert "it ended so, 5 times by now, and will again" in lasting.message
    taken = (
        "ValueError: Free memory on device cuda:0 (21.53/79.18 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 71.26 GiB)."
    )
    passing = find_problem(pod, find_last_words(taken))
    assert passing is not None
    assert "5 times by now" in passing.message
    assert "will again" not in passing.message


@pytest.mark.parametrize(
    ("pod", "wanted"),
    [
        (crashed(), True),
        (crashed(message=OOM), True),
        (crashed(reason="OOMKilled", message=""), True),
        (crashed(message="Cannot find any model weights with `/w`"), False),
        (crashed(exit_code=0), False),
        (crashed(container_id=""), False),
        (make_pod("r"), False),
    ],
)
def test_logs_are_read_where_they_say_more(pod: Pod, wanted: bool) -> None:
    assert wants_words(pod) is wanted


def test_the_conditions_tell_it() -> None:
    world = World().settle()
    pod = replace(crashed(), name="llama-1", revision=world.revision)
    world.pods = (pod,)
    world.changes = {"last_words": {"llama-1": find_last_words((ENDS / "h200-len.txt").read_text())}}
    world.settle()
    assert world.condition("Ready") == ("False", "MaxModelLenOverKv")


def test_a_device_that_the_kubelet_calls_unhealthy_is_named() -> None:
    gpus = [{"resourceID": "GPU-1", "health": "Healthy"}, {"resourceID": "GPU-2", "health": "Unhealthy"}]
    state = {"terminated": {"exitCode": 1, "reason": "Error", "containerID": "containerd://0"}}
    status = {"name": names.CONTAINER, "state": state}
    status["allocatedResourcesStatus"] = [{"name": "nvidia.com/gpu", "resources": gpus}]
    pod = project_pod({"metadata": {"name": "a", "uid": "u"}, "status": {"containerStatuses": [status]}})
    found = find_problem(pod)
    assert found is not None
    assert found.reason == "GpuUnhealthy"
    assert "the kubelet calls its nvidia.com/gpu GPU-2 unhealthy" in found.message
    named = find_problem(pod, find_last_words("ValueError: No available memory for the cache blocks."))
    assert named is not None
    assert (named.reason, "GPU-2 unhealthy" in named.message) == ("NoKvMemory", True)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Error: token hf_AbCdEfGhIjKlMnOpQrSt is invalid", "Error: token hf_... is invalid"),
        ("HTTPError: Authorization: Bearer abc.def-ghi", "HTTPError: Authorization: Bearer ..."),
        ("ProxyError: http://user:secret1@proxy:3128", "ProxyError: http://user:...@proxy:3128"),
        ("Error: eyJhbGciOi.eyJzdWIi.c2ln", "Error: eyJ..."),
        ("Error at https://huggingface.co:443/acme", "Error at https://huggingface.co:443/acme"),
    ],
)
def test_credentials_of_a_log_are_not_told(text: str, hidden: str) -> None:
    assert find_telling_line(text) == hidden
