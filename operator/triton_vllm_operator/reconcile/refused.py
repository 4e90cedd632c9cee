"""That Kubernetes makes no pod of a Deployment. Pure."""

from typing import Final

from triton_vllm_operator.health.refusals import describe_refusal
from triton_vllm_operator.kube.resources import DEPLOYMENT, ObjectCondition, true_condition
from triton_vllm_operator.reconcile.model import Observed

_RESOURCES: Final = "spec.resources"


def find_refusal(observed: Observed) -> ObjectCondition | None:
    """Its last word on that; None if it makes them."""
    found = (true_condition(child.body, "ReplicaFailure") for child in observed.children_of(DEPLOYMENT))
    return next(filter(None, found), None)


def say_refusal(refusal: ObjectCondition) -> str:
    """The same in a sentence, with what would help."""
    return f"Kubernetes makes no pod: {describe_refusal(refusal.message, _RESOURCES)}"
