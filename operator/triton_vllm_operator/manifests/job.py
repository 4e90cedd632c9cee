"""The Jobs of an LLMDeployment: their names say what each is for."""

from enum import StrEnum

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child, content_hash


class Purpose(StrEnum):
    """What a Job is for, as its name has it."""

    FETCH = "fetch"
    """A model of a hub is looked up, and what is kept on volumes is fetched."""
    LOOK = "look"
    """A model is looked up, or into, and nothing is kept of it."""
    PULL = "pull"
    """Images are brought to a node."""


def build_job(owner: Owner, purpose: Purpose, content: Json) -> Json:
    """A Job of that spec."""
    # A Job's name has at most 63 characters, and that of its owner up to 50.
    name = f"{owner.name}-{purpose}-{content_hash(content)[:6]}"
    return build_child(owner, "batch/v1", "Job", name, {"spec": content})


def is_for(job: str, purpose: Purpose) -> bool:
    """Whether a Job of that name is for it."""
    return job.split("-")[-2:-1] == [purpose]
