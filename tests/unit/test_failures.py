"""Which image a pod waits for, and what a user reads of it."""

import pytest

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.pods import find_problem
from triton_vllm_operator.kube.pod_reading import project_pod

MODEL, TONE, RUNTIME, TOOLS = "models.example/llama:2", "models.example/tone:1", "runtimes.example/triton:1", "tools:1"
DETAIL = "failed to resolve image: not found"
SECRET = "; a private registry needs spec.scheduling.imagePullSecrets"


def waiting_pod(reason: str, message: str, container: str = "prepare") -> Json:
    """A pod whose init container, or whose only container, waits for an image."""
    kind = "initContainerStatuses" if container == "prepare" else "containerStatuses"
    return {
        "metadata": {"name": "llama-1", "uid": "u", "labels": {}},
        "spec": {
            "volumes": [
                {"name": "repository", "configMap": {"name": "llama"}},
                {"name": "weights", "image": {"reference": MODEL}},
                {"name": "adapter-1", "image": {"reference": TONE}},
            ],
            "initContainers": [{"name": "prepare", "image": TOOLS}],
            "containers": [
                {
                    "name": "triton",
                    "image": RUNTIME,
                    "volumeMounts": [{"name": "adapter-1", "mountPath": "/adapters/tone"}],
                }
            ],
        },
        "status": {
            "phase": "Pending",
            kind: [{"name": container, "state": {"waiting": {"reason": reason, "message": message}}}],
        },
    }


def sentence(body: Json) -> str:
    problem = find_problem(project_pod(body))
    assert problem is not None
    assert problem.reason is Reason.IMAGE_PULL_FAILED
    return problem.message


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (MODEL, "spec.model.image"),
        (TONE, "spec.model.loraAdapters[tone].image"),
        (RUNTIME, "spec.runtime"),
        (TOOLS, "modelTools.image of the operator's chart"),
    ],
)
def test_a_missing_image_names_its_field(image: str, field: str) -> None:
    error = f'failed to pull and unpack image "{image}": {DETAIL}'
    said = sentence(waiting_pod("ErrImagePull", error))
    assert said == f"{field}: pod llama-1 has not got the image {image}: {error}{SECRET}"


@pytest.mark.parametrize("cause", ["ErrImagePull: ", "RegistryUnavailable: ", "SignatureValidationFailed: ", ""])
def test_the_kubelets_back_off_is_no_other_sentence(cause: str) -> None:
    error = f'failed to pull and unpack image "{MODEL}": {DETAIL}'
    between = f'Back-off pulling image "{MODEL}": {cause}{error}'
    assert sentence(waiting_pod("ErrImagePull", error)) == sentence(waiting_pod("ImagePullBackOff", between))


def test_an_image_that_is_never_pulled_is_not_a_matter_of_secrets() -> None:
    error = f'Container image "{MODEL}" is not present with pull policy of Never'
    said = sentence(waiting_pod("ErrImageNeverPull", error))
    assert said.endswith(f"{error}; bring it to the node")


def test_an_image_of_no_known_name_is_quoted() -> None:
    assert sentence(waiting_pod("InvalidImageName", "")) == "pod llama-1: InvalidImageName"
