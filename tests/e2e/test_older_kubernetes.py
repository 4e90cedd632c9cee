"""An API server that does what the oldest did that it can stand for: no image volumes, no lists that are streamed."""

import pytest

from cluster import node
from cluster.kubectl import kubectl
from support.install import replace_operator_pod
from support.llm import SMOLLM2, apply, condition, get_llm, is_scaled_to_zero, make_llm, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.full]


def test_image_volumes_are_named_where_there_are_none(shared_namespace: str) -> None:
    with node.apiserver_with("--emulated-version=1.33"):
        # One that had its watches from a newer server ends when it loses them, and is started again.
        replace_operator_pod()
        apply(make_llm("imaged", shared_namespace))
        wait_for(
            shared_namespace,
            "imaged",
            "is refused",
            60,
            lambda x: condition(x, "Accepted").get("reason") == "ImageVolumesUnsupported",
        )
        said = condition(get_llm(shared_namespace, "imaged"), "Accepted")["message"]
        assert "write persistentVolumeClaim or huggingFace in place of image" in said
        claim = {"persistentVolumeClaim": {"claimName": "models"}}
        apply(make_llm("imaged", shared_namespace, model=claim, replicas=0))
        wait_for(shared_namespace, "imaged", "is accepted", 60, is_scaled_to_zero)
        kubectl("-n", shared_namespace, "delete", "llm", "imaged")
    replace_operator_pod()
    apply(make_llm("imaged", shared_namespace, model=SMOLLM2["model"], replicas=0))
    wait_for(shared_namespace, "imaged", "is accepted", 60, is_scaled_to_zero)
