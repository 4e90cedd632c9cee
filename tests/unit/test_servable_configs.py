"""What config.json and the small files beside it say against a model, in vLLM's own reading of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.checks import check, refusal, task
from support.weights import write_model


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architectures": None}, "names no architectures, without which vLLM 0.27.1 generates nothing"),
        ({"architectures": []}, "hf_overrides: {architectures: [LlamaForCausalLM]}"),
        ({"model_type": "foobar"}, "of the type foobar, which neither vLLM 0.27.1 nor the transformers library reads"),
        ({"model_type": "ultravox", "text_model_id": "meta-llama/L"}, "names another repository in text_model_id"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "embeds or classifies; only models that generate"),
        ({"architectures": ["Qwen2ForRewardModel"]}, "only models that generate text are served"),
        (
            {"architectures": ["Eagle3Speculator"], "speculators_config": {}},
            "goes to spec.engine.speculativeConfig.model",
        ),
        (
            {"architectures": ["QWenLMHeadModel"], "model_type": "qwen", "auto_map": {"AutoConfig": "c.C"}},
            "0.23.0 was the last version that did",
        ),
        ({"architectures": ["Phi3SmallForCausalLM"]}, "an image of your own would have to hold it"),
    ],
)
def test_a_model_that_would_not_generate_is_named(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    assert said in refusal(task(write_model(tmp_path, **{"architectures": ["LlamaForCausalLM"], **config})))


def test_no_newer_runtime_is_advised_for_what_none_generates_with(tmp_path: Path) -> None:
    folder = write_model(tmp_path, architectures=["SiglipModel"])
    assert "a model that embeds; only models that generate" in refusal(task(folder, vllm="0.10.2"))


def test_code_of_another_repository_is_out_of_reach(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoConfig": "openbmb/M--c.C"}, "model_type": "minicpmv"}
    folder = write_model(tmp_path, architectures=["MiniCPMV"], **code)
    assert "openbmb/M--c.C, and the pod reaches no hub: use a copy of the repository" in refusal(
        task(folder, trust_remote_code=True)
    )


SETTINGS = {"tokenizer_class": "TikTokenTokenizer", "auto_map": {"AutoTokenizer": ["t.TikTokenTokenizer", None]}}


@pytest.mark.parametrize(
    ("settings", "expected", "model_type", "passes"),
    [
        (SETTINGS, {}, "kimi_k2", False),
        (SETTINGS, {"trust_remote_code": True}, "kimi_k2", True),
        (SETTINGS, {"tokenizer_mode": "mistral"}, "kimi_k2", True),
        (SETTINGS, {}, "llama", True),
        ({**SETTINGS, "tokenizer_class": "LlamaTokenizerFast"}, {}, "kimi_k2", True),
    ],
)
def test_a_tokenizer_that_is_code_wants_trust(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, Any], model_type: str, passes: bool
) -> None:
    folder = write_model(tmp_path, architectures=["DeepseekV3ForCausalLM"], model_type=model_type)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if passes:
        assert check(task(folder, **expected)).fault is None
    else:
        assert (
            "names code for its tokenizer, t.TikTokenTokenizer: spec.engine.trustRemoteCode: true runs it"
            in refusal(task(folder, **expected))
        )


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"rope_type": "llama3", "factor": 8.0}, 2048),
        ({"rope_type": "longrope"}, 2048),
        ({"type": "mrope", "mrope_section": [1]}, 2048),
        ({"rope_type": "linear", "factor": 4}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
    ],
)
def test_a_length_beyond_the_scaled_positions_is_refused(tmp_path: Path, scaling: Any, longest: int) -> None:
    folder = write_model(tmp_path, max_position_embeddings=2048, rope_scaling=scaling)
    assert check(task(folder, max_model_len=longest)).fault is None
    assert f"more than the {longest} tokens that the model knows" in refusal(task(folder, max_model_len=longest + 1))
    assert check(task(folder, max_model_len=longest + 1, overrides_length=True)).fault is None


@pytest.mark.parametrize("load_format", ["safetensors", "fastsafetensors", "runai_streamer"])
def test_a_load_format_reads_what_it_is_called_after(tmp_path: Path, load_format: str) -> None:
    assert check(task(write_model(tmp_path), load_format=load_format)).fault is None


@pytest.mark.parametrize("load_format", ["safetensors", "fastsafetensors", "runai_streamer", "pt"])
def test_a_load_format_wants_files_of_its_own(tmp_path: Path, load_format: str) -> None:
    folder = write_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert f"load_format {load_format} reads *." in refusal(task(folder, load_format=load_format))


def test_what_the_engine_streams_is_checked_too(tmp_path: Path) -> None:
    folder = write_model(tmp_path, architectures=["BertModel"])
    assert "a model that embeds" in refusal(task(folder, load_format="runai_streamer"))


@pytest.mark.parametrize("place", ["file", "config"])
def test_modelopt_says_its_method_in_a_file_of_its_own_too(tmp_path: Path, place: str) -> None:
    stated = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    folder = write_model(tmp_path, **({"quantization_config": stated} if place == "config" else {}))
    if place == "file":
        (folder / "hf_quant_config.json").write_text(json.dumps(stated))
    assert "whose weights are quantised with modelopt_fp4" in refusal(task(folder, quantization="awq"))
    assert check(task(folder, quantization="modelopt_fp4")).fault is None


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    assert "begins with a byte order mark: save it without" in refusal(task(folder))


def test_a_tokenizer_of_another_repository_is_out_of_reach(tmp_path: Path) -> None:
    folder = write_model(tmp_path, architectures=["DeepseekV3ForCausalLM"], model_type="kimi_k2")
    settings = {**SETTINGS, "auto_map": {"AutoTokenizer": "org/name--t.T"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "takes its code from another repository, org/name--t.T" in refusal(task(folder, trust_remote_code=True))


def test_the_length_of_deepseek_is_scaled_once(tmp_path: Path) -> None:
    yarn = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
    folder = write_model(tmp_path, max_position_embeddings=163840, rope_scaling=yarn)
    assert "more than the 163840 tokens" in refusal(task(folder, max_model_len=200000))
