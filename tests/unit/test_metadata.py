"""What is wrong with an object's metadata, before it is sent. The API server agrees: tests/e2e."""

from typing import Any

import pytest

from triton_vllm_operator.cli.metadata import find_metadata_faults


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"finalizers": "a"}, "metadata.finalizers takes a list"),
        ({"ownerReferences": {}}, "metadata.ownerReferences takes a list"),
        ({"creationTimestamp": "foo"}, "metadata.creationTimestamp takes a time"),
        ({"generation": True}, "metadata.generation takes a whole number"),
        ({"uid": 5}, "metadata.uid takes a text"),
        ({"label": {}}, "did you mean metadata.labels?"),
        ({"labels": {"a": 1}}, "write it in quotes"),
    ],
)
def test_each_fault_names_its_field(metadata: dict[str, Any], words: str) -> None:
    assert any(words in fault for fault in find_metadata_faults(metadata))


def test_what_kubectl_prints_of_an_object_passes() -> None:
    metadata = {
        "name": "web",
        "namespace": "team",
        "uid": "1-2",
        "generation": 3,
        "creationTimestamp": "2026-01-31T12:00:00Z",
        "resourceVersion": "7",
        "labels": {"a": "b"},
        "annotations": None,
    }
    assert list(find_metadata_faults(metadata)) == []
