"""Whether a vLLM version takes the arguments of a spec: said before a pod starts. Pure."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from pydantic import JsonValue

from triton_vllm_operator.api.engine import AUTO, Dtype, Engine
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.repository.argument_policy import TYPED_FIELDS, load_policy
from triton_vllm_operator.repository.arguments import EngineArguments, load_arguments
from triton_vllm_operator.repository.content import Places, engine_arguments
from triton_vllm_operator.repository.gpus import Gpu, find_gpu

_EXTRA = "spec.engine.extraArgs"
_DEPRECATED_SWITCH = "allow_deprecated_quantization"
_CONTEXT_RANKS = "decode_context_parallel_size"
_PLAIN_DRAFT = "draft_model"
_DRAFTED = ("eagle", "eagle3", "medusa", "mlp_speculator", "dflash", _PLAIN_DRAFT)
"""Methods that guess by a model of their own."""
_COUNTED = (None, _PLAIN_DRAFT, "eagle", "eagle3", "medusa")
"""Those that say nowhere else how many tokens are guessed."""
_OWN_LAYERS = "mtp"
"""How methods end that guess by layers of the model."""
_BFLOAT16 = 80
"""Ten times the compute capability from which GPUs compute it."""


class Severity(Enum):
    """Whether `runtime.argumentCheck: Warn` lets it pass."""

    FORBIDDEN = auto()
    NOT_IN_CATALOGUE = auto()


@dataclass(frozen=True, slots=True)
class ArgumentFault:
    """One argument that this vLLM version does not take, or that nobody may set."""

    severity: Severity
    message: str


def check_arguments(spec: LLMDeploymentSpec, vllm: str) -> tuple[ArgumentFault, ...]:
    """All of the engine's arguments that the version or the GPUs do not take, in the order of the spec."""
    return (*_check_version(spec.engine, vllm), *_check_generation(spec, vllm))


def _check_version(engine: Engine, vllm: str) -> tuple[ArgumentFault, ...]:
    forbidden = tuple(
        ArgumentFault(Severity.FORBIDDEN, f"{_EXTRA}.{name}: {refusal}")
        for name, value in (engine.extra_args or {}).items()
        if (refusal := load_policy().refusal(name, value))
    )
    catalogue = load_arguments(vllm)
    if catalogue is None:
        return forbidden
    # Where the weights lie has no bearing on what vLLM takes.
    arguments = engine_arguments(engine, Places(model=""))
    extra = engine.extra_args or {}
    others = {
        name: value
        for name, value in arguments.items()
        if not load_policy().refusal(name, extra.get(name)) or name not in extra
    }
    faults = (_fault(catalogue, name, value) for name, value in others.items())
    return (
        *forbidden,
        *_auto_fault(engine, catalogue),
        *_method_fault(engine, catalogue),
        *_draft_fault(engine),
        *_ranks_faults(engine),
        *_quantization_fault(engine, catalogue),
        *(fault for fault in faults if fault),
    )


def _fault(catalogue: EngineArguments, name: str, value: JsonValue) -> ArgumentFault | None:
    where = f"spec.engine.{TYPED_FIELDS[name]}" if name in TYPED_FIELDS else f"{_EXTRA}.{name}"
    if unknown := catalogue.unknown(name):
        near = catalogue.nearest(name)
        field = TYPED_FIELDS.get(near or "")
        refusal = load_policy().refusal(near, value) if near and not field else ""
        also = f" It is the field spec.engine.{field}" if field else f" But {refusal}" if refusal else ""
        return ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{where}: {unknown}{also}")
    argument = catalogue.arguments[name]
    if misfit := argument.misfit(value):
        message = f"{where}: {name} of vLLM {catalogue.vllm} {misfit}; found {_shown(value)}"
        return ArgumentFault(Severity.NOT_IN_CATALOGUE, message)
    if misfit := argument.misfit_of_member(value):
        return ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{where}: {name} of vLLM {catalogue.vllm} {misfit}")
    return None


def _auto_fault(engine: Engine, catalogue: EngineArguments) -> tuple[ArgumentFault, ...]:
    """Versions that write no bound down take no -1 either."""
    length = catalogue.arguments["max_model_len"]
    if engine.max_model_len != AUTO or length.ge == -1 or length.gt is not None:
        return ()
    message = f"spec.engine.maxModelLen: vLLM {catalogue.vllm} cannot choose it; write a number of tokens"
    return (ArgumentFault(Severity.NOT_IN_CATALOGUE, message),)


