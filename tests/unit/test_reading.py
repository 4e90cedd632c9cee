"""What is wrong with a spec: all of it at once, in words for people. The API server agrees: tests/e2e."""

import copy
from typing import Any

import pytest

from triton_vllm_operator.api.reading import read_spec
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.status import shorten

GOOD: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


def faults(**changes: Any) -> tuple[str, ...]:
    read = read_spec({**copy.deepcopy(GOOD), **changes})
    return read if isinstance(read, tuple) else ()


def test_a_good_spec_is_read() -> None:
    assert isinstance(read_spec(GOOD), LLMDeploymentSpec)


FAULTS: list[tuple[dict[str, Any], str]] = [
    # the wrong type, with what to write instead
    ({"replicas": True}, "spec.replicas: takes a whole number, found true"),
    ({"replicas": "2"}, 'spec.replicas: takes a whole number, found "2"; write it without quotes: 2'),
    ({"runtime": {"version": 26.08}}, "spec.runtime.version: takes a text, found 26.08; write it in quotes"),
    ({"engine": {"enforceEager": "True"}}, 'takes true or false, found "True"; write it without quotes: true'),
    (
        {"memory": {"policy": False}},
        'spec.memory.policy: takes a text, found false; YAML reads Off as false: write "Off"',
    ),
    ({"engine": []}, "spec.engine: takes an object, found []"),
    ({"scheduling": {"tolerations": {"key": "a"}}}, "spec.scheduling.tolerations: takes a list"),
    ({"replicas": 1001}, "spec.replicas: takes at most 1000, found 1001"),
    ({"engine": {"gpuMemoryUtilization": 0}}, "spec.engine.gpuMemoryUtilization: takes more than 0, found 0"),
    ({"engine": {"dtype": "BFloat16"}}, "did you mean bfloat16?"),
    # a name that is not there, and where it may be meant
    (
        {"engine": {"gpu_memory_utilization": 0.5}},
        "there is no such field: it is called spec.engine.gpuMemoryUtilization",
    ),
    ({"nodeSelector": {}}, "spec.nodeSelector: there is no such field: it stands in spec.scheduling.nodeSelector"),
    ({"tensor_parallel_size": 2}, "it stands in spec.engine.tensorParallelSize"),
    ({"model": {**GOOD["model"], "env": []}}, "spec.model.env: there is no such field: it stands in spec.env"),
    ({"replicaCount": 2}, "write spec.replicas"),
    ({"engine": {"maxModelLenn": 2}}, "did you mean maxModelLen?"),
    ({"engine": {"disable_cascade_attn": True}}, "goes to spec.engine.extraArgs, by its own name"),
    ({"accelerator": {"gpu": {}}}, "write spec.accelerator.nvidiaGPU"),
    (
        {"model": {"huggingFace": {"repository": "a/b", "cache": {"pvc": "x"}}}},
        "write spec.model.huggingFace.cache.persistentVolumeClaim.claimName",
    ),
    ({"model": {"huggingFace": {"modelId": "a/b"}}}, "write spec.model.huggingFace.repository"),
    ({"model": {"storageUri": "s3://a"}}, "write one of spec.model.huggingFace, spec.model.image"),
    (
        {"image": "a:1"},
        "spec.image: there is no such field: write spec.model.image, which holds the model, or spec.runtime",
    ),
    ({"accelerator": {"nvidiaGPU": {"count": 2}}}, "write spec.engine.tensorParallelSize"),
    ({"rollout": {"maxSurge": 0}}, "write spec.rollout.strategy"),
    ({"drain": {"terminationGracePeriodSeconds": 9}}, "write spec.drain.timeoutSeconds"),
    ({"podAnnotations": {}}, "write spec.podMetadata.annotations"),
    ({"hf_token": "x"}, "write spec.model.huggingFace.tokenSecretRef"),
    # forms, in words
    ({"resources": {"requests": {"memory": "32GB"}}}, "32Gi (x 1024^3) or 32G (x 1000^3)"),
    ({"sharedMemorySize": -1}, "spec.sharedMemorySize: a quantity is a number"),
    ({"env": [{"name": "A", "valueFrom": {}}]}, "tokenSecretRef"),
    ({"engine": {"temperature": 0.5}}, "it belongs to a request"),
    ({"engine": {"maxLoras": 2}}, "write spec.model.loraAdapters"),
    ({"engine": {"model": "a/b"}}, "write spec.model"),
    ({"sharedMemorySize": 1.5}, "spec.sharedMemorySize: takes a whole number or a text, found 1.5; write it in quotes"),
    ({"model": {"persistentVolumeClaim": {"claimName": "m", "path": "/a"}}}, "without a / at its begin or end"),
    ({"model": {"persistentVolumeClaim": {"claimName": "m", "path": "a/"}}}, "without a / at its begin or end"),
    ({"model": {"persistentVolumeClaim": {"claimName": "M_1"}}}, "a name of an object has a-z"),
    ({"model": {"huggingFace": {"repository": "hf://a/b"}}}, "without hf://"),
    ({"model": {"huggingFace": {"repository": "a/b", "endpoint": "mirror"}}}, "an endpoint is http:// or https://"),
    ({"model": {"image": {"reference": "oci://a/b:1"}}}, "without oci:// or docker://"),
    ({"runtime": {"image": "a:1", "vllmVersion": "v0.27"}}, "a vLLM version is three or four numbers"),
    # what is missing, or there twice
    ({"model": {"image": {}}}, "spec.model.image.reference: is missing"),
    ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, 'spec.env: names "A" twice'),
    # labels and annotations that are ours, or powerful
    ({"podMetadata": {"labels": {"app.kubernetes.io/name": "x"}}}, "are the operator's own"),
    ({"podMetadata": {"annotations": {"triton-vllm.dev/applied-hash": "x"}}}, "are the operator's own"),
    ({"podMetadata": {"annotations": {"iam.amazonaws.com/role": "x"}}}, "are for administrators"),
    ({"podMetadata": {"labels": {"a b": "x"}}}, "labels: a key has letters"),
    ({"podMetadata": {"labels": {"a": "x y"}}}, "a value of a label has at most 63 letters"),
    ({"service": {"type": "External"}}, "takes one of ClusterIP, NodePort, LoadBalancer, Headless"),
]


