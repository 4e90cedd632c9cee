"""The headers of what guesses tokens: draft models, and the layers that models bring for it (MTP)."""

from typing import Any, Final

from triton_vllm_operator.sources.safetensors import Tensor, Tensors

Config = dict[str, Any]
MTP_PREFIX: Final = {
    "DeepseekV3ForCausalLM": "model.layers.{count}",
    "Glm4MoeForCausalLM": "model.layers.{count}",
    "MiMoForCausalLM": "model.mtp_layers.0",
    "Qwen3NextForCausalLM": "mtp.layers.0",
}
"""Where the first of these layers lies, by architecture."""


def make_joins(config: Config, at: str, dtype: str) -> Tensors:
    """What a layer of MTP has beside those of the model, or before it."""
    hidden = config["hidden_size"]
    architecture = config["architectures"][0]
    norm, join = Tensor(dtype, (hidden,)), Tensor(dtype, (hidden, 2 * hidden))
    if architecture == "MiMoForCausalLM":
        norms = ("token_layernorm", "hidden_layernorm", "final_layernorm")
        return {f"{at}.input_proj.weight": join} | {f"{at}.{name}.weight": norm for name in norms}
    if architecture == "Qwen3NextForCausalLM":
        norms = ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding")
        return {"mtp.fc.weight": join} | {f"mtp.{name}.weight": norm for name in norms}
    vocabulary = Tensor(dtype, (config["vocab_size"], hidden))
    copies = {f"{at}.embed_tokens.weight": vocabulary, f"{at}.shared_head.head.weight": vocabulary}
    norms = ("enorm", "hnorm", "shared_head.norm")
    return {f"{at}.eh_proj.weight": join} | {f"{at}.{name}.weight": norm for name in norms} | copies


def as_draft(config: Config, tensors: Tensors, has_copies: bool = False) -> Tensors:
    """A draft model's tensors, from those that a model of its configuration has.

    `has_copies`: with an embedding and an output of its own, which a start with dummy weights does not keep.
    """
    hidden, architecture = config["hidden_size"], config["architectures"][0]
    if "Eagle" not in architecture:
        return tensors
    found: dict[str, Tensor] = {}
    is_third = architecture.endswith("Eagle3")
    for name, tensor in tensors.items():
        short = name.removeprefix("model.")
        if short.startswith(("embed_tokens", "lm_head")):
            continue
        if is_third and short.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            tensor = Tensor(tensor.dtype, (tensor.shape[0], 2 * hidden))
        found[short.replace("layers.0.", "midlayer.") if is_third else short] = tensor
    found["fc.weight"] = Tensor("BF16", (hidden, (3 if is_third else 2) * hidden))
    if is_third:
        rows = config["draft_vocab_size"]
        found["midlayer.hidden_norm.weight"] = Tensor("BF16", (hidden,))
        found |= {"d2t": Tensor("I64", (rows,)), "t2d": Tensor("BOOL", (config["vocab_size"],))}
        if has_copies:
            found["lm_head.weight"] = Tensor("BF16", (rows, hidden))
    if has_copies:
        found["embed_tokens.weight"] = Tensor("BF16", (config["vocab_size"], hidden))
    return found


def make_medusa(config: Config) -> Tensors:
    """Medusa's: a layer and an output for each token that it guesses."""
    hidden, found = config["hidden_size"], {}
    for head in range(config["num_heads"]):
        for layer in range(config["num_hidden_layers"]):
            found[f"blocks.{head}.layers.{layer}.weight"] = Tensor("BF16", (hidden, hidden))
        found[f"lm_heads.{head}.weight"] = Tensor("BF16", (config["vocab_size"], hidden))
    return found
