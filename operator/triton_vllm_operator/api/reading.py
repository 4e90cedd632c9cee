"""One strict reading of a spec, for the operator and for `kubectl-llm`: as the API server reads it. Pure."""

import copy
import difflib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from triton_vllm_operator.api.base import OWN_ERRORS, ApiModel, Json
from triton_vllm_operator.api.crd import structural
from triton_vllm_operator.api.engine import OF_A_REQUEST, REQUEST_PARAMETERS
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.structural import Fault, find_faults, normalize, parts_of, show

PlaceOfArgument = Callable[[str], str]
"""Where an argument of the engine goes that is no field, or why nowhere; empty if none is meant."""

_ENGINE: Final = "spec.engine"
_SHOWN_PATH: Final = 12
"""Parts of a field's path that a message shows: values of any JSON may nest very deep."""
_SOURCES: Final = "one of spec.model.huggingFace, spec.model.image, spec.model.persistentVolumeClaim"
# What people of other charts and operators write, where no likeness of names leads to ours.
# By the field and the one around it, or by the field alone; what begins with a dot begins where the field stands.
_ELSEWHERE: Final = {
    "accelerator.gpu": ".nvidiaGPU",
    "cache.pvc": ".persistentVolumeClaim.claimName",
    "cache.claimName": ".persistentVolumeClaim.claimName",
    "huggingFace.id": ".repository",
    "huggingFace.model": ".repository",
    "huggingFace.modelId": ".repository",
    "huggingFace.name": ".repository",
    "huggingFace.repo": ".repository",
    "huggingFace.repoId": ".repository",
    "huggingFace.cacheDir": ".cache",
    "image.image": ".reference",
    "model.id": ".huggingFace.repository",
    "model.name": ".servedName, or the repository in spec.model.huggingFace.repository",
    "model.repository": ".huggingFace.repository",
    "model.storageUri": _SOURCES,
    "model.uri": _SOURCES,
    "model.url": _SOURCES,
    "persistentVolumeClaim.name": ".claimName",
    "persistentVolumeClaim.subPath": ".path",
    "modelName": "spec.model.servedName",
    "modelURL": "spec.model.huggingFace.repository",
    "modelUri": "spec.model.huggingFace.repository",
    "modelId": "spec.model.huggingFace.repository",
    "storageUri": _SOURCES,
    "hfToken": "spec.model.huggingFace.tokenSecretRef",
    "replicaCount": "spec.replicas",
    "shmSize": "spec.sharedMemorySize",
    "vllmConfig": "spec.engine",
    "gpus": "spec.engine.tensorParallelSize",
    "gpu": "spec.engine.tensorParallelSize",
    "gpuCount": "spec.engine.tensorParallelSize",
    "numGpus": "spec.engine.tensorParallelSize",
    "requestGPU": "spec.engine.tensorParallelSize",
    "gpuType": "spec.scheduling.nodeSelector, as nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3",
    "annotations": "spec.podMetadata.annotations",
    "podAnnotations": "spec.podMetadata.annotations",
    "labels": "spec.podMetadata.labels",
    "podLabels": "spec.podMetadata.labels",
    "serviceAccount": "spec.serviceAccountName",
    "extraEnv": "spec.env",
    "envFrom": "spec.env",
    "nodeName": "spec.scheduling.nodeSelector",
    "pvc": "spec.model.persistentVolumeClaim",
    "spec.image": "spec.model.image, which holds the model, or spec.runtime.image, which serves it",
    "nvidiaGPU.count": "spec.engine.tensorParallelSize",
    "terminationGracePeriodSeconds": "spec.drain.timeoutSeconds",
    "maxSurge": "spec.rollout.strategy",
    "maxUnavailable": "spec.rollout.strategy",
    "token": "spec.model.huggingFace.tokenSecretRef",
    "enableLora": "spec.model.loraAdapters",
    "loraModules": "spec.model.loraAdapters",
    "maxLoras": "spec.model.loraAdapters",
    "servedModelName": "spec.model.servedName",
    "downloadDir": "spec.model.huggingFace.cache",
    "args": "spec.engine.extraArgs",
    "command": "spec.engine.extraArgs",
    "model": "spec.model",
    "resourceProfile": "spec.resources",
    "requestCPU": "spec.resources.requests.cpu",
    "requestMemory": "spec.resources.requests.memory",
    "limitCPU": "spec.resources.limits.cpu",
    "limitMemory": "spec.resources.limits.memory",
    "initialDelaySeconds": "spec.probe.startupDeadlineSeconds",
    "startupProbe": "spec.probe",
    "readinessProbe": "spec.probe",
    "livenessProbe": "spec.probe",
}
# What is not there, and would be misled to a field of the same name that means another thing.
_NOWHERE: Final = frozenset({"speculativeConfig.quantization", "fetch.env", "huggingFace.env", "runtime.triton"})
_VALUES: Final = "values stand in the spec as text; the token of a hub goes to spec.model.huggingFace.tokenSecretRef"


_COMMON: Final = frozenset({"cpu", "image", "key", "memory", "name", "path", "type", "value", "version"})
"""Names that mean another thing in every place."""


