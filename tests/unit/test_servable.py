"""Which files are a model that can be served."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from support.weights import write_adapter, write_model, write_safetensors
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.choose import choose_files
from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.program import run
from triton_vllm_operator.sources.report import (
    Fault,
    ModelFacts,
    Report,
    SourceReport,
    fault_report,
    parse_report,
)
from triton_vllm_operator.sources.task import Action, Expectation, Role, Task, TaskList

KUBELET_KEEPS = 4096
"""Bytes of a termination message."""


def check(folder: Path, role: Role = Role.MODEL, **expected: object) -> Report:
    expectation = Expectation(role=role, **expected)  # type: ignore[arg-type]
    task = Task(field="spec.model", volume="weights", action=Action.CHECK, folder=str(folder), expectation=expectation)
    return run(TaskList(tasks=(task,)), say=lambda _line: None)


def refusal(
    folder: Path, role: Role = Role.MODEL, reason: Reason = Reason.MODEL_NOT_SERVABLE, **expected: object
) -> str:
    with pytest.raises(SourceFault) as caught:
        check(folder, role, **expected)
    assert caught.value.reason is reason
    return str(caught.value)


def test_a_model_is_good_and_its_facts_are_told(tmp_path: Path) -> None:
    (source,) = check(write_model(tmp_path), tensor_parallel_size=2, max_model_len=2048).sources
    assert source.facts is not None
    assert (source.facts.architecture, source.facts.attention_heads) == ("LlamaForCausalLM", 4)
    assert source.facts.weight_bytes == (tmp_path / "model.safetensors").stat().st_size


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])


def _index(folder: Path) -> None:
    names = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _header(header: dict[str, object]) -> Callable[[Path], None]:
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text
    return lambda folder: (folder / "model.safetensors").write_bytes(data) and None


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without("config.json"), "no config.json in"),
        (_without("model.safetensors"), "no weights in"),
        (_without("tokenizer.json"), "no tokenizer in"),
        (_cut, "it was cut off"),
        (_index, "model-00002-of-00002.safetensors, named by model.safetensors.index.json, is not in"),
        (_write("config.json", "{"), "config.json in"),
        (_write("config.json", "[]"), "holds no JSON object"),
        (_write("config.json", '{"architectures": ["BertForSequenceClassification"]}'), "embeds or classifies"),
        (_write("config.json", '{"architectures": ["XLMRobertaModel"]}'), "embeds or classifies"),
        (_write("model.safetensors", "version https://git-lfs.github.com/spec/v1"), "is a pointer of Git LFS"),
        (_write("model.safetensors", ""), "model.safetensors is empty"),
        (_header({"w": {"data_offsets": [0, "x"]}}), "its header cannot be read"),
        (_header({"w": {"data_offsets": [0, None]}}), "its header cannot be read"),
        (_write("config.json", "[" * 100_000), "is no JSON"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(write_model(tmp_path))
    message = refusal(tmp_path)
    assert message.startswith("spec.model: ")
    assert said in message


def test_settings_that_do_not_fit_the_model_are_named(tmp_path: Path) -> None:
    write_model(tmp_path)
    assert "tensorParallelSize 3 does not divide the model's 4 attention heads; choose one of 1, 2, 4" in refusal(
        tmp_path, tensor_parallel_size=3
    )
    assert "maxModelLen 4096 is more than the 2048 tokens" in refusal(tmp_path, max_model_len=4096)
    write_model(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
    assert "maxModelLen 4096 is more than the 2048 tokens" in refusal(tmp_path, max_model_len=4096)


def test_what_might_be_served_passes(tmp_path: Path) -> None:
    scaled = write_model(tmp_path / "scaled", rope_scaling={"type": "yarn", "factor": 4.0})
    assert check(scaled, max_model_len=8192).fault is None
    layered = {"full_attention": {"rope_type": "linear", "factor": 4.0}, "sliding_attention": {"rope_type": "default"}}
    assert check(write_model(tmp_path / "layered", rope_parameters=layered), max_model_len=8192).fault is None
    assert check(write_model(tmp_path / "plain"), max_model_len=8192, overrides_config=True).fault is None
    assert check(write_model(tmp_path / "cohere", model_max_length=131072), max_model_len=8192).fault is None
    odd = write_model(tmp_path / "odd", architectures=["GteModel"])
    assert check(odd, overrides_config=True).fault is None
    for name in ("tiktoken.model", "tokenizer.tok.json", "tokenizer.model.v7", "rwkv_vocab_v1.txt", "spiece.model"):
        other = write_model(tmp_path / name)
        (other / "tokenizer.json").rename(other / name)
        assert check(other).fault is None, name
    nested = write_model(tmp_path / "nested", text_config={"num_attention_heads": 6})
    assert check(nested, tensor_parallel_size=3).fault is None
    bare = tmp_path / "bare"
    bare.mkdir()
    assert check(bare, load_format="dummy").fault is None
    no_tokenizer = write_model(tmp_path / "no-tokenizer")
    (no_tokenizer / "tokenizer.json").unlink()
    assert check(no_tokenizer, needs_tokenizer=False).fault is None
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    assert check(gguf).fault is None
    mistral = tmp_path / "mistral"
    mistral.mkdir()
    (mistral / "params.json").write_text("{}")
    (mistral / "tekken.json").write_text("{}")
    write_safetensors(mistral / "consolidated.safetensors")
    assert check(mistral).fault is None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path}/gone" in refusal(tmp_path / "gone", reason=Reason.MODEL_NOT_FOUND)


@pytest.mark.parametrize(
    ("config", "expected", "said"),
    [
        ({"r": 64}, {"max_lora_rank": 16}, "the adapter has rank 64, more than 16: write spec.engine.maxLoraRank: 64"),
        ({"r": 33}, {"max_lora_rank": 32}, "more than 32: write spec.engine.maxLoraRank: 64"),
        ({"r": 513}, {}, "vLLM serves none above 512"),
        ({"peft_type": "IA3"}, {}, "is of type IA3"),
        ({"use_dora": True}, {}, "sets use_dora"),
        ({"modules_to_save": ["lm_head"]}, {}, "sets modules_to_save"),
        ({"rank_pattern": {"o_proj": 64}}, {"max_lora_rank": 16}, "the adapter has rank 64"),
    ],
)
def test_an_adapter_is_held_against_its_own_config(
    tmp_path: Path, config: dict[str, object], expected: dict[str, int], said: str
) -> None:
    assert said in refusal(write_adapter(tmp_path, **config), Role.ADAPTER, **expected)


def test_a_good_adapter_passes(tmp_path: Path) -> None:
    assert check(write_adapter(tmp_path, r=32), Role.ADAPTER, max_lora_rank=32).fault is None
    (tmp_path / "adapter_config.json").unlink()
    assert "no adapter_config.json" in refusal(tmp_path, Role.ADAPTER)


NAMES = ["config.json", "a.safetensors", "pytorch_model.bin", "consolidated.safetensors", "m.py", "onnx/model.onnx"]


@pytest.mark.parametrize(
    ("names", "load_format", "chosen"),
    [
        (NAMES, None, ("a.safetensors", "config.json", "m.py")),
        (NAMES, "safetensors", ("a.safetensors", "config.json", "m.py")),
        (NAMES, "mistral", ("config.json", "consolidated.safetensors", "m.py")),
        (NAMES, "npcache", ("config.json", "m.py", "pytorch_model.bin")),
        (NAMES, "dummy", ("config.json", "m.py")),
        (["pytorch_model.bin", "config.json"], None, ("config.json", "pytorch_model.bin")),
        (["consolidated.safetensors", "params.json"], None, ("consolidated.safetensors", "params.json")),
        (["../evil.json", "a/../b.json", "a.safetensors"], None, ("a.safetensors",)),
    ],
)
def test_each_weight_is_fetched_once(names: list[str], load_format: str | None, chosen: tuple[str, ...]) -> None:
    assert choose_files(names, load_format) == chosen


def test_a_format_that_names_no_files_is_refused() -> None:
    with pytest.raises(SourceFault, match="load_format gguf does not tell which files"):
        choose_files(NAMES, "gguf")


def test_a_stale_index_of_other_weights_means_nothing(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "training_args.bin").write_bytes(b"x")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-00001.bin"}}')
    (source,) = check(tmp_path).sources
    assert source.facts is not None
    assert source.facts.weight_bytes == (tmp_path / "model.safetensors").stat().st_size


def test_a_draft_without_a_tokenizer_passes(tmp_path: Path) -> None:
    (write_model(tmp_path) / "tokenizer.json").unlink()
    assert check(tmp_path, Role.DRAFT, needs_tokenizer=False).fault is None


def test_a_report_fits_into_a_termination_message(tmp_path: Path) -> None:
    for text in ("x", "\\", "\0", "\U0001f600"):
        long = fault_report(Fault(reason=Reason.MODEL_NOT_SERVABLE, message=text * 10_000))
        assert len(long.dump().encode()) < KUBELET_KEEPS
    facts = ModelFacts(architecture="A" * 128, attention_heads=128, max_position_embeddings=10**7, weight_bytes=10**12)
    adapters = (
        SourceReport(volume=f"adapter-{n}", commit="a" * 40, facts=ModelFacts(lora_rank=512)) for n in range(32)
    )
    model = SourceReport(volume="weights", commit="a" * 40, facts=facts)
    assert len(Report(sources=(model, model, *adapters)).dump().encode()) < KUBELET_KEEPS
    report = check(write_model(tmp_path))
    assert parse_report(report.dump()) == report
    assert parse_report("Killed") is None
