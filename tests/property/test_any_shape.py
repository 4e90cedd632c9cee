"""Whatever stands in config.json, a shape is read or it is said why not."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from support.checkpoints import LLAMA, make_tensors
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport, parse_report
from triton_vllm_operator.sources.shape import ModelShape
from triton_vllm_operator.sources.shape_reader import read_shape

SMALL = {**LLAMA, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 256}
TENSORS = make_tensors(SMALL)
KEYS = st.sampled_from(
    [
        *SMALL,
        *("layer_types", "sliding_window", "attention_chunk_size", "no_rope_layers", "kv_lora_rank", "head_dim"),
        *("rope_scaling", "rope_parameters", "partial_rotary_factor", "num_kv_shared_layers", "text_config"),
        *("num_experts_per_tok", "num_local_experts", "moe_intermediate_size", "tie_word_embeddings", "dtype"),
        *("qk_rope_head_dim", "global_head_dim", "sliding_window_pattern", "attn_type_list", "vision_config"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["linear", "full_attention", "sliding_attention", "bfloat16", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["factor", "rope_type", "type", "hidden_size"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"sliding_window": 2**53})
def test_a_shape_is_read_or_it_is_said_why_not(changes: dict[str, Any]) -> None:
    found = read_shape({**SMALL, **changes}, TENSORS)
    assert isinstance(found, ModelShape | str)
    if isinstance(found, ModelShape):
        report = Report(sources=(SourceReport(volume="weights", facts=ModelFacts(shape=found)),))
        assert parse_report(report.dump()) == report
    else:
        json.dumps(found)