def _method_fault(engine: Engine, catalogue: EngineArguments) -> tuple[ArgumentFault, ...]:
    method = engine.speculative_config.method if engine.speculative_config else None
    # custom_class is refused by a rule of the field, whatever the version.
    known = tuple(name for name in catalogue.speculative_methods if name != "custom_class")
    if method is None or not known or method in known:
        return ()
    near = difflib.get_close_matches(method, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
    message = f"spec.engine.speculativeConfig.method: vLLM {catalogue.vllm} has no method {method}: {hint}"
    return (ArgumentFault(Severity.NOT_IN_CATALOGUE, message),)


def _draft_fault(engine: Engine) -> tuple[ArgumentFault, ...]:
    """https://github.com/vllm-project/vllm/blob/main/vllm/config/speculative.py (SpeculativeConfig.__post_init__)."""
    given = engine.speculative_config
    if given is None:
        return ()
    needs_model = given.model is None and given.method in _DRAFTED
    is_own = given.model is None and (given.method or "").endswith(_OWN_LAYERS)
    needs_tokens = given.num_speculative_tokens is None and (is_own or given.method in _COUNTED)
    missing = ("model",) * needs_model + ("numSpeculativeTokens",) * needs_tokens
    if not missing:
        return ()
    named = f"the method {given.method} needs" if given.method else "a draft model needs"
    message = f"spec.engine.speculativeConfig: {named} {' and '.join(missing)}"
    return (ArgumentFault(Severity.NOT_IN_CATALOGUE, message),)


def _ranks_faults(engine: Engine) -> Iterator[ArgumentFault]:
    """Ranks of the draft model and of the context that do not fit tensorParallelSize.

    https://github.com/vllm-project/vllm/blob/main/vllm/config/parallel.py and speculative.py.
    """
    ranks = engine.tensor_parallel_size or 1
    draft = engine.speculative_config.draft_tensor_parallel_size if engine.speculative_config else None
    if draft is not None and draft not in (1, ranks):
        message = f"spec.engine.speculativeConfig.draftTensorParallelSize: vLLM takes 1 or tensorParallelSize ({ranks})"
        yield ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{message}; found {draft}")
    context = (engine.extra_args or {}).get(_CONTEXT_RANKS)
    if isinstance(context, int) and context > 0 and ranks % context:
        message = f"{_EXTRA}.{_CONTEXT_RANKS}: it must divide spec.engine.tensorParallelSize ({ranks})"
        yield ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{message}; found {context}")


def _quantization_fault(engine: Engine, catalogue: EngineArguments) -> tuple[ArgumentFault, ...]:
    known = tuple(map(str, catalogue.arguments["quantization"].choices))
    # vLLM reads it in any case.
    method = engine.quantization.lower() if engine.quantization else None
    if method is not None and method in refused_as_deprecated(engine, catalogue.vllm):
        message = f"spec.engine.quantization: vLLM {catalogue.vllm} calls {method} deprecated and refuses it"
        fix = f"write {_EXTRA}.{_DEPRECATED_SWITCH}: true, or choose another"
        return (ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{message}: {fix}"),)
    if method is None or not known or method in known:
        return ()
    near = difflib.get_close_matches(method, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
    message = f"spec.engine.quantization: vLLM {catalogue.vllm} has no method {engine.quantization}: {hint}"
    return (ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{message}; weights that are quantised say it themselves"),)


def _check_generation(spec: LLMDeploymentSpec, vllm: str) -> tuple[ArgumentFault, ...]:
    """What the engine is asked for, and the GPUs that the node selector names are too old for."""
    gpu, catalogue = find_gpu(spec), load_arguments(vllm)
    if gpu is None:
        return ()
    faults: list[ArgumentFault] = []
    method = (spec.engine.quantization or "").lower()
    needed = catalogue.min_capability.get(method, 0) if catalogue else 0
    if needed > gpu.capability:
        message = f"spec.engine.quantization {method}: vLLM {vllm} reads it on GPUs of compute capability "
        faults.append(_too_old(message + f"{needed // 10}.{needed % 10} and newer", gpu))
    if spec.engine.dtype is Dtype.BFLOAT16 and gpu.capability < _BFLOAT16:
        faults.append(_too_old("spec.engine.dtype bfloat16: vLLM computes it from compute capability 8.0 on", gpu))
    return tuple(faults)


def _too_old(message: str, gpu: Gpu) -> ArgumentFault:
    return ArgumentFault(Severity.NOT_IN_CATALOGUE, f"{message}, and {gpu.name} has {gpu.capability_text}")


def readable_quantizations(spec: LLMDeploymentSpec, vllm: str) -> tuple[str, ...]:
    """How weights may be quantised for this version, on the GPUs that the node selector names; empty if unknown."""
    gpu, catalogue = find_gpu(spec), load_arguments(vllm)
    if catalogue is None:
        return ()
    methods = map(str, catalogue.arguments["quantization"].choices)
    return tuple(m for m in methods if gpu is None or catalogue.min_capability.get(m, 0) <= gpu.capability)


def takes_argument(vllm: str, name: str) -> bool:
    """Whether a version has an argument; also where its arguments are not known."""
    catalogue = load_arguments(vllm)
    return catalogue is None or name in catalogue.arguments


def refused_as_deprecated(engine: Engine, vllm: str) -> tuple[str, ...]:
    """Deprecated methods, which a version refuses until `allow_deprecated_quantization` is set.

    https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py (_verify_quantization)
    """
    catalogue = load_arguments(vllm)
    if catalogue is None or (engine.extra_args or {}).get(_DEPRECATED_SWITCH) is True:
        return ()
    return catalogue.deprecated_quantization


def _shown(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
