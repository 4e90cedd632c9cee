"""The tensors that an engine makes of those in the files: fused, and shared out among ranks or not. Pure.

Read off the layers in vllm/model_executor/layers (linear.py, vocab_parallel_embedding.py, fused_moe/layer.py).
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from triton_vllm_operator.sources.config import TOWERS
from triton_vllm_operator.sources.safetensors import Tensor, Tensors
from triton_vllm_operator.sources.shape import Allocation, Form
from triton_vllm_operator.sources.tensor_forms import (
    FLOATS,
    OF_STATES,
    copy_of,
    find_form,
    find_held,
    find_size,
    is_copied,
)

# The layers of the language model; of other parts the numbers only count.
_LAYER: Final = re.compile(r"(?P<prefix>.*?)(?:^|\.)(?:layers|h|blocks|block|resblocks)\.(?P<number>\d+)\.(?P<rest>.+)")
_LEFT_OUT: Final = re.compile(r"(^|\.)(mtp(_\w+)?|talker|token2wav|code_predictor)\.")
"""What guesses tokens (draft_reader.py) or speaks, and is not loaded with the model."""
_TOWER: Final = re.compile(rf"(^|\.)({TOWERS})\.")
_PACKED: Final = re.compile(r"(?P<module>.*experts)\.(?P<projection>gate_up_proj|down_proj)(?:_(?P<part>\w+))?")
_EXPERTS: Final = re.compile(r"(^|\.)(experts\.|input_linear)")
_EXPERT: Final = re.compile(r"(?P<before>.*experts)\.(?P<number>\d+)\.(?P<rest>.+)")


class Share(Enum):
    """How ranks of tensor parallelism hold a tensor."""

    DIVIDED = auto()
    BY_HEADS = auto()
    WHOLE = auto()
    FUSED = auto()
    """Query, key and value in one: divided and by heads."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a module of that name becomes."""

    names: tuple[str, ...]
    fused: str
    """The engine's tensor, of which it may be a part."""
    share: Share
    is_linear: bool = True


