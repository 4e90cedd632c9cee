"""What cannot be served is found before an engine starts: kinds of models, formats, tokenizers, adapters."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checks import check, refusal, task, warning_of
from support.weights import TOKENIZER, write_model, write_safetensors
from triton_vllm_operator.sources.architectures import Kind, Unknown, load_architectures
from triton_vllm_operator.sources.choose import choose_files
from triton_vllm_operator.sources.placement import ONLY_TOKENIZER
from triton_vllm_operator.sources.task import Role

METHODS = ("awq", "awq_marlin", "fp8", "gptq", "gptq_marlin", "compressed-tensors", "inc")


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


def test_a_path_beside_the_model_is_mended_by_what_is_said(tmp_path: Path) -> None:
    write_model(tmp_path / "v1")
    assert "found only the folders v1: is its path one of them?" in refusal(task(tmp_path))
    said = refusal(task(tmp_path / "v1" / "model.safetensors"))
    assert "model.safetensors is one file: the path is that of the folder in which it lies" in said
    assert check(task(tmp_path / "v1")).fault is None


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
        ({"tokenizer.json.part": TOKENIZER, "tokenizer.model.lock": "x"}, "no tokenizer in"),
        ({"tokenizer_config.json.bak": "{}"}, "no tokenizer in"),
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


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tekken.json", "config.json"])
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, name: str) -> None:
    (write_model(tmp_path) / "tokenizer.json").unlink()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    said = f"{name} is a pointer of Git LFS and not the file itself: fetch it with git lfs pull"
    assert said in refusal(task(tmp_path))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["training_args.bin"], "it needs *.safetensors; found only training_args.bin"),
        (["optimizer.pt", "scheduler.pt"], "found only optimizer.pt, scheduler.pt"),
        (["adapter_model.safetensors"], "a LoRA adapter: name it in spec.model.loraAdapters"),
        (["pytorch_model.bin"], "pytorch_model.bin is empty"),
        (
            ["model-00001-of-00003.safetensors"],
            "model-00002-of-00003.safetensors and 1 more, one of several that belong together, is not in",
        ),
        (["pytorch_model-00002-of-00002.bin"], "pytorch_model-00001-of-00002.bin, one of several"),
    ],
)
def test_what_is_not_the_whole_model_is_named(tmp_path: Path, names: list[str], said: str) -> None:
    (write_model(tmp_path) / "model.safetensors").unlink()
    for name in names:
        (tmp_path / name).touch()
    assert said in refusal(task(tmp_path))


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


def test_deprecated_quantization_names_what_lets_it_pass(tmp_path: Path) -> None:
    folder = write_model(tmp_path, quantization_config={"quant_method": "fbgemm_fp8"})
    message = refusal(task(folder, quantization_methods=("fbgemm_fp8",), deprecated_quantizations=("fbgemm_fp8",)))
    assert "write spec.engine.extraArgs.allow_deprecated_quantization: true" in message
    assert check(task(folder, quantization_methods=("fbgemm_fp8",))).fault is None


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [("awq", None), ("awq", "awq_marlin"), ("gptq", "GPTQ"), (None, "fp8"), ("new-method", None), ("auto-round", None)],
)
def test_quantization_that_may_be_passes(tmp_path: Path, stated: str | None, wanted: str | None) -> None:
    config = {"quantization_config": {"quant_method": stated}} if stated else {}
    assert check(task(write_model(tmp_path, **config), quantization=wanted, quantization_methods=METHODS)).fault is None


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


def test_key_value_heads_are_shared_out_too(tmp_path: Path) -> None:
    phi = write_model(tmp_path, num_attention_heads=40, num_key_value_heads=10)
    assert "40 attention heads and 10 key/value heads; choose one of 1, 2, 5, 10" in refusal(
        task(phi, tensor_parallel_size=4)
    )
    nested = write_model(tmp_path, num_attention_heads=None, llm_config={"num_attention_heads": 28})
    assert "does not divide the model's 28" in refusal(task(nested, tensor_parallel_size=8))


def test_a_configuration_that_is_code_wants_trust(tmp_path: Path) -> None:
    own = {"architectures": ["InternLM2ForCausalLM"], "auto_map": {"AutoConfig": "c.C"}, "model_type": "internlm2"}
    folder = write_model(tmp_path, **own)
    assert "spec.engine.trustRemoteCode: true runs it" in refusal(task(folder))
    assert check(task(folder, trust_remote_code=True)).fault is None
    assert check(task(write_model(tmp_path, **{**own, "model_type": "llama"}))).fault is None


def test_what_was_dropped_may_be_generic_all_the_same(tmp_path: Path) -> None:
    own = {"architectures": ["Dots1ForCausalLM"], "auto_map": {"AutoModelForCausalLM": "m.M"}}
    assert "its generic Transformers backend may take it" in warning_of(check(task(write_model(tmp_path, **own))))
    assert warning_of(check(task(write_model(tmp_path, architectures=["LlamaForConditionalGeneration"])))) == ""


@pytest.mark.parametrize(("algorithm", "readable"), [("NVFP4", True), ("FP8", False)])
def test_modelopt_is_several_methods(tmp_path: Path, algorithm: str, readable: bool) -> None:
    stated = {"quant_method": "modelopt", "quant_algo": algorithm}
    one = task(write_model(tmp_path, quantization_config=stated), quantization_methods=("modelopt_fp4",))
    if readable:
        assert check(one).fault is None
    else:
        assert "quantised with modelopt, which" in refusal(one)


def test_of_a_repository_with_mistrals_tokenizer_alone_mistrals_set_is_fetched() -> None:
    both = ("config.json", "model.safetensors", "params.json", "consolidated.safetensors", "tekken.json")
    assert set(choose_files(both, None)) == {"params.json", "consolidated.safetensors", "tekken.json"}
    assert "model.safetensors" in choose_files((*both, "tokenizer.json"), None)


def test_an_adapter_beside_a_model_is_no_part_of_it(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "adapter_model.safetensors", "tokenizer.json")
    assert "adapter_model.safetensors" not in choose_files(names, None)
    assert "adapter_model.safetensors" in choose_files(("adapter_config.json", "adapter_model.safetensors"), None)
    write_safetensors(write_model(tmp_path) / "adapter_model.safetensors")
    assert "move it to a folder of its own" in refusal(task(tmp_path))
