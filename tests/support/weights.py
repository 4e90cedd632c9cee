"""Small files in the forms of real models."""

import json
import math
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}


TOKENIZER = json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}})


def write_safetensors(path: Path, size: int = 4096) -> None:
    """A file of one tensor of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(i % 251 for i in range(size)))


def write_tensors(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "F16") -> None:
    """A file of tensors of these shapes, all of them zero."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def write_model(folder: Path, size: int = 4096, **config: Any) -> Path:
    """A folder that looks like a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text(TOKENIZER)
    write_safetensors(folder / "model.safetensors", size)
    return folder


def write_adapter(folder: Path, **config: Any) -> Path:
    """A folder that looks like a LoRA adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**stated, **config}))
    module = "base_model.model.model.layers.0.self_attn.o_proj"
    write_tensors(
        folder / "adapter_model.safetensors", {f"{module}.lora_A.weight": (2, 4), f"{module}.lora_B.weight": (8, 2)}
    )
    return folder