_RULES: Final = (
    Rule(("q_proj", "wq"), "qkv", Share.DIVIDED),
    Rule(("k_proj", "v_proj", "wk", "wv"), "qkv", Share.BY_HEADS),
    Rule(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv", "W_pack", "qkv"), "qkv", Share.FUSED),
    Rule(("o_proj", "out_proj", "dense", "wo", "c_proj", "proj"), "o", Share.DIVIDED),
    Rule(("gate_proj", "up_proj", "w1", "w3", "gate_up_proj"), "gate_up", Share.DIVIDED),
    Rule(("fc1", "dense_h_to_4h", "c_fc", "fc_in"), "up", Share.DIVIDED),
    Rule(("down_proj", "w2", "fc2", "dense_4h_to_h", "fc_out"), "down", Share.DIVIDED),
    Rule(("q_b_proj",), "q_b", Share.DIVIDED),
    Rule(("kv_b_proj",), "kv_b", Share.DIVIDED),
    Rule(("q_a_proj", "kv_a_proj_with_mqa"), "a", Share.WHOLE),
    Rule(("gate", "router", "shared_expert_gate"), "router", Share.WHOLE, is_linear=False),
    # Mixtures of Granite: all experts in one tensor, and the router in a module of its own.
    Rule(("input_linear",), "gate_up", Share.DIVIDED),
    Rule(("output_linear",), "down", Share.DIVIDED),
    Rule(("layer",), "router", Share.WHOLE, is_linear=False),
    # Mamba, linear attention, short convolutions.
    Rule(("in_proj", "in_proj_qkvz", "in_proj_qkv", "in_proj_z"), "in", Share.DIVIDED),
    Rule(("in_proj_ba", "in_proj_b", "in_proj_a"), "in_ba", Share.DIVIDED),
    Rule(("x_proj",), "x", Share.DIVIDED),
    Rule(("dt_proj", "f_b_proj", "g_b_proj", "b_proj"), "steps", Share.DIVIDED),
    Rule(("f_a_proj", "g_a_proj"), "halves", Share.WHOLE),
    Rule(("conv1d", "conv"), "conv", Share.DIVIDED, is_linear=False),
    Rule(("q_conv1d", "k_conv1d", "v_conv1d"), "conv", Share.DIVIDED, is_linear=False),
)
_BY_NAME: Final = {name: rule for rule in _RULES for name in rule.names}
# Linear layers whose inputs are shared out: each rank adds the whole bias.
_BY_INPUT: Final = frozenset({"o", "down", "x"})
_PARTS: Final = {"qkv_proj": 3, "query_key_value": 3, "c_attn": 3, "Wqkv": 3, "wqkv": 3, "W_pack": 3, "gate_up_proj": 2}
"""Modules that an adapter changes in parts."""
_HEAD_NAMES: Final = ("lm_head", "embed_out", "output_layer")
_LARGE: Final = 2**24
"""Elements of a tensor outside layers that is no matter of megabytes."""
_SMALL: Final = "norms"
_INDEX: Final = "indexer"
"""Of sparse attention: held whole on each rank."""


@dataclass(slots=True)
class Sum:
    """What lies in one tensor of the engine."""

    divided: int = 0
    by_heads: int = 0
    whole: int = 0

    def add(self, size: int, share: Share, fused: tuple[int, int]) -> None:
        """Count a part of it; `fused` is how query and key with value share a tensor that holds both."""
        if share is Share.DIVIDED:
            self.divided += size
        elif share is Share.BY_HEADS:
            self.by_heads += size
        elif share is Share.WHOLE:
            self.whole += size
        else:
            query, keys = fused
            part = size * query // (query + keys)
            self.divided += part
            self.by_heads += size - part


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a model, by where they lie."""

    layers: tuple[tuple[Allocation, ...], ...]
    """Of each layer of the language model."""
    adapters: tuple[tuple[Allocation, ...], ...]
    """What one adapter of rank 1 takes in each of them, but for its experts."""
    are_mixtures: tuple[bool, ...]
    """Which of them have experts."""
    towers: tuple[Allocation, ...]
    others: tuple[Allocation, ...]
    strange: tuple[str, ...]
    """What was not understood in layers."""
    large: tuple[str, ...]
    """What is large outside of them."""


def find_weights_shape(tensors: Tensors, fused: tuple[int, int], count: int) -> Weights:
    """What an engine makes of these; the embedding and the head are left out, which follow from the vocabulary.

    `count` is how many layers there are: what lies after them guesses tokens (draft_reader.py).
    """
    layers: dict[int, dict[str, Tensor]] = defaultdict(dict)
    towers: list[tuple[str, Tensor]] = []
    others: list[tuple[str, Tensor]] = []
    for name, tensor in tensors.items():
        found = _LAYER.fullmatch(name)
        if _LEFT_OUT.search(name):
            continue
        if is_of_tower(name):
            towers.append((name, tensor))
        elif found is not None:
            if (number := int(found["number"])) < count:
                layers[number][found["rest"]] = tensor
        elif not is_vocabulary(name):
            others.append((name, tensor))
    # Most layers are alike, and are looked at once.
    ordered = [tuple(sorted(layers[number].items())) for number in sorted(layers)]
    alike = dict.fromkeys(ordered)
    strange = sorted({rest for layer in alike for rest, _ in layer if _is_strange(rest)})
    large = sorted(name for name, tensor in others if math.prod(tensor.shape) > _LARGE)
    allocated = {layer: _allocate(layer, fused) for layer in alike}
    adapted = {layer: _count(tuple(_adapt(layer, fused))) for layer in alike}
    return Weights(
        layers=tuple(allocated[layer] for layer in ordered),
        adapters=tuple(adapted[layer] for layer in ordered),
        are_mixtures=tuple(any(_EXPERTS.search(rest) for rest, _ in layer) for layer in ordered),
        towers=_count(tuple(_allocate_alone(towers))),
        others=_allocate(others, fused),
        strange=tuple(strange),
        large=tuple(large),
    )


def is_of_tower(name: str) -> bool:
    """Whether a tensor is of what sees or hears."""
    return _TOWER.search(name) is not None


def is_vocabulary(name: str) -> bool:
    """Whether a tensor is the embedding, or the head."""
    words = name.split(".")
    if words[-2:] in (["embeddings", "weight"], ["embedding", "weight"]):
        return True
    return any(
        word in ("embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", *_HEAD_NAMES) for word in words
    )


def is_head(name: str) -> bool:
    """Whether a tensor is of the output."""
    return any(head in name for head in _HEAD_NAMES)


def _allocate(tensors: Iterable[tuple[str, Tensor]], fused: tuple[int, int]) -> tuple[Allocation, ...]:
    """The engine's tensors of one layer, in a fixed order, those that are equal counted."""
    sums: dict[tuple[str, Form, str], Sum] = defaultdict(Sum)
    for name, tensor in tensors:
        module, part = _split(name)
        key, rule = _find_rule(module)
        form = find_form(tensor, part, rule is not None and rule.is_linear)
        share = _share(rule, key, part, tensor)
        sums[key, form, part].add(find_held(tensor, key, form, part), share, fused)
    rows = [Allocation(form, each.divided, each.by_heads, each.whole) for (_, form, _), each in sums.items()]
    twice = [copy_of(row, part) for ((key, _, part), row) in zip(sums, rows, strict=True) if is_copied(key, part)]
    return _count((*rows, *twice))


def _adapt(tensors: Iterable[tuple[str, Tensor]], fused: tuple[int, int]) -> Iterable[Allocation]:
    """The two halves that an adapter has of each linear module, for each part of what is fused.

    https://github.com/vllm-project/vllm/blob/main/vllm/lora/layers (create_lora_weights)
    """
    for name, tensor in tensors:
        module, part = _split(name)
        key, rule = _find_rule(module)
        if rule is None or not rule.is_linear or part != "weight" or len(tensor.shape) != 2 or ".experts" in module:
            continue
        outputs, inputs = tensor.shape
        if key.rpartition(".")[2] in _BY_INPUT:
            yield Allocation(Form.FLOAT, divided=inputs)
            yield Allocation(Form.FLOAT, whole=outputs)
            continue
        parts = _PARTS.get(module.rpartition(".")[2], 1)
        half = Sum()
        half.add(outputs, rule.share, fused)
        yield Allocation(Form.FLOAT, whole=inputs, times=parts)
        yield Allocation(Form.FLOAT, half.divided, half.by_heads, half.whole)


def _allocate_alone(tensors: Iterable[tuple[str, Tensor]]) -> Iterable[Allocation]:
    """Of other parts than the language model each tensor by itself: what fuses there is no matter of megabytes."""
    for name, tensor in tensors:
        form = Form.FLOAT if tensor.dtype in FLOATS else Form.BYTES
        is_shared = len(tensor.shape) > 1 and _split(name)[0].rpartition(".")[2] in _BY_NAME
        size = find_size(tensor, form)
        yield Allocation(form, divided=size) if is_shared else Allocation(form, whole=size)


def _count(rows: tuple[Allocation, ...]) -> tuple[Allocation, ...]:
    counts: dict[Allocation, int] = defaultdict(int)
    for row in rows:
        counts[row] += row.times
    return tuple(row._replace(times=count) for row, count in sorted(counts.items(), reverse=True))


def _split(name: str) -> tuple[str, str]:
    """`self_attn.q_proj` and `weight`; of experts that lie in one tensor `experts.0.down_proj` and `blocks`."""
    module, _, part = name.rpartition(".")
    if packed := _PACKED.fullmatch(name):
        return f"{packed['module']}.0.{packed['projection']}", packed["part"] or "weight"
    return module, part


def _find_rule(module: str) -> tuple[str, Rule | None]:
    """The engine's tensor, and by which rule. Experts of one layer lie in one tensor for all."""
    if _INDEX in module.split("."):
        return _INDEX, None
    last = module.rpartition(".")[2]
    rule = _BY_NAME.get(last)
    expert = _EXPERT.fullmatch(f"{module}.")
    if expert is not None and rule is not None:
        return f"experts.{rule.fused}", rule
    if rule is None:
        return (_SMALL, None) if "norm" in module or last.startswith("ln") else (module, None)
    # Attention and feed-forward have modules of one name in some models.
    return f"{module.rpartition('.')[0]}.{rule.fused}", rule


def _is_strange(rest: str) -> bool:
    module, part = _split(rest)
    key, rule = _find_rule(module)
    return rule is None and key not in (_SMALL, _INDEX) and part == "weight"


def _share(rule: Rule | None, key: str, part: str, tensor: Tensor) -> Share:
    if part in OF_STATES:
        return Share.DIVIDED
    if rule is None:
        return Share.WHOLE
    is_by_input = key.rpartition(".")[2] in _BY_INPUT
    if part == "bias" or len(tensor.shape) < 2 or (part.startswith("weight_scale") and tensor.shape[-1] == 1):
        return Share.WHOLE if is_by_input else rule.share
    return rule.share
