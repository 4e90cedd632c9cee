"""Tables that an engine holds beside the weights: RoPE's sines and cosines. Pure."""

from collections.abc import Iterable
from typing import Final

from triton_vllm_operator.sources.config import as_factor, find_count, find_language_type, language_parts
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.shape import Allocation, Form, LayerKind

_ROPE_FREE: Final = frozenset(
    {
        *("gpt2", "gpt_bigcode", "opt", "mpt", "bloom"),
        *("mamba", "mamba2", "falcon_mamba", "jamba", "nemotron_h", "kimi_linear"),
    }
)
_OF_IMAGES: Final = "mrope_section"
_TIMES_MORE: Final = 3
"""How much longer it is where positions have height and width (layers/rotary_embedding/mrope.py)."""
_LOCAL_ROPE: Final = "rope_local_base_freq"


def find_tables(config: Json, layer: LayerKind) -> list[Allocation]:
    """RoPE's sines and cosines for every position, of which all layers with one base share a table.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/rotary_embedding.
    """
    rows = find_count(config, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    model_type = find_language_type(config)
    positions = (part.get("position_embedding_type") for part in language_parts(config))
    if rows is None or model_type in _ROPE_FREE or "nope" in positions:
        return []
    rotary = find_count(config, "qk_rope_head_dim") or int(layer.size // 2 * _find_fraction(config))
    table = Allocation(Form.FLOAT, whole=int(rows * _find_factor(config)) * rotary)
    if any(_LOCAL_ROPE in part for part in language_parts(config)):
        return [table, Allocation(Form.FLOAT, whole=rows * rotary)]
    return [table]


def _find_fraction(config: Json) -> float:
    given = (part.get(key) for part in language_parts(config) for key in ("partial_rotary_factor", "rotary_pct"))
    return next((factor for value in given if (factor := as_factor(value)) is not None), 1.0)


def _find_factor(config: Json) -> float:
    """By how much linear scaling makes the table longer; most others stay within the model's positions."""
    for part in language_parts(config):
        scaling = part.get("rope_scaling") or part.get("rope_parameters")
        if not isinstance(scaling, dict):
            continue
        if scaling.get("rope_type", scaling.get("type")) == "linear":
            return as_factor(scaling.get("factor")) or 1.0
    return 1.0


def find_longer_tables(config: Json, tables: Iterable[Allocation]) -> tuple[Allocation, ...]:
    """What positions with height and width add to these tables; nothing where there are none."""
    scalings = (part.get(key) for part in language_parts(config) for key in ("rope_scaling", "rope_parameters"))
    if not any(isinstance(scaling, dict) and _OF_IMAGES in scaling for scaling in scalings):
        return ()
    return tuple(table._replace(times=_TIMES_MORE * table.times) for table in tables)
