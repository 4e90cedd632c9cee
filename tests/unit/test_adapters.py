"""LoRA adapters that vLLM does not load, or that change nothing, are found before an engine starts."""

from pathlib import Path
from typing import Any

import pytest

from support.checks import check, refusal, task, warning_of
from support.weights import write_adapter, write_model, write_tensors
from triton_vllm_operator.sources.report import parse_report
from triton_vllm_operator.sources.task import Role, Task

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


def test_of_several_modules_with_one_end_one_must_fit(tmp_path: Path) -> None:
    model, adapter = adapted(tmp_path, {"model.language_model.layers.0.self_attn.q_proj": (2, 4, 8)}, vision_config={})
    parts = {
        "language_model.model.layers.0.self_attn.q_proj.weight": (8, 4),
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (6, 6),
    }
    write_tensors(tmp_path / "model" / "model.safetensors", parts)
    assert check(model, adapter).fault is None


def test_many_warnings_leave_a_report_that_kubernetes_keeps_whole(tmp_path: Path) -> None:
    parts = {f"model.layers.{n}.{'o' * 120}.o_proj": (2, 4, 8) for n in range(5)}
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


HALVES = {f"base_model.model.model.layers.0.mlp.up_proj.lora_{half}.weight": (4, 4) for half in "AB"}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"model.layers.0.self_attn.o_proj.lora_down.weight": (2, 4)}, "lora_down.weight has no name that vLLM reads"),
        ({"base_model.model.q_proj.lora_A.default.weight": (2, 4)}, "as the peft library saves them"),
        ({**HALVES, "base_model.model.q_proj.lora_magnitude_vector": (4,)}, "DoRA is not served"),
        ({}, "holds no tensor of LoRA"),
        ({"base_model.model.lm_head.base_layer.weight": (4, 4)}, "holds no tensor of LoRA"),
        ({"base_model.model.q_proj.lora_A.weight": (2, 4)}, "has lora_A of q_proj and no lora_B"),
        ({"q_proj.lora_embedding_B": (2, 4)}, "has lora_B of q_proj and no lora_A"),
        (
            {"q_proj.lora_A.weight": (4, 2), "q_proj.lora_B.weight": (2, 8)},
            "lora_A and lora_B of q_proj are 4 x 2 and 2 x 8, which do not belong together",
        ),
        (
            {"q_proj.lora_A.weight": (32, 64), "q_proj.lora_B.weight": (64, 32)},
            "the adapter has rank 32, more than 16: write spec.engine.maxLoraRank: 32",
        ),
    ],
)
def test_tensors_that_vllm_does_not_read_are_named(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    write_tensors(write_adapter(tmp_path) / "adapter_model.safetensors", tensors)
    message = refusal(task(tmp_path, Role.ADAPTER, "spec.model.loraAdapters[sql]", max_lora_rank=16))
    assert message.startswith("spec.model.loraAdapters[sql]: ")
    assert said in message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lora_alpha": None}, "says no lora_alpha"),
        ({"r": None, "lora_alpha": None}, "says no r, lora_alpha"),
        ({"bias": "all"}, "sets bias, which vLLM does not serve"),
        ({"use_dora": True}, "sets use_dora"),
        ({"peft_type": "IA3"}, "is of type IA3; only LORA is served"),
    ],
)
def test_a_configuration_that_vllm_does_not_take_is_named(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    adapter = task(write_adapter(tmp_path, **config), Role.ADAPTER, "spec.model.loraAdapters[sql]")
    assert said in refusal(adapter)


@pytest.mark.parametrize("key", ["alpha_pattern", "rank_pattern", "alora_invocation_tokens", "layer_replication"])
def test_what_vllm_passes_over_of_an_adapters_configuration_is_warned_of(tmp_path: Path, key: str) -> None:
    write_adapter(tmp_path / "plain", **{key: {}})
    write_adapter(tmp_path / "adapted", **{key: [[0, 4]] if key == "layer_replication" else {"o_proj": 4}})
    plain, adapted = (task(tmp_path / name, Role.ADAPTER) for name in ("plain", "adapted"))
    assert (warning_of(check(plain)), f"ignores {key} of" in warning_of(check(adapted))) == ("", True)


def test_a_warning_of_the_configuration_stands_beside_that_of_the_tensors(tmp_path: Path) -> None:
    parts = {"model.layers.0.self_attn.o_proj": (2, 4, 8), "model.layers.9.self_attn.o_proj": (2, 4, 8)}
    model, adapter = adapted(tmp_path, parts)
    (tmp_path / "adapter/adapter_config.json").write_text(
        '{"r": 2, "lora_alpha": 4, "target_modules": ["o_proj"], "alpha_pattern": {"o_proj": 8}}'
    )
    said = warning_of(check(model, adapter), 1)
    assert "ignores alpha_pattern" in said
    assert "; vLLM passes over 1 of its 2 modules" in said


@pytest.mark.parametrize(
    ("content", "said"), [("", "is empty"), ("version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS")]
)
def test_a_pickled_adapter_is_more_than_its_name(tmp_path: Path, content: str, said: str) -> None:
    (write_adapter(tmp_path) / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_text(content)
    assert f"adapter_model.bin {said}" in refusal(task(tmp_path, Role.ADAPTER, "spec.model.loraAdapters[sql]"))
    (tmp_path / "adapter_model.bin").write_text("PK")
    assert check(task(tmp_path, Role.ADAPTER, "spec.model.loraAdapters[sql]")).fault is None


def test_a_base_that_was_saved_beside_an_adapter_harms_nothing(tmp_path: Path) -> None:
    beside = {**HALVES, "base_model.model.lm_head.base_layer.weight": (4, 4)}
    write_tensors(write_adapter(tmp_path) / "adapter_model.safetensors", beside)
    assert check(task(tmp_path, Role.ADAPTER, "spec.model.loraAdapters[sql]")).fault is None


def test_a_version_that_reads_a_bias_is_given_one(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path, bias="lora_only")
    write_tensors(adapter / "adapter_model.safetensors", {**HALVES, "base_model.model.q_proj.lora_B.bias": (4,)})
    field = "spec.model.loraAdapters[sql]"
    assert check(task(adapter, Role.ADAPTER, field, vllm="0.11.0")).fault is None
    assert "sets bias" in refusal(task(adapter, Role.ADAPTER, field, vllm="0.11.1"))


def test_the_path_of_an_adapter_is_that_of_its_folder(tmp_path: Path) -> None:
    file = write_adapter(tmp_path) / "adapter_model.safetensors"
    said = refusal(task(file, Role.ADAPTER, "spec.model.loraAdapters[sql]"))
    assert "is one file: the path is that of the folder with adapter_config.json" in said


MORE = {f"model.layers.0.self_attn.{part}_proj": (2, 4, 8) for part in "qo"}


@pytest.mark.parametrize(
    ("architecture", "module", "said"),
    [
        ("LlamaForCausalLM", "lm_head", ""),
        ("Qwen2ForCausalLM", "lm_head", "changes lm_head, which vLLM does not adapt of this model"),
        (
            "Gemma3nForConditionalGeneration",
            "model.layers.0.self_attn.q_proj",
            "loads no LoRA adapter: serve the model without it",
        ),
        ("LlamaForCausalLM", "model.layers.0.mlp.gate", "has no module of such a name anywhere: the engine would end"),
    ],
)
def test_what_would_end_the_engine_is_refused(tmp_path: Path, architecture: str, module: str, said: str) -> None:
    tasks = adapted(tmp_path, {**MORE, module: (2, 4, 8)}, architectures=[architecture])
    if said:
        assert said in refusal(*(each.model_copy(update={"expectation": _of_24(each)}) for each in tasks))
    else:
        assert check(*tasks).fault is None


def _of_24(one: Task) -> Any:
    return one.expectation.model_copy(update={"vllm": "0.24.0"})


def test_ranks_of_experts_that_lie_in_one_tensor_are_no_rank(tmp_path: Path) -> None:
    experts = "base_model.model.model.layers.0.mlp.experts"
    tensors = {f"{experts}.lora_A.weight": (1024, 4), f"{experts}.lora_B.weight": (4, 1024)}
    adapter = write_adapter(tmp_path, target_modules=None)
    write_tensors(adapter / "adapter_model.safetensors", tensors)
    assert check(task(adapter, Role.ADAPTER, "spec.model.loraAdapters[sql]", max_lora_rank=16)).fault is None


def test_adapters_of_experts_want_a_version_that_adapts_them(tmp_path: Path) -> None:
    model, adapter = adapted(
        tmp_path,
        {"model.layers.0.mlp.experts.0.gate_proj": (2, 4, 8), "model.layers.0.self_attn.o_proj": (2, 4, 8)},
        architectures=["Qwen3MoeForCausalLM"],
    )
    assert check(model, adapter).fault is None
    old = model.model_copy(update={"expectation": model.expectation.model_copy(update={"vllm": "0.10.2"})})
    assert "vLLM 0.10.2 adapts no experts: choose a spec.runtime with vLLM 0.11.1 or newer" in refusal(old, adapter)


TOWER = "model.visual.blocks.0.attn.qkv"


def test_adapters_of_what_sees_change_nothing_by_default(tmp_path: Path) -> None:
    language = {"model.language_model.layers.0.self_attn.o_proj": (2, 4, 8)}
    model, adapter = adapted(tmp_path / "tower", {TOWER: (2, 4, 8)}, vision_config={})
    assert "changes nothing but what sees or hears" in refusal(model, adapter)
    model, adapter = adapted(tmp_path / "both", {TOWER: (2, 4, 8), **language}, vision_config={})
    write_tensors(tmp_path / "both/model/model.safetensors", {**MODULES, f"{TOWER}.weight": (8, 4)})
    assert "passes over 1 of its 2 modules, as model.visual" in warning_of(check(model, adapter), 1)
    adapts = model.expectation.model_copy(update={"adapts_towers": True})
    assert warning_of(check(model.model_copy(update={"expectation": adapts}), adapter), 1) == ""
