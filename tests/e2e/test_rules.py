"""The rules between fields say the same in CEL, which the API server keeps, and in Python."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from cluster.errors import ClusterError
from support.llm import apply, make_llm
from triton_vllm_operator.api.base import ApiModel
from triton_vllm_operator.api.spec import LLMDeploymentSpec

pytestmark = pytest.mark.e2e

GPU: dict[str, Any] = {"accelerator": {"nvidiaGPU": {}}, "runtime": {"version": "26.08"}}
MIG: dict[str, Any] = {**GPU, "accelerator": {"nvidiaGPU": {"resourceName": "nvidia.com/mig-3g.40gb"}}}
NGRAM = {"method": "ngram", "numSpeculativeTokens": 3}
IMAGE = {"reference": "registry/model:1"}
CLAIM = {"claimName": "models"}
HUB = {"repository": "acme/tiny"}
KEPT_HUB = {**HUB, "cache": {"persistentVolumeClaim": CLAIM}}
ADAPTER = {"name": "sql", "persistentVolumeClaim": CLAIM}

KEPT: list[dict[str, Any]] = [
    {},
    {"model": {"persistentVolumeClaim": {**CLAIM, "path": "a/b"}}},
    {"model": {"huggingFace": HUB}},
    {"model": {"huggingFace": {**KEPT_HUB, "revision": "refs/pr/1", "offline": True, "endpoint": "http://a.b:8080/c"}}},
    {"model": {"huggingFace": {**HUB, "cache": {"emptyDir": {"sizeLimit": "10Gi"}}, "offline": False}}},
    {"runtime": {"image": "registry/triton:1", "vllmVersion": "0.27.1"}},
    {"runtime": {"version": "26.08", "backend": "Project"}},
    {**GPU, "engine": {"tensorParallelSize": 8, "pipelineParallelSize": 2, "gpuMemoryUtilization": 1}},
    {**GPU, "engine": {"kvCacheMemoryBytes": "20Gi", "maxModelLen": "Auto", "enableChunkedPrefill": False}},
    {**GPU, "engine": {"kvCacheMemoryBytes": 1000, "maxModelLen": 100_000_000}},
    {**GPU, "engine": {"maxNumSeqs": 8, "maxNumBatchedTokens": 8, "maxModelLen": 8, "enableChunkedPrefill": False}},
    {**MIG, "engine": {"tensorParallelSize": 1}},
    {"engine": {"speculativeConfig": {**NGRAM, "promptLookupMin": 2, "promptLookupMax": 2}}},
    {"engine": {"speculativeConfig": {"model": {"image": IMAGE}}}},
    {"engine": {"extraArgs": {"seed": 1, "hf_overrides": {"a": {"b": [1, None, True]}}}}},
    {"model": {"image": IMAGE, "loraAdapters": [ADAPTER]}, "engine": {"maxLoraRank": 8}},
    {"resources": {"limits": {"cpu": 1}, "requests": {"memory": "1Gi"}}},
]

MARKS: list[dict[str, Any]] = [
    {"labels": {"a b": "c"}},
    {"annotations": {"a b": "c"}},
    {"labels": {"app.kubernetes.io/name": "c"}},
    {"annotations": {"triton-vllm.dev/x": "c"}},
    {"annotations": {"iam.amazonaws.com/role": "c"}},
]

BROKEN: list[dict[str, Any]] = [
    {"model": {"image": {**IMAGE, "path": "../etc"}}},
    {"model": {"persistentVolumeClaim": {**CLAIM, "path": "a/.."}}},
    {"model": {"image": IMAGE, "persistentVolumeClaim": CLAIM}},
    {"model": {"image": IMAGE, "huggingFace": HUB}},
    {"model": {"image": IMAGE, "huggingFace": HUB, "persistentVolumeClaim": CLAIM}},
    {"model": {"huggingFace": {"repository": "acme/a..b"}}},
    {"model": {"huggingFace": {"repository": "acme/a--b"}}},
    {"model": {"huggingFace": {"repository": "acme/a.git"}}},
    {"model": {"huggingFace": {**HUB, "revision": "a..b"}}},
    {"model": {"huggingFace": {**HUB, "offline": True}}},
    {"model": {"huggingFace": {**HUB, "offline": True, "cache": {"emptyDir": {}}}}},
    {"model": {"huggingFace": {**HUB, "cache": {}}}},
    {"model": {"huggingFace": {**HUB, "cache": {"emptyDir": {}, "persistentVolumeClaim": CLAIM}}}},
    {"model": {}},
    {"runtime": {}},
    {"runtime": {"version": "26.08", "image": "registry/triton:1", "vllmVersion": "0.27.1"}},
    {"runtime": {"image": "registry/triton:1"}},
    {"runtime": {"version": "26.08", "vllmVersion": "0.27.1"}},
    {"runtime": {"image": "registry/triton:1", "vllmVersion": "0.27.1", "backend": "Project"}},
    {"accelerator": {}},
    {"accelerator": {"cpu": {}, "nvidiaGPU": {}}},
    {"engine": {"gpuMemoryUtilization": 0.9}},
    {"engine": {"kvCacheMemoryBytes": "1Gi"}},
    {"engine": {"tensorParallelSize": 1}},
    {"engine": {"pipelineParallelSize": 1}},
    {**GPU, "engine": {"tensorParallelSize": 9, "pipelineParallelSize": 2}},
    {**GPU, "engine": {"maxNumSeqs": 9, "maxNumBatchedTokens": 8}},
    {**GPU, "engine": {"maxModelLen": 9, "maxNumBatchedTokens": 8, "enableChunkedPrefill": False}},
    {**GPU, "engine": {"maxModelLen": 0}},
    {**GPU, "engine": {"maxModelLen": 100_000_001}},
    {**GPU, "engine": {"maxModelLen": "auto"}},
    {**MIG, "engine": {"tensorParallelSize": 2}},
    {**MIG, "engine": {"pipelineParallelSize": 2}},
    {"engine": {"speculativeConfig": {}}},
    {"engine": {"speculativeConfig": {"method": "ngram"}}},
    {"engine": {"speculativeConfig": {**NGRAM, "model": {"image": IMAGE}}}},
    {"engine": {"speculativeConfig": {"method": "mtp", "promptLookupMin": 3, "promptLookupMax": 2}}},
    {"engine": {"speculativeConfig": {"model": {}}}},
    {"engine": {"speculativeConfig": {**NGRAM, "method": "custom_class"}}},
    {"engine": {"maxLoraRank": 8}},
    {"model": {"image": IMAGE, "loraAdapters": [{"name": "sql"}]}},
    {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    {"resources": {"requests": {"nvidia.com/gpu": 1}}},
    *({"podMetadata": marks} for marks in MARKS),
    *({"service": marks} for marks in MARKS[:4]),
    {"podMetadata": {"labels": {"a b": "c"}, "annotations": {"triton-vllm.dev/x": "y", "iam.amazonaws.com/role": "z"}}},
]


@pytest.mark.parametrize("spec", KEPT, ids=str)
def test_both_admit(shared_namespace: str, spec: dict[str, Any]) -> None:
    manifest = make_llm("web", shared_namespace, **spec)
    apply(manifest, "--dry-run=server")
    LLMDeploymentSpec.model_validate(manifest["spec"])


@pytest.mark.parametrize("spec", BROKEN, ids=str)
def test_both_refuse_with_the_same_words(shared_namespace: str, spec: dict[str, Any]) -> None:
    manifest = make_llm("web", shared_namespace, **spec)
    with pytest.raises(ClusterError) as from_cel:
        apply(manifest, "--dry-run=server")
    for message in python_says(manifest["spec"]):
        assert message in str(from_cel.value)


def python_says(spec: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        LLMDeploymentSpec.model_validate(spec)
    return caught.value.errors()[0]["msg"].split("; and ")


def test_no_rule_is_left_out() -> None:
    messages = {said for spec in BROKEN for said in python_says(make_llm("web", "x", **spec)["spec"])}
    assert {rule.message for model in models(LLMDeploymentSpec) for rule in model.rules()} <= messages


def models(model: type[ApiModel]) -> Iterator[type[ApiModel]]:
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, ApiModel):
                yield from models(part)
