"""LoRA adapters: multi_lora.json beside model.json names them, a request chooses one by its name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm.lora.request import LoRARequest

from llm_backend.contract import AdapterError

FILE: Final = "multi_lora.json"


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters of one model; None where LoRA is off."""

    requests: Mapping[str, LoRARequest] | None

    def choose(self, name: object) -> LoRARequest | None:
        """The adapter of that name; None for a request that names none.

        Raises:
            AdapterError: LoRA is off, or there is no such adapter.
        """
        if name is None:
            return None
        if self.requests is None:
            raise AdapterError("LoRA feature is not enabled.")
        if name not in self.requests:
            raise AdapterError(f"LoRA {name} is not supported, we currently support {list(self.requests)}")
        return self.requests[str(name)]


def read_adapters(folder: Path, enabled: bool) -> Adapters:
    """Read multi_lora.json: an object of names and local folders.

    Raises:
        FileNotFoundError: LoRA is on and the file is missing.
        ValueError: the file is no JSON object of texts.
    """
    if not enabled:
        return Adapters(None)
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"Triton backend cannot find {path}.")
    entries = json.loads(path.read_text())
    if not isinstance(entries, dict) or not all(isinstance(place, str) for place in entries.values()):
        raise ValueError(f"{path} must be an object of adapter names and folders")
    # Ids begin at 1: vLLM takes 0 for no adapter.
    return Adapters({name: LoRARequest(name, number, place) for number, (name, place) in enumerate(entries.items(), 1)})