def read_spec(spec: Json, place_of_argument: PlaceOfArgument = lambda _name: "") -> LLMDeploymentSpec | tuple[str, ...]:
    """The spec, or everything that is wrong with it: a sentence each that begins with the field."""
    schema = spec_schema()
    read = normalize(spec, schema)
    assert isinstance(read, dict), "an object stays one"
    faults = tuple(_sentence(fault, place_of_argument) for fault in find_faults(read, schema))
    try:
        parsed = LLMDeploymentSpec.model_validate(read)
    except ValidationError as error:
        # What pydantic says of types and bounds, the schema has said in better words.
        ours = [details for details in error.errors() if not faults or details["type"] in OWN_ERRORS]
        return (*faults, *map(describe_error, ours))
    return faults or parsed


def read_rest(spec: Json) -> LLMDeploymentSpec | None:
    """What can be read of a spec that has faults, without the values that have them; None if that is no spec."""
    try:
        rest = copy.deepcopy(normalize(spec, spec_schema()))
        for fault in reversed(tuple(find_faults(rest, spec_schema()))):
            _remove(rest, fault.path)
        return LLMDeploymentSpec.model_validate(rest)
    except (ValidationError, RecursionError):
        return None


def _remove(value: object, path: tuple[str, ...]) -> None:
    if not path:
        return
    *parents, last = path
    for part in parents:
        if isinstance(value, list):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
    if isinstance(value, dict):
        value.pop(last, None)
    elif isinstance(value, list) and last.isdigit():
        del value[int(last)]


@cache
def spec_schema() -> Json:
    """The schema of a spec, as the CRD holds it."""
    return structural(LLMDeploymentSpec.model_json_schema(by_alias=True))


def describe_error(error: ErrorDetails) -> str:
    """What a rule between fields, or one about the form of a text, says."""
    field = _field(tuple(str(part) for part in error["loc"]))
    found = error.get("input")
    # A rule between fields speaks of them by name, and showing all of them helps nobody.
    shown = "" if isinstance(found, dict | ApiModel) else f"; found {show(found)}"
    return f"{field}: {error['msg']}{shown}"


def _sentence(fault: Fault, place_of_argument: PlaceOfArgument) -> str:
    hint = _hint(fault.path, place_of_argument) if fault.is_unknown else ""
    return f"{_field(fault.path)}: {fault.message}{hint}"


def _field(path: tuple[str, ...]) -> str:
    return ".".join(["spec", *path[:_SHOWN_PATH], *(["..."] if len(path) > _SHOWN_PATH else [])])


def _hint(path: tuple[str, ...], place_of_argument: PlaceOfArgument) -> str:
    """Where a field that is not there may be meant to stand."""
    *parents, name = path
    here = ".".join(["spec", *(part for part in parents if not part.isdigit())])
    beside = [field.rsplit(".", 1)[-1] for field in _fields() if field.rsplit(".", 1)[0] == here]
    if called := next((field for field in beside if _plain(field) == _plain(name)), None):
        return f": it is called {here}.{called}"
    if here == _ENGINE and (why := place_of_argument(name)):
        return f": {why}"
    if (stands := _elsewhere(here, name)) is not None:
        return stands
    if near := difflib.get_close_matches(name, beside, n=1, cutoff=0.6):
        return f": did you mean {near[0]}?"
    if here == _ENGINE:
        return ": an argument of vLLM that has no field goes to spec.engine.extraArgs, by its own name"
    return ""


def _elsewhere(here: str, name: str) -> str | None:
    """What is known of a name that stands in the wrong place; None if nothing is."""
    within, alone = _plain(f"{here.rpartition('.')[2]}.{name}"), _plain(name)
    if within in map(_plain, _NOWHERE):
        return ""
    places = _places()
    right = places.get(within) or places.get(alone)
    if right is not None and not right.startswith("."):
        return f": write {right}"
    if right is not None and f"{here}{right}" in _fields():
        return f": write {here}{right}"
    if alone == "valuefrom":
        return f": {_VALUES}"
    # A seed may stand in extraArgs as well, and mostly is that of a request.
    if alone in (*map(_plain, REQUEST_PARAMETERS), "seed"):
        return f": {OF_A_REQUEST}"
    far = [field for field in _fields() if _plain(field.rsplit(".", 1)[-1]) == alone]
    return f": it stands in {far[0]}" if len(far) == 1 and alone not in _COMMON else None


@cache
def _places() -> dict[str, str]:
    return {_plain(wrong): right for wrong, right in _ELSEWHERE.items()}


def _plain(name: str) -> str:
    """snake_case, kebab-case and camelCase of one name are equal."""
    return name.replace("_", "").replace("-", "").lower()


@cache
def _fields() -> tuple[str, ...]:
    """The path of every field, those nearer to the root first."""
    return tuple(sorted(_walk("spec", spec_schema()), key=lambda field: field.count(".")))


def _walk(path: str, schema: Json) -> Iterator[str]:
    properties, items, _ = parts_of(schema)
    for name, inner in properties.items():
        yield f"{path}.{name}"
        yield from _walk(f"{path}.{name}", inner)
    if items:
        yield from _walk(path, items)
