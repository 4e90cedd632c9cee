"""`kubectl llm plan`: verdict, numbers and what would fit, from a folder with the headers of a model."""

import argparse
import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from perf.memory import STARTS
from support.checkpoints import LLAMA, make_draft, write_checkpoint
from support.nodes import H100, L4, node_body
from triton_vllm_operator.cli.__main__ import UNREADABLE, main
from triton_vllm_operator.cli.offline import ACCEPTED, REFUSED
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


def test_a_draft_model_is_planned_with_the_model(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((STARTS / "models.yaml").read_text())["eagle3-llama-3-8b"]
    draft = str(write_checkpoint(tmp_path / "draft", config, make_draft(config, has_copies=True)))
    resource = tmp_path / "llama.yaml"
    guessing = "method: eagle3, numSpeculativeTokens: 3, model: {huggingFace: {repository: a/draft}}"
    resource.write_text(RESOURCE.replace("tensorParallelSize: 2", f"speculativeConfig: {{{guessing}}}"))
    options = ("--model", model, "--gpu", "H100", "-o", "json", "-f", str(resource))
    code, text = plan(capsys, *options, "--draft", draft)
    found = json.loads(text)
    assert (code, found["kvBytesPerToken"]) == (ACCEPTED, 33 * 2048)
    assert found["weightsBytes"] > 15.7 * 2**30
    assert "embedding and output of the draft model equal the model's, and are held once" in found["assumptions"]
    code, text = plan(capsys, *options)
    assert (code, "there is a spec.engine.speculativeConfig.model: --draft DIR is" in text) == (UNREADABLE, True)
    code, text = plan(capsys, "--model", model, "--gpu", "H100", "--vllm-version", "0.27.1", "--draft", draft)
    assert (code, "--draft needs -f FILE with spec.engine.speculativeConfig.model" in text) == (UNREADABLE, True)


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
        draft=None,
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
    file.write_text(RESOURCE.replace("maxModelLen: 8192, ", "").replace("tensorParallelSize: 2, ", ""))
    # The operator would make no pod of it.
    assert main(["explain", "-f", str(file), "--model", model, "--nodes"]) == REFUSED
    assert "does not fit on NVIDIA-L4" in capsys.readouterr().out
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
        ("echo 'nodes is forbidden' >&2; exit 1", "kubectl get nodes: nodes is forbidden"),
        ("echo no", "kubectl get nodes printed no JSON"),
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
    assert (code, text) == (UNREADABLE, "kubectl-llm: kubectl is not on the PATH\n")


STATUS = {
    "conditions": [
        {
            "type": "MemoryFits",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-28T12:00:00Z",
            "reason": "Fits",
            "message": "fits on NVIDIA-H100-80GB-HBM3",
        }
    ],
    "memoryPlan": {
        "predicted": {
            "gpu": "NVIDIA-H100-80GB-HBM3",
            "runner": "V2",
            "weightsBytes": 15 * 2**30,
            "kvBytesPerToken": 131072,
            "kvCacheBytes": {"low": 53 * 2**30, "expected": 54 * 2**30, "high": 55 * 2**30},
            "kvCacheTokens": {"low": 434176, "expected": 442368, "high": 450560},
        },
        "measured": {"weightsBytes": 15 * 2**30, "kvCacheTokens": 440000, "graphBytes": 2**29},
    },
}


def test_a_plan_stands_against_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llm.json").write_text(json.dumps({"status": STATUS}))
    put_kubectl(tmp_path, f'echo "$@" > {tmp_path / "asked"}; cat {tmp_path / "llm.json"}', monkeypatch)
    code, text = plan(capsys, "llama", "-n", "models")
    asked = "get llmdeployments.triton-vllm.dev llama --namespace models --output=json"
    assert (code, (tmp_path / "asked").read_text().strip()) == (ACCEPTED, asked)
    assert text.splitlines() == [
        "llama: MemoryFits=True (Fits): fits on NVIDIA-H100-80GB-HBM3",
        "planned for NVIDIA-H100-80GB-HBM3, with vLLM's model runner V2",
        "",
        "            planned                             measured        off by",
        "weights     15.00 GiB                           15.00 GiB       +0.0%",
        "KV cache    54.00 GiB  (53.00 GiB to 55.00 GiB)",
        "KV tokens   442,368  (434,176 to 450,560)       440,000         +0.5%",
        "graphs                                          0.50 GiB",
    ]
    _, text = plan(capsys, "llama", "-o", "json")
    found = json.loads(text)
    assert (found["verdict"], found["errors"]) == ("Fits", {"weights": 0.0, "KV tokens": 0.0054})


def test_one_that_has_no_plan_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_kubectl(tmp_path, "echo '{}'", monkeypatch)
    assert plan(capsys, "llama") == (
        ACCEPTED,
        "llama: MemoryFits is not known yet\nnothing was planned or measured\n",
    )


def test_what_is_planned_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = plan(capsys, "--gpu", "L4")
    assert (code, "NAME of an LLMDeployment of the cluster, or --model DIR" in text) == (UNREADABLE, True)


def test_explain_says_whether_it_fits(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "llm.yaml"
    file.write_text(RESOURCE)
    asked = ["explain", "-f", str(file), "--model", model, "--gpu", "H100"]
    assert main(asked) == ACCEPTED
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  memory: LlamaForCausalLM fits on 2 x NVIDIA-H100-80GB with vLLM ") for line in lines)
    assert main([*asked, "-o", "json"]) == ACCEPTED
    assert json.loads(capsys.readouterr().out)["memory"]["verdict"] == "Fits"
    assert main([*asked[:-2]]) == UNREADABLE
    assert "--gpu NAME, --gpu-memory BYTES or --nodes says which GPU" in capsys.readouterr().err


ON_CPU = """
apiVersion: triton-vllm.dev/v1alpha1
kind: LLMDeployment
metadata: {name: llama}
spec:
  model: {huggingFace: {repository: a/b}}
  runtime: {version: cpu-0.32.0}
  accelerator: {cpu: {kvCacheSize: 2Gi}}
  engine: {maxModelLen: 8192}
  resources: {limits: {memory: LIMIT}}
"""


@pytest.mark.parametrize(("limit", "code", "verdict"), [("64Gi", ACCEPTED, "Fits"), ("16Gi", REFUSED, "DoesNotFit")])
def test_an_engine_on_a_cpu_needs_no_gpu_to_be_planned(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str, code: int, verdict: str
) -> None:
    file = tmp_path / "cpu.yaml"
    file.write_text(ON_CPU.replace("LIMIT", limit))
    found = plan(capsys, "-f", str(file), "--model", model, "-o", "json")
    assert found[0] == code
    data = json.loads(found[1])
    assert data["verdict"] == verdict
    assert data["kvCacheTokens"]["expected"] == 2**31 // (128 * 131072) * 128
    text = plan(capsys, "-f", str(file), "--model", model)[1]
    words = {"Fits": "fits", "DoesNotFit": "does not fit"}[verdict]
    assert text.startswith(f"LlamaForCausalLM {words} on a CPU with vLLM 0.32.0: processes, ")
    assert "weights       14.99 GiB" in text


def test_auto_takes_the_longest_sequence_that_fits(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "auto.yaml"
    file.write_text(RESOURCE.replace("8192, tensorParallelSize: 2, kvCacheDtype: fp8", "Auto"))
    data = json.loads(plan(capsys, "-f", str(file), "--model", model, "--gpu", "L4", "-o", "json")[1])
    assert data["verdict"] == "Fits"
    assert 8192 < data["maxModelLen"] < 131072
    assert f"sequences may be as long as fits: about {data['maxModelLen']} tokens" in data["assumptions"]


def test_what_no_plan_counts_is_among_the_assumptions(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "draft.yaml"
    file.write_text(RESOURCE.replace("kvCacheDtype: fp8", "extraArgs: {cpu_offload_gb: 4}"))
    text = plan(capsys, "-f", str(file), "--model", model, "--gpu", "H100-80GB")[1]
    assert text.startswith("unknown, since spec.engine.extraArgs.cpu_offload_gb is not counted; without it: Llama")
    assert "assumed: not counted: spec.engine.extraArgs.cpu_offload_gb" in text


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("banana", "--vllm-version banana: write a number, as 0.27.1"),
        ("0.9.0", "vLLM 0.9.0: no release"),
        ("0.99.0", "assumed: vLLM 0.99.0 is not known; its defaults are those of "),
        ("0.24", "gpuMemoryUtilization 0.92"),
    ],
)
def test_versions_that_are_not_known_are_named(
    model: str, capsys: pytest.CaptureFixture[str], version: str, said: str
) -> None:
    assert said in plan(capsys, "--model", model, "--gpu", "H100-80GB", "--vllm-version", version)[1]


def test_the_waste_of_the_last_block_is_a_number(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--model", model, "--gpu", "H100-80GB", "--vllm-version", "0.24.0")
    # Half of 16 tokens beside 2048.
    assert json.loads(plan(capsys, *arguments, "-o", "json")[1])["wastedPart"] == 0.0039
    assert "waste         0.39% of 2048 tokens: half of the last block, on average" in plan(capsys, *arguments)[1]


def test_states_of_a_hybrid_are_said_beside_its_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = yaml.safe_load((STARTS / "models.yaml").read_text())
    for name, tokens in (("nemotron-h-8b", True), ("falcon-mamba-7b", False)):
        folder = write_checkpoint(tmp_path / name, {**models[name], "max_position_embeddings": 8192})
        arguments = ("--model", str(folder), "--gpu", "H200", "--vllm-version", "0.24.0")
        text = plan(capsys, *arguments)[1]
        assert "states        of each sequence 1 in " in text
        assert ("a token " in text) is tokens


@pytest.mark.parametrize(
    ("memory", "code", "words"),
    [
        ("24Gi", ACCEPTED, "a GPU"),
        ("25769803776", ACCEPTED, "24.00 GiB by CUDA"),
        ("4000000000", REFUSED, "KV cache      none is left"),
        ("24", UNREADABLE, "that is 24 bytes; a GPU has more, as 24Gi"),
        ("0", UNREADABLE, "that is 0 bytes"),
        ("-5", UNREADABLE, "--gpu-memory -5"),
        ("24GB", UNREADABLE, "bytes, as 25769803776 or 24Gi"),
    ],
)
def test_the_memory_of_a_gpu_is_a_quantity(
    model: str, capsys: pytest.CaptureFixture[str], memory: str, code: int, words: str
) -> None:
    options = ("--model", model, "--vllm-version", "0.27.1", f"--gpu-memory={memory}")
    found, text = plan(capsys, *options)
    # Without a length, one sequence of Llama 3 takes 16 GiB.
    assert found == (REFUSED if code == ACCEPTED else code)
    assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("llama", "--gpu", "L4"), "--gpu says nothing of llama, which runs in the cluster"),
        (("llama", "-f", "a.yaml"), "-f says nothing of llama"),
        (("--model", "MODEL", "--vllm-version", "0.27.1", "--gpu", "L4", "--nodes"), "--gpu and --nodes: one of them"),
        (("--model", "MODEL", "--vllm-version", "v0.27.1", "--gpu", "L4"), "write a number, as 0.27.1"),
    ],
)
def test_options_that_say_nothing_are_not_passed_over(
    model: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, text = plan(capsys, *(model if each == "MODEL" else each for each in arguments))
    assert (code, words in text) == (UNREADABLE, True)


def test_what_is_refused_is_not_planned(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(RESOURCE.replace("kvCacheDtype: fp8", "extraArgs: {no_such_argument: 1}"))
    code, text = plan(capsys, "-f", str(file), "--model", model, "--gpu", "H100")
    assert (code, "llama is refused: kubectl llm explain -f" in text) == (UNREADABLE, True)


def test_what_does_not_fit_is_told_by_the_exit_code_of_explain_too(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "big.yaml"
    file.write_text(RESOURCE.replace("8192, tensorParallelSize: 2, kvCacheDtype: fp8", "131072"))
    assert main(["explain", "-f", str(file)]) == ACCEPTED
    assert main(["explain", "-f", str(file), "--model", model, "--gpu", "L4"]) == REFUSED
    capsys.readouterr()
    assert main(["explain", "-f", str(file), "--gpu", "L4"]) == UNREADABLE
    assert "--gpu says nothing without --model DIR" in capsys.readouterr().err


def test_ranks_that_are_too_many_may_be_less(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "three.yaml"
    file.write_text(RESOURCE.replace("tensorParallelSize: 2, kvCacheDtype: fp8", "tensorParallelSize: 3"))
    data = json.loads(plan(capsys, "-f", str(file), "--model", model, "--gpu", "L4", "-o", "json")[1])
    assert data["verdict"] == "DoesNotFit"
    assert data["changes"] == ["spec.engine.tensorParallelSize: 1"]