def test_no_hint_leads_to_what_is_not_there_either() -> None:
    (fault,) = faults(cache={"persistentVolumeClaim": {"claimName": "c", "subPath": "a"}})
    assert fault == "spec.cache.persistentVolumeClaim.subPath: there is no such field"


@pytest.mark.parametrize(("changes", "words"), FAULTS, ids=[words[:50] for _, words in FAULTS])
def test_a_fault_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert any(words in fault for fault in faults(**changes)), faults(**changes)


def test_all_faults_are_said_at_once() -> None:
    found = faults(
        replicas="2",
        engine={"gpu_memory_utilization": 0.5, "maxModelLen": "8"},
        resources={"limits": {"memory": "1GB"}},
    )
    fields = [fault.partition(": ")[0] for fault in found]
    assert fields == [
        *("spec.replicas", "spec.engine.gpu_memory_utilization"),
        *("spec.engine.maxModelLen", "spec.resources.limits.memory"),
    ]


def test_versions_with_four_parts_or_a_build_can_be_written() -> None:
    for version in ("0.10.1.1", "0.8.5.post1", "0.27.1+cu129", "0.28.0rc1"):
        assert faults(runtime={"image": "a:1", "vllmVersion": version}) == ()


def test_null_is_what_is_not_written() -> None:
    assert faults(replicas=None, engine={"maxModelLen": None}, resources={"limits": {"cpu": None}}) == ()
    assert faults(model=None) == ("spec.model: is missing, and nothing can be done without it",)


def test_json_may_nest_as_deep_as_the_api_server_reads_it() -> None:
    value: Any = 1
    for _ in range(300):
        value = [value]
    assert faults(engine={"extraArgs": {"hf_overrides": {"a": value}}}) == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"runtime": {"version": "26.08", "triton": "2.72"}}, "spec.runtime.triton"),
        ({"engine": {"speculativeConfig": {"method": "mtp", "quantization": "fp8"}}}, "speculativeConfig.quantization"),
    ],
)
def test_a_field_of_the_same_name_that_means_another_thing_is_not_advised(changes: dict[str, Any], field: str) -> None:
    (fault,) = (fault for fault in faults(**changes) if field in fault)
    assert fault.endswith(f"{field}: there is no such field")


def test_a_text_that_is_too_long_is_cut_between_words() -> None:
    assert shorten("the model does not fit", 15) == "the model..."
    assert shorten("the model", 9) == "the model"
    assert shorten("x" * 60, 50) == "x" * 47 + "..."
    assert shorten("a " + "x" * 60, 50) == "a " + "x" * 45 + "..."
