"""A LoRA adapter for SmolLM2-135M, made of numbers."""

import json
import struct
from pathlib import Path

import numpy as np

HIDDEN, LAYERS = 576, 30


def write_adapter(folder: Path, rank: int, seed: int, layers: str = "model.layers", strength: float = 0.5) -> None:
    """An adapter in the form of PEFT that changes every answer; the same numbers for the same seed.

    `layers` is what the model calls them; of no strength it changes nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["o_proj"]}))
    draw = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(LAYERS):
        name = f"base_model.model.{layers}.{layer}.self_attn.o_proj"
        tensors[f"{name}.lora_A.weight"] = draw.normal(0, 0.05, (rank, HIDDEN)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = draw.normal(0, strength, (HIDDEN, rank)).astype(np.float32)
    _write_safetensors(folder / "adapter_model.safetensors", tensors)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def _write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """The format is the length of a JSON header, the header, and then the bytes of all tensors."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values()))
