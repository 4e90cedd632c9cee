"""What cannot be served is found before an engine starts: kinds of models, formats, tokenizers, adapters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.weights import TOKENIZER, write_adapter, write_model, write_safetensors, write_tensors
from triton_vllm_operator.sources.architectures import Kind, Unknown, load_architectures
from triton_vllm_operator.sources.choose import choose_files
from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.placement import ONLY_TOKENIZER
from triton_vllm_operator.sources.program import run
from triton_vllm_operator.sources.report import Report, parse_report
from triton_vllm_operator.sources.task import Action, Expectation, Role, Task, TaskList

METHODS = ("awq", "awq_marlin", "fp8", "gptq", "gptq_marlin", "compressed-tensors", "inc")


def task(folder: Path, role: Role = Role.MODEL, field: str = "spec.model", **expected: Any) -> Task:
    expectation = Expectation(role=role, **{"vllm": "0.27.1", **expected})
    volume = field.rpartition(".")[2]
    return Task(field=field, volume=volume, action=Action.CHECK, folder=str(folder), expectation=expectation)


def check(*tasks: Task) -> Report:
    return run(TaskList(tasks=tasks), say=lambda _line: None)


def refusal(*tasks: Task) -> str:
    with pytest.raises(SourceFault) as caught:
        check(*tasks)
    return str(caught.value)


def warning_of(report: Report, number: int = 0) -> str:
    facts = report.sources[number].facts
    return (facts.warning or "") if facts else ""


# Architectures


@pytest.mark.parametrize(
    ("vllm", "architecture", "said"),
    [
        ("0.27.1", "MllamaForConditionalGeneration", "vLLM 0.27.1 does not know; 0.10.2 was the last version that did"),
        ("0.33.0", "QWenLMHeadModel", "0.23.0 was the last version that did"),
        ("0.13.0", "Qwen3NextNextForCausalLM", "no version does, and it brings no code of its own"),
        ("0.27.1", "BartForConditionalGeneration", "its code lies in https://github.com/vllm-project/bart-plugin"),
        ("0.32.0", "LlamaModel", "a model that embeds"),
        ("0.32.0", "BertForSequenceClassification", "a model that classifies"),
        ("0.32.0", "Qwen2ForRewardModel", "a reward model"),
        ("0.32.0", "WhisperForConditionalGeneration", "takes speech alone"),
        ("0.32.0", "EagleLlamaForCausalLM", "spec.engine.speculativeConfig.model"),
        ("0.27.1+nv26.08", "MllamaForConditionalGeneration", "0.10.2 was the last"),
    ],
)
def test_an_architecture_that_the_version_does_not_generate_with_is_named(
    tmp_path: Path, vllm: str, architecture: str, said: str
) -> None:
    message = refusal(task(write_model(tmp_path, architectures=[architecture]), vllm=vllm))
    assert f"names {architecture}, " in message
    assert said in message


def test_a_later_version_is_named_where_there_is_one(tmp_path: Path) -> None:
    data = load_architectures()
    later = ((n, s[0]) for n, s in data.architectures.items() if s[0].kind is Kind.GENERATES and n not in data.generic)
    name, first = next((name, span.first) for name, span in later if span.first == "0.33.0")
    message = refusal(task(write_model(tmp_path, architectures=[name]), vllm="0.20.2"))
    assert f"{first} is the first version that does" in message


def test_what_the_version_knows_passes(tmp_path: Path) -> None:
    for vllm, architecture in (("0.10.2", "MllamaForConditionalGeneration"), ("0.33.0", "Qwen3ForCausalLM")):
        assert warning_of(check(task(write_model(tmp_path, architectures=[architecture]), vllm=vllm))) == ""


def test_of_versions_that_are_not_catalogued_nothing_is_said(tmp_path: Path) -> None:
    assert warning_of(check(task(write_model(tmp_path, architectures=["NewForCausalLM"]), vllm="0.99.0"))) == ""


def test_code_beside_the_weights_is_allowed_or_not(tmp_path: Path) -> None:
    own = write_model(
        tmp_path, architectures=["MineForCausalLM"], auto_map={"AutoModelForCausalLM": "m.MineForCausalLM"}
    )
    assert "spec.engine.trustRemoteCode: true runs it" in refusal(task(own))
    assert "must fit vLLM's Transformers backend" in warning_of(check(task(own, trust_remote_code=True)))


def test_what_the_transformers_backend_could_take_is_a_warning(tmp_path: Path) -> None:
    data = load_architectures()
    name = next(n for n in data.generic if isinstance(data.find("0.27.1", n), Unknown) and n not in data.dropped)
    said = warning_of(check(task(write_model(tmp_path, architectures=[name]))))
    assert "its generic Transformers backend may take it" in said


def test_every_catalogued_version_knows_llama() -> None:
    data = load_architectures()
    assert {data.find(version, "LlamaForCausalLM") for version in data.versions} == {Kind.GENERATES}
    assert data.versions[0] == "0.10.2"
    assert data.versions[-1] == "0.33.0"


# Models that embed sentences, whatever their architecture


def test_a_model_that_embeds_sentences_is_named_though_its_architecture_generates(tmp_path: Path) -> None:
    modules = [
        {"idx": 0, "type": "sentence_transformers.models.Transformer"},
        {"type": "sentence_transformers.models.Pooling"},
    ]
    by_list = write_model(tmp_path / "list", architectures=["Qwen3ForCausalLM"])
    (by_list / "modules.json").write_text(json.dumps(modules))
    assert "modules.json" in refusal(task(by_list))
    by_folder = write_model(tmp_path / "folder", architectures=["Qwen2ForCausalLM"])
    (by_folder / "1_Pooling").mkdir()
    assert "1_Pooling" in refusal(task(by_folder))


# Formats


def _original(folder: Path) -> None:
    (folder / "params.json").write_text("{}")
    (folder / "consolidated.00.pth").write_bytes(b"x")
    (folder / "tokenizer.model").write_bytes(b"x")


def _files(**texts: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name.replace("__", ".")).write_text(text)

    return write


FORMATS: list[tuple[str, Callable[[Path], None], str]] = [
    ("original", _original, "Meta's original format"),
    (
        "exl2",
        _files(config__json='{"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "exl2"}}'),
        "quantised with exl2, which vLLM 0.27.1 does not read",
    ),
    (
        "mlx",
        _files(config__json='{"architectures": ["LlamaForCausalLM"], "quantization": {"group_size": 64, "bits": 4}}'),
        "Apple's MLX",
    ),
    (
        "trtllm",
        _files(config__json='{"architecture": "LlamaForCausalLM", "producer": {"name": "modelopt"}}'),
        "TensorRT-LLM",
    ),
    ("engine", _files(config__json="{}", rank0__engine="x"), "an engine of TensorRT-LLM"),
    ("ranks", _files(config__json="{}", rank0__safetensors="x"), "a checkpoint of TensorRT-LLM"),
    (
        "lora",
        _files(adapter_config__json='{"base_model_name_or_path": "acme/base"}', adapter_model__safetensors="x"),
        "a LoRA adapter of acme/base: name it in spec.model.loraAdapters",
    ),
    ("gguf", _files(model__gguf="GGUF"), "are GGUF: take the model's repository with safetensors"),
    ("diffusers", _files(model_index__json="{}"), "a pipeline that makes images"),
    ("onnx", _files(config__json='{"architectures": ["LlamaForCausalLM"]}', model__onnx="x"), "found only model.onnx"),
]


@pytest.mark.parametrize(("name", "write", "said"), FORMATS, ids=[name for name, _, _ in FORMATS])
def test_a_format_of_another_program_is_named_with_what_to_do(
    tmp_path: Path, name: str, write: Callable[[Path], None], said: str
) -> None:
    write(tmp_path)
    assert said in refusal(task(tmp_path, quantization_methods=METHODS))


def test_one_gguf_file_is_served_by_versions_that_read_it(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert check(task(file, vllm="0.20.2")).fault is None
    assert "vLLM 0.27.1 reads no GGUF, 0.23.0 was the last" in refusal(task(file))


BOTH = [
    *("config.json", "generation_config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"),
    *("params.json", "consolidated.safetensors", "tekken.json", "tokenizer.json"),
]


@pytest.mark.parametrize(
    ("names", "without"),
    [
        # Both formats: that of transformers, which every version reads as one when the other's files are not there.
        (BOTH, {"params.json", "consolidated.safetensors"}),
        # Weights in Mistral's format alone: then also its configuration alone.
        ([n for n in BOTH if not n.startswith("model")], {"config.json"}),
        ([n for n in BOTH if n not in ("params.json", "consolidated.safetensors")], set()),
    ],
)
def test_what_is_fetched_is_one_format(names: list[str], without: set[str]) -> None:
    assert set(choose_files(names, None)) == set(names) - without


def test_of_a_tokenizer_no_weights_are_fetched() -> None:
    chosen = choose_files([*BOTH, "pytorch_model.bin"], ONLY_TOKENIZER)
    assert {"tokenizer.json", "tekken.json", "config.json"} <= set(chosen)
    assert not [name for name in chosen if name.endswith((".safetensors", ".bin", ".index.json"))]


def test_a_folder_of_two_formats_is_read_as_the_version_reads_it(tmp_path: Path) -> None:
    mixed = write_model(tmp_path)
    (mixed / "params.json").write_text("{}")
    assert check(task(mixed, vllm="0.11.2")).fault is None
    assert check(task(mixed, vllm="0.27.1")).fault is None
    message = refusal(task(mixed, vllm="0.13.0"))
    assert "remove the file, or write spec.engine.extraArgs: {config_format: hf}" in message
    assert check(task(mixed, vllm="0.13.0", config_format="hf")).fault is None
    write_safetensors(mixed / "consolidated.safetensors")
    assert check(task(mixed, vllm="0.13.0")).fault is None


# Tokenizers


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer_config.json": "{}"}, "found only tokenizer_config.json"),
        ({"tokenizer_config.json": "{}", "special_tokens_map.json": "{}"}, "found only special_tokens_map.json"),
        ({"tokenizer.json": "{}"}, "found only tokenizer.json"),
        ({"tokenizer.model": ""}, "found only tokenizer.model"),
        ({"vocab.json": "{}"}, "found only vocab.json"),
        ({"merges.txt": "a b"}, "found only merges.txt"),
        ({}, "another source in spec.model.tokenizer"),
    ],
)
def test_what_is_called_like_a_tokenizer_is_none(tmp_path: Path, files: dict[str, str], said: str) -> None:
    (write_model(tmp_path) / "tokenizer.json").unlink()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    message = refusal(task(tmp_path))
    assert "no tokenizer in" in message
    assert said in message


def test_a_tokenizer_may_have_a_source_of_its_own(tmp_path: Path) -> None:
    (write_model(tmp_path / "model") / "tokenizer.json").unlink()
    own = tmp_path / "tokenizer"
    own.mkdir()
    model = task(tmp_path / "model", needs_tokenizer=False)
    beside = task(own, Role.TOKENIZER, "spec.model.tokenizer")
    assert refusal(model, beside).startswith("spec.model.tokenizer: no tokenizer in")
    (own / "tokenizer.json").write_text(TOKENIZER)
    assert check(model, beside).fault is None


# Quantization


@pytest.mark.parametrize(
    ("stated", "wanted", "said"),
    [
        ("hqq", None, "quantised with hqq, which vLLM 0.27.1 does not read"),
        ("awq", "gptq", "spec.engine.quantization gptq contradicts config.json"),
        ("fp8", "awq", "whose weights are quantised with fp8: leave the field out"),
        ("compressed-tensors", "fp8", "contradicts"),
        (None, "awq", "wants weights that are quantised so"),
    ],
)
def test_quantization_that_cannot_be_is_named(
    tmp_path: Path, stated: str | None, wanted: str | None, said: str
) -> None:
    config = {"quantization_config": {"quant_method": stated}} if stated else {}
    folder = write_model(tmp_path, **config)
    assert said in refusal(task(folder, quantization=wanted, quantization_methods=METHODS))


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [("awq", None), ("awq", "awq_marlin"), ("gptq", "GPTQ"), (None, "fp8"), ("new-method", None), ("auto-round", None)],
)
def test_quantization_that_may_be_passes(tmp_path: Path, stated: str | None, wanted: str | None) -> None:
    config = {"quantization_config": {"quant_method": stated}} if stated else {}
    assert check(task(write_model(tmp_path, **config), quantization=wanted, quantization_methods=METHODS)).fault is None


# Adapters

MODULES = {
    f"model.layers.{layer}.self_attn.{part}.weight": (8, 4) for layer in range(2) for part in ("q_proj", "o_proj")
}


def adapted(folder: Path, modules: dict[str, tuple[int, ...]], **config: Any) -> tuple[Task, Task]:
    """A model, and an adapter that changes these modules: name to (rank, input, output)."""
    model = write_model(folder / "model", **config)
    write_tensors(model / "model.safetensors", MODULES)
    adapter = write_adapter(folder / "adapter")
    halves = {f"base_model.model.{m}.lora_A.weight": (r, i) for m, (r, i, _) in modules.items()}
    halves |= {f"base_model.model.{m}.lora_B.weight": (o, r) for m, (r, _, o) in modules.items()}
    write_tensors(adapter / "adapter_model.safetensors", halves)
    return task(model), task(adapter, Role.ADAPTER, "spec.model.loraAdapters[sql]")


def test_an_adapter_that_fits_passes(tmp_path: Path) -> None:
    assert warning_of(check(*adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 4, 8)})), 1) == ""


def test_an_adapter_whose_names_fit_no_module_is_refused(tmp_path: Path) -> None:
    message = refusal(*adapted(tmp_path, {"model.language_model.layers.0.self_attn.o_proj": (2, 4, 8)}))
    assert message.startswith("spec.model.loraAdapters[sql]: the adapter changes model.language_model.layers.0")
    assert "there it is called model.layers.0.self_attn.o_proj" in message


def test_an_adapter_of_another_model_or_size_is_refused(tmp_path: Path) -> None:
    assert "it was trained on another model" in refusal(*adapted(tmp_path, {"transformer.h.0.attn.c_attn": (2, 4, 8)}))
    other = adapted(tmp_path, {"model.layers.1.self_attn.q_proj": (2, 16, 8)})
    assert "is for 16 values, and the model's has 8 x 4" in refusal(*other)


def test_an_adapter_that_fits_in_part_is_warned_of(tmp_path: Path) -> None:
    parts = {"model.layers.0.self_attn.o_proj": (2, 4, 8), "model.layers.9.self_attn.o_proj": (2, 4, 8)}
    said = warning_of(check(*adapted(tmp_path, parts)), 1)
    assert said == "vLLM passes over 1 of its 2 modules, as model.layers.9.self_attn.o_proj"


def test_of_a_model_with_several_parts_the_end_of_a_name_counts(tmp_path: Path) -> None:
    names = {"model.language_model.layers.0.self_attn.o_proj": (2, 4, 8)}
    assert check(*adapted(tmp_path, names, vision_config={})).fault is None


def test_packed_weights_have_no_shape_to_compare_with(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 16, 64)})
    packed = {name.replace(".weight", ".qweight"): shape for name, shape in MODULES.items()}
    write_tensors(tmp_path / "model" / "model.safetensors", packed, dtype="I32")
    assert check(model, adapter).fault is None


def test_the_scales_of_quantised_weights_are_not_their_shape(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 16, 64)})
    scales = {name.replace(".weight", ".weight_scale"): (8, 1) for name in MODULES}
    write_tensors(tmp_path / "model" / "model.safetensors", scales, dtype="BF16")
    assert check(model, adapter).fault is None
    write_tensors(tmp_path / "model" / "model.safetensors", {"model.norm.weight_scale": (8, 1)}, dtype="BF16")
    assert "it was trained on another model" in refusal(model, adapter)


def test_a_model_in_mistrals_format_bears_other_names_than_its_adapters(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 4, 8)})
    folder = tmp_path / "model"
    (folder / "model.safetensors").unlink()
    (folder / "params.json").write_text("{}")
    write_tensors(folder / "consolidated.safetensors", {"layers.0.attention.wo.weight": (8, 4)})
    assert check(model, adapter).fault is None


def test_of_a_model_that_is_one_file_an_adapter_is_not_compared(tmp_path: Path) -> None:
    _, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 4, 8)})
    (tmp_path / "m.gguf").write_text("GGUF")
    assert check(task(tmp_path / "m.gguf", vllm="0.11.0"), adapter).fault is None


def test_what_the_engine_does_not_read_is_not_looked_into(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1"
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model.safetensors"}}')
    (folder / "model-old.safetensors").write_text(pointer)
    tokenizer = write_model(tmp_path / "tokenizer")
    (tokenizer / "model.safetensors").write_text(pointer)
    own = task(tokenizer, Role.TOKENIZER, "spec.model.tokenizer")
    assert check(task(folder), own).fault is None
    (folder / "model.safetensors").write_text(pointer)
    assert "git lfs pull" in refusal(task(folder))


def test_of_several_modules_with_one_end_one_must_fit(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.language_model.layers.0.self_attn.q_proj": (2, 4, 8)}, vision_config={})
    parts = {
        "language_model.model.layers.0.self_attn.q_proj.weight": (8, 4),
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (6, 6),
    }
    write_tensors(tmp_path / "model" / "model.safetensors", parts)
    assert check(model, adapter).fault is None


def test_a_draft_in_the_format_of_speculators_passes(tmp_path: Path) -> None:
    own = {"architectures": ["Eagle3Speculator"], "speculators_config": {}, "auto_map": {"": "eagle3.Config"}}
    assert check(task(write_model(tmp_path, **own), Role.DRAFT, needs_tokenizer=False)).fault is None


def test_weights_for_mlx_are_named_though_they_say_it_twice(tmp_path: Path) -> None:
    own = {"group_size": 64, "bits": 4}
    assert "Apple's MLX" in refusal(task(write_model(tmp_path, quantization=own, quantization_config=own)))


def test_a_length_may_have_another_name(tmp_path: Path) -> None:
    other = write_model(tmp_path, max_position_embeddings=None, n_positions=1024)
    assert "more than the 1024 tokens" in refusal(task(other, max_model_len=4096))


def test_the_remedy_for_tensor_parallelism_is_one_that_starts(tmp_path: Path) -> None:
    qwen = write_model(tmp_path, num_attention_heads=28, num_key_value_heads=4)
    assert "choose one of 1, 2, 4" in refusal(task(qwen, tensor_parallel_size=8))
    assert "7" not in refusal(task(qwen, tensor_parallel_size=8)).rpartition("choose")[2]


def test_a_header_of_nonsense_is_no_safetensors(tmp_path: Path) -> None:
    text = b'{"w": {"dtype": "F16", "shape": [1], "data_offsets": [0, 1e999]}}'
    (write_model(tmp_path) / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert "no safetensors file" in refusal(task(tmp_path))


def test_many_warnings_leave_a_report_that_kubernetes_keeps_whole(tmp_path: Path) -> None:
    parts = {f"model.layers.{n}.self_attn.{'o' * 120}_proj": (2, 4, 8) for n in range(5)}
    model, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 4, 8), **parts})
    others = [adapter.model_copy(update={"volume": f"adapter-{n}"}) for n in range(16)]
    text = check(model, *others).dump()
    assert len(text.encode()) <= 4096
    kept = parse_report(text)
    assert kept is not None
    assert len(kept.sources) == 17
    assert "vLLM passes over 5 of its 6 modules" in warning_of(kept, 1)


def test_an_adapter_has_one_name(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.layers.0.self_attn.o_proj": (2, 4, 8)})
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.rename(file.with_name("model.safetensors"))
    assert "vLLM reads an adapter under no other name" in refusal(model, adapter)
