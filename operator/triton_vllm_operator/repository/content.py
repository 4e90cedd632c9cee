"""The model repository of one LLMDeployment: two files, as Triton's vLLM backend reads them.

All engine settings go to model.json, which the backend hands to vLLM's AsyncEngineArgs; config.pbtxt
is the same for every model. Facts: docs/design/repository.md.
"""

import json
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.spec import Engine

# KIND_MODEL leaves the choice of GPUs to vLLM. Inputs, outputs and max_batch_size are left to the
# backend's auto-completion: written by hand they are refused or become required tensors.
CONFIG_PBTXT: Final = """\
backend: "vllm"
instance_group [
  {
    count: 1
    kind: KIND_MODEL
  }
]
parameters {
  key: "REPORT_CUSTOM_METRICS"
  value { string_value: "true" }
}
"""


@dataclass(frozen=True, slots=True)
class Repository:
    """The text of the files of a model repository."""

    config_pbtxt: str
    model_json: str


def build_repository(engine: Engine, model_path: str) -> Repository:
    """The repository that serves the weights at `model_path` (absolute, inside the container)."""
    arguments = {"model": model_path, **engine_arguments(engine)}
    return Repository(CONFIG_PBTXT, json.dumps(arguments, indent=2, sort_keys=True) + "\n")


def engine_arguments(engine: Engine) -> dict[str, object]:
    """The arguments that the user set, by vLLM's own names and in JSON's native types.

    Strings in place of numbers or booleans are misread by vLLM: "false" enables LoRA.
    """
    return engine.model_dump(mode="json", by_alias=False, exclude_none=True)
