"""What a running engine says of itself, held against what it was given. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from triton_vllm_operator.api.base import Json

_LINE: Final = re.compile(r"Initializing a V1 LLM engine \(v(?P<version>[^)\s]{1,64})\) with config: (?P<values>.+)")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_RELEASE: Final = re.compile(r"\d+\.\d+\.\d+")
# As the line calls it, and as AsyncEngineArgs does.
_NAMES: Final = {
    "max_seq_len": "max_model_len",
    "dtype": "dtype",
    "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size",
    "quantization": "quantization",
    "enforce_eager": "enforce_eager",
    "kv_cache_dtype": "kv_cache_dtype",
    "enable_prefix_caching": "enable_prefix_caching",
    "enable_chunked_prefill": "enable_chunked_prefill",
    "trust_remote_code": "trust_remote_code",
    "seed": "seed",
}
_CHOSEN_BY_THE_ENGINE: Final = (None, "auto", -1)
_OTHER_NAMES: Final = {"half": "float16", "float": "float32"}
_BACKEND: Final = "vllm"
_NO_CACHE: Final = re.compile(r"^compile cache: none, everything is compiled anew: (.+)$", re.MULTILINE)
"""What sources/compile_cache.py says where it leaves spec.cache alone."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was read from a pod that serves."""

    log: str
    """Its beginning."""
    model_config: Json
    """Triton's configuration of the model (/v2/models/NAME/config)."""
    pod: str
    """Its name."""


@dataclass(frozen=True, slots=True)
class EngineLine:
    """The line in which the engine says with what it starts."""

    vllm: str
    values: Mapping[str, str]
    """By the names of AsyncEngineArgs, as Python prints them."""

    @property
    def max_model_len(self) -> int | None:
        """The longest sequence, also where the engine chose it."""
        value = self.values.get("max_model_len", "")
        return int(value) if _COUNT.fullmatch(value) else None


def parse_engine_line(log: str) -> EngineLine | None:
    """The engine's own line; None if the log does not hold it.

    Source: vllm/v1/engine/core.py, `logger.info("Initializing a V1 LLM engine (v%s) with config: %s", ...)`.
    """
    if (found := _LINE.search(log)) is None:
        return None
    values: dict[str, str] = {}
    for name, argument in _NAMES.items():
        if value := re.search(rf"(?:^|[ (]){name}='?([^,' ]+)", found["values"]):
            values[argument] = value[1].removeprefix("torch.")
    return EngineLine(found["version"], values)


def find_engine_differences(line: EngineLine, model_json: str, vllm: str) -> tuple[str, ...]:
    """Where the engine runs otherwise than model.json and the runtime's catalogue say; one clause each."""
    given: dict[str, JsonValue] = json.loads(model_json)
    release = _RELEASE.match(line.vllm)
    version = (f"vLLM is {line.vllm}, not {vllm}",) if release and release[0] != vllm else ()
    others = (
        f"{name} is {found}, not {_as_printed(given[name])}"
        for name, found in line.values.items()
        if name in given and given[name] not in _CHOSEN_BY_THE_ENGINE and not _same(name, given[name], found)
    )
    return (*version, *others)


def _same(name: str, given: JsonValue, found: str) -> bool:
    if name == "quantization" and found != "None":
        # vLLM names the kernel that it chose (awq runs as auto_awq), and refuses what the weights contradict.
        return True
    wanted = _as_printed(given)
    # "fp8" stands for one of its forms, as fp8_e4m3.
    return found == wanted or found.startswith(f"{wanted}_")


def _as_printed(value: JsonValue) -> str:
    return _OTHER_NAMES.get(value, value) if isinstance(value, str) else str(value)


def find_unused_cache(log: str) -> tuple[str, ...]:
    """Why the engine did without spec.cache; one clause, if it did."""
    found = _NO_CACHE.search(log)
    return (f"spec.cache is not used: {found[1]}",) if found else ()


def find_config_differences(config: Json) -> tuple[str, ...]:
    """Where Triton serves the model otherwise than the rendered config.pbtxt says; one clause each."""
    groups = config.get("instance_group")
    group = groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], dict) else {}
    policy = config.get("model_transaction_policy")
    found: dict[str, tuple[object, object]] = {
        "backend": (config.get("backend"), _BACKEND),
        "max_batch_size": (config.get("max_batch_size"), 0),
        "instance kind": (group.get("kind"), "KIND_MODEL"),
        "instance count": (group.get("count"), 1),
        "decoupled": (policy.get("decoupled") if isinstance(policy, dict) else None, True),
    }
    return tuple(
        f"Triton's {name} is {value}, not {wanted}" for name, (value, wanted) in found.items() if value != wanted
    )
