"""Who reads a model's config.json: vLLM, the transformers library, or code that comes with it. Pure."""

from typing import Final

from triton_vllm_operator.sources.architectures import load_architectures
from triton_vllm_operator.sources.config import find_model_type
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.task import Expectation, Role

_CODE_MAP: Final = "auto_map"
_CONFIG_CODE: Final = "AutoConfig"
_ELSEWHERE: Final = "--"
"""Between the repository and the class: code that lies in another repository."""
# Of parts of a model (ultravox): vLLM looks each up on a hub, and the pod reaches none.
_OTHER_REPOSITORIES: Final = ("text_model_id", "audio_model_id")


def check_config_code(files: Files, config: Json, expected: Expectation) -> None:
    """That something reads the configuration, and runs no code without being told to.

    Raises:
        SourceFault: the engine would not start.
    """
    if part := next((key for key in _OTHER_REPOSITORIES if isinstance(config.get(key), str)), None):
        raise not_servable(
            f"config.json {files.where} names another repository in {part}, {str(config[part])[:200]}, which the "
            "engine would look up on a hub: the pod reaches none, so this model cannot be served"
        )
    model_type, code = find_model_type(config), _find_code(config)
    if model_type is None or not load_architectures().has(expected.vllm):
        return
    if load_architectures().reads_config(expected.vllm, model_type):
        return
    if code is None and expected.role is Role.DRAFT:
        # vLLM reads some of these in ways of its own.
        return
    says = f"config.json {files.where} is of the type {model_type[:64]}, which"
    if code is None:
        raise not_servable(
            f"{says} neither vLLM {expected.vllm} nor the transformers library reads: correct it, or choose a newer "
            "spec.runtime"
        )
    if not expected.trust_remote_code:
        raise not_servable(
            f"{says} is read by code that lies beside the weights: spec.engine.trustRemoteCode: true runs it"
        )
    check_code(files, "config.json", code)


def check_code(files: Files, named_in: str, code: str) -> None:
    """That code does not lie in another repository.

    Raises:
        SourceFault: it does.
    """
    if _ELSEWHERE in code:
        raise not_servable(
            f"{named_in} {files.where} takes its code from another repository, {code[:200]}, and the pod reaches no "
            f"hub: use a copy of the repository that holds that file, with {code.rpartition(_ELSEWHERE)[2][:200]} in "
            "its auto_map"
        )


def _find_code(config: Json) -> str | None:
    mapped = config.get(_CODE_MAP)
    code = mapped.get(_CONFIG_CODE) if isinstance(mapped, dict) else None
    return code if isinstance(code, str) else None
