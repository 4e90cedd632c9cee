"""`kubectl llm plan`: verdict, numbers and what would fit, from a folder with the headers of a model."""

import argparse
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from support.checkpoints import LLAMA, write_checkpoint
from support.nodes import H100, L4, node_body
from triton_vllm_operator.cli.__main__ import ACCEPTED, REFUSED, UNREADABLE, main
from triton_vllm_operator.cli.plan import Answer, answer
from triton_vllm_operator.cli.plan_drawing import draw_plan
from triton_vllm_operator.repository.catalogue import load_catalogue

RESOURCE = """
apiVersion: triton-vllm.dev/v1alpha1
kind: LLMDeployment
metadata: {name: llama}
spec:
  model: {huggingFace: {repository: a/b}}
  runtime: {version: "26.08"}
  engine: {maxModelLen: 8192, tensorParallelSize: 2, kvCacheDtype: fp8}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_checkpoint(tmp_path / "model", LLAMA))


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["plan", *arguments])
    printed = capsys.readouterr()
    return code, printed.out or printed.err


def test_programs_read_the_numbers(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = plan(capsys, "--model", model, "--gpu", "H100-80GB", "--vllm-version", "0.19.0", "-o", "json")
    found = json.loads(text)
    assert (code, found["verdict"], found["runner"]) == (ACCEPTED, "Fits", "V1")
    assert found["weightsBytes"] / 2**30 == pytest.approx(14.99, rel=0.003)
    assert found["kvBytesPerToken"] == 131072
    tokens = found["kvCacheTokens"]
    assert tokens["low"] < tokens["expected"] < tokens["high"]
    assert found["kvCacheBytes"]["expected"] == pytest.approx(54.13 * 2**30, rel=0.001)


def test_what_does_not_fit_comes_with_the_smallest_changes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = plan(capsys, "--model", model, "--gpu", "L4", "--vllm-version", "0.27.1")
    assert code == REFUSED
    assert text.startswith("LlamaForCausalLM does not fit on NVIDIA-L4 with vLLM 0.27.1: one sequence of 131072 tokens")
    fits = [line.removeprefix("to make it fit: ") for line in text.splitlines() if line.startswith("to make it fit")]
    assert any(line.startswith("spec.engine.maxModelLen: ") for line in fits)
    length = next(line for line in fits if "maxModelLen" in line).rpartition(" ")[2]
    assert 8192 < int(length) < 65536


def test_the_length_that_it_says_is_one_that_it_lets_start(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", model, "--gpu", "L4", "-o", "json")
    _, text = plan(capsys, *options, "--vllm-version", "0.27.1")
    (length,) = (change.rpartition(" ")[2] for change in json.loads(text)["changes"] if "maxModelLen" in change)
    resource = tmp_path / "llama.yaml"
    resource.write_text(
        RESOURCE.replace("maxModelLen: 8192, tensorParallelSize: 2, kvCacheDtype: fp8", f"maxModelLen: {length}")
    )
    code, text = plan(capsys, *options, "-f", str(resource))
    assert (code, json.loads(text)["verdict"] in ("Fits", "Tight")) == (ACCEPTED, True)


def test_the_settings_come_from_the_resource(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = tmp_path / "llama.yaml"
    resource.write_text(RESOURCE)
    code, text = plan(capsys, "-f", str(resource), "--model", model, "--gpu", "NVIDIA-H100-80GB-HBM3", "-o", "json")
    found = json.loads(text)
    assert (code, found["vllm"], found["maxModelLen"], found["kvBytesPerToken"]) == (ACCEPTED, "0.27.1", 8192, 32768)


def test_a_utilization_that_no_engine_can_have_is_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = tmp_path / "llama.yaml"
    resource.write_text(RESOURCE.replace("engine: {", "engine: {gpuMemoryUtilization: 0.999, "))
    code, text = plan(capsys, "-f", str(resource), "--model", model, "--gpu", "H100")
    assert code == REFUSED
    assert "gpuMemoryUtilization 0.999 asks for more than the 0.986 that are free of an empty GPU" in text
    assert "to make it fit: spec.engine.gpuMemoryUtilization: 0.9" in text


def test_what_is_not_understood_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_checkpoint(tmp_path, {**LLAMA, "layer_types": ["linear_attention"] * 32})
    code, text = plan(capsys, "--model", str(folder), "--gpu", "H100", "--vllm-version", "0.27.1")
    assert (code, text) == (ACCEPTED, "unknown: layers of the kind linear_attention\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gpu", "H100"), "--vllm-version says which vLLM is planned for"),
        (("--vllm-version", "0.27.1"), "--gpu NAME, --gpu-memory BYTES or --nodes says which GPU"),
        (("--vllm-version", "0.27.1", "--gpu", "GTX"), "--gpu GTX: not known; one of H200, H100"),
    ],
)
def test_what_is_missing_is_said(
    model: str, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = plan(capsys, "--model", model, *options)
    assert (code, words in text) == (UNREADABLE, True), text


def test_ranks_that_do_not_divide_the_model_are_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = tmp_path / "llama.yaml"
    resource.write_text(RESOURCE.replace("tensorParallelSize: 2", "tensorParallelSize: 5"))
    code, text = plan(capsys, "-f", str(resource), "--model", model, "--gpu", "H100")
    assert code == REFUSED
    assert "tensorParallelSize 5 does not divide the 32 attention heads and the vocabulary of 128256" in text


def test_a_terminal_gets_a_bar_and_a_table(model: str) -> None:
    options = argparse.Namespace(
        filename=None,
        model=model,
        gpu="H100",
        gpu_memory=None,
        nodes=False,
        vllm_version="0.27.1",
        engine_only=False,
    )
    found = answer(options, load_catalogue(None))
    assert isinstance(found, Answer)
    terminal = io.StringIO()
    draw_plan(found, Console(file=terminal, force_terminal=True, width=120))
    text = terminal.getvalue()
    assert "\x1b[32m" in text
    assert "█ weights" in text
    assert "tensorParallelSize 2" in text


def put_kubectl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubectl that answers with what a script prints."""
    (folder / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_nodes_of_a_cluster_are_planned_for_together(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nodes.json").write_text(json.dumps({"items": [node_body("a", H100, 2), node_body("b", L4, 2)]}))
    put_kubectl(tmp_path, f"cat {tmp_path / 'nodes.json'}", monkeypatch)
    arguments = ("--model", model, "--nodes", "--vllm-version", "0.27.1")
    code, text = plan(capsys, *arguments)
    assert code == REFUSED
    assert text.startswith("LlamaForCausalLM with vLLM 0.27.1 does not fit on NVIDIA-L4: one sequence of 131072 tokens")
    assert "spec.scheduling.nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3} keeps it" in text
    _, text = plan(capsys, *arguments, "-o", "json")
    assert json.loads(text)["nodes"]["fit"] == "FitsOnSomeNodes"
    file = tmp_path / "llm.yaml"
    file.write_text(RESOURCE + "  scheduling: {nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}\n")
    code, text = plan(capsys, "--model", model, "--nodes", "-f", str(file))
    assert code == ACCEPTED
    assert " fits on 2 x NVIDIA-H100-80GB-HBM3: " in text
    file.write_text(RESOURCE.replace("tensorParallelSize: 2", "tensorParallelSize: 4"))
    assert plan(capsys, "--model", model, "--nodes", "-f", str(file)) == (
        ACCEPTED,
        "unknown: no node that takes the pods has 4 nvidia.com/gpu: the most that one has is 2\n",
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'nodes is forbidden' >&2; exit 1", "kubectl cannot list the nodes: nodes is forbidden"),
        ("echo no", "what kubectl printed is no list of nodes"),
    ],
)
def test_a_cluster_that_tells_no_nodes_is_said(
    script: str,
    said: str,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_kubectl(tmp_path, script, monkeypatch)
    code, text = plan(capsys, "--model", model, "--nodes", "--vllm-version", "0.27.1")
    assert (code, said in text) == (UNREADABLE, True)


def test_without_kubectl_that_is_said(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, text = plan(capsys, "--model", model, "--nodes", "--vllm-version", "0.27.1")
    assert (code, text) == (UNREADABLE, "kubectl-llm: --nodes: kubectl is not on the PATH\n")
