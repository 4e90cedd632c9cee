"""Whether files are those of a model, a tokenizer or an adapter that the vLLM version can serve. Pure.

Only what is certain is refused: a model that vLLM might load passes, and its engine has the last word.
"""

from dataclasses import dataclass, field
from typing import Final

from triton_vllm_operator.sources.adapters import check_adapter, find_adapter_weights
from triton_vllm_operator.sources.config import HEADS, find_count, find_model_type, is_multimodal
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.formats import CONFIG, Format, find_format
from triton_vllm_operator.sources.generation import architecture_names, check_generates
from triton_vllm_operator.sources.lengths import check_length
from triton_vllm_operator.sources.quantization import check_quantization, find_method
from triton_vllm_operator.sources.report import ModelFacts, cut_warning
from triton_vllm_operator.sources.task import Expectation, Role
from triton_vllm_operator.sources.tokenizers import check_tokenizer, check_tokenizer_code
from triton_vllm_operator.sources.vision import NOTHING_SAID, Sizes, read_sizes
from triton_vllm_operator.sources.weights import check_load_format, find_weights

# Formats that are read from files with these names; the others (dummy, tensorizer, ...) have their own.
_CHECKED_FORMATS: Final = (
    *(None, "auto", "hf", "safetensors", "mistral", "pt", "npcache"),
    *("bitsandbytes", "fastsafetensors", "runai_streamer"),
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What the names and small files of a source say, and what is yet to be looked into."""

    facts: ModelFacts | None = None
    """None where only the engine can tell."""
    weights: tuple[str, ...] = ()
    """The files of weights that the engine reads."""
    largest_file: int = 0
    """Bytes of the largest of these."""
    config: Json = field(default_factory=dict)
    sizes: Sizes = NOTHING_SAID
    """What its processor says of images."""
    names_modules: bool = False
    """Whether the tensors bear the names of the transformers library, as those of adapters do."""


def check_source(files: Files, expected: Expectation) -> Checked:
    """Look at everything but the inside of weights.

    Raises:
        SourceFault: the engine would not start with them, or could not load the adapter.
    """
    if expected.role is Role.ADAPTER:
        return Checked(check_adapter(files, expected), find_adapter_weights(files))
    if expected.role is Role.TOKENIZER:
        check_tokenizer(files)
        check_tokenizer_code(files, find_model_type(files.read_json_if_there(CONFIG)), expected)
        return Checked(ModelFacts())
    if expected.load_format not in _CHECKED_FORMATS:
        return Checked()
    form = find_format(files, expected.vllm, expected.config_format)
    config = files.read_json(CONFIG) if form is Format.TRANSFORMERS else {}
    warning = "" if expected.overrides_config else check_generates(files, config, expected)
    if not expected.overrides_config:
        check_quantization(files, config, expected)
    check_load_format(files, expected.load_format)
    weights = find_weights(files, form)
    if expected.needs_tokenizer:
        check_tokenizer(files)
        check_tokenizer_code(files, find_model_type(config), expected)
    facts = _find_facts(config, sum(files.sizes[name] for name in weights), find_method(files, config), warning)
    if expected.role is Role.MODEL and not expected.overrides_config:
        _check_ranks(config, facts.attention_heads, expected.tensor_parallel_size)
        if not expected.overrides_length:
            check_length(config, expected)
    largest = max((files.sizes[name] for name in weights), default=0)
    sizes = read_sizes(files) if is_multimodal(config) else NOTHING_SAID
    return Checked(facts, weights, largest, config, sizes, names_modules=form is Format.TRANSFORMERS)


def _find_facts(config: Json, weight_bytes: int, method: str | None, warning: str) -> ModelFacts:
    return ModelFacts(
        architecture=next(iter(architecture_names(config)), None),
        attention_heads=find_count(config, *HEADS),
        max_position_embeddings=find_count(config, "max_position_embeddings"),
        weight_bytes=weight_bytes,
        quantization=(method or "")[:64] or None,
        warning=cut_warning(warning) or None,
    )


def _check_ranks(config: Json, heads: int | None, ranks: int) -> None:
    """That the heads can be shared out among the GPUs.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/linear.py (QKVParallelLinear)
    """
    if not heads:
        return
    # What is compressed (MLA) has no heads of keys and values that are shared out.
    shared = None if find_count(config, "kv_lora_rank") else find_count(config, "num_key_value_heads")

    def fits(count: int) -> bool:
        return heads % count == 0 and (not shared or shared % count == 0 or count % shared == 0)

    if fits(ranks):
        return
    also = f" and {shared} key/value heads" if shared and shared != heads else ""
    raise not_servable(
        f"spec.engine.tensorParallelSize {ranks} does not divide the model's {heads} attention heads{also}; "
        f"choose one of {', '.join(str(count) for count in range(1, 17) if fits(count))}"
    )
