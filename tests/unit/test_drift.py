"""What counts as a difference, and what does not."""

from typing import Any

import pytest

from triton_vllm_operator.reconcile.drift import differs


def child(**content: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"labels": {"a": "b"}}, **content}


SAME: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 1, "added": 2}),
    ({"limits": {"cpu": "1000m", "memory": "1.5Gi"}}, {"limits": {"cpu": "1", "memory": "1536Mi"}}),
    ({"tolerations": [{"key": "x", "value": ""}]}, {"tolerations": [{"key": "x"}]}),
    ({"terms": []}, {}),
    ({"requests": {"cpu": "0.3333"}}, {"requests": {"cpu": "334m"}}),
    ({"sizeLimit": "0.0001"}, {"sizeLimit": "100u"}),
    ({"nodeSelector": {"limits": "high"}}, {"nodeSelector": {"limits": "high"}}),
    ({"emptyDir": {}}, {}),
    ({"volumeMounts": [{"name": "a", "readOnly": False}]}, {"volumeMounts": [{"name": "a"}]}),
    ({"volumes": [{"name": "a"}]}, {"volumes": [{"name": "injected"}, {"name": "a", "mode": 420}]}),
    (
        {"tolerations": [{"key": "x", "effect": "NoSchedule"}, {"key": "x", "effect": "NoExecute"}]},
        {"tolerations": [{"key": "x", "effect": "NoSchedule"}, {"key": "x", "effect": "NoExecute"}]},
    ),
]
DIFFERENT: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 2}),
    ({"a": False}, {}),
    ({"volumeMounts": [{"name": "a", "readOnly": False}]}, {"volumeMounts": [{"name": "a", "readOnly": True}]}),
    ({"volumeMounts": [{"name": "a", "readOnly": True}]}, {"volumeMounts": [{"name": "a"}]}),
    ({"nodeSelector": {"limits": "high"}}, {"nodeSelector": {"limits": "low"}}),
    ({"requests": {"cpu": "0.3333"}}, {"requests": {"cpu": "333m"}}),
    ({"replicas": 0}, {}),
    ({"args": ["a", "b"]}, {"args": ["b", "a"]}),
    ({"args": ["a"]}, {"args": ["a", "b"]}),
    ({"image": "1"}, {"image": "1.0"}),
    ({"volumes": [{"name": "a"}]}, {"volumes": [{"name": "b"}]}),
    ({"a": {"b": 1}}, {"a": None}),
    (
        {"tolerations": [{"key": "x", "effect": "NoSchedule"}, {"key": "x", "effect": "NoExecute"}]},
        {"tolerations": [{"key": "x", "effect": "NoSchedule"}, {"key": "x", "effect": "NoSchedule"}]},
    ),
]


@pytest.mark.parametrize(("wanted", "found"), SAME)
def test_what_others_add_or_write_otherwise_is_no_difference(wanted: Any, found: Any) -> None:
    assert not differs(child(spec=wanted), child(spec=found))


@pytest.mark.parametrize(("wanted", "found"), DIFFERENT)
def test_a_leaf_that_we_set_is(wanted: Any, found: Any) -> None:
    assert differs(child(spec=wanted), child(spec=found))


def test_a_label_that_is_gone_is_a_difference() -> None:
    assert differs(child(), {"kind": "Deployment", "metadata": {"labels": {}}})


def test_a_field_that_we_no_longer_set_is_noticed_by_the_hash() -> None:
    wanted, found = child(), child()
    wanted["metadata"]["annotations"] = {"triton-vllm.dev/applied-hash": "new"}
    found["metadata"]["annotations"] = {"triton-vllm.dev/applied-hash": "old"}
    assert differs(wanted, found)
