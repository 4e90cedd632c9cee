"""The ConfigMap that carries the model repository: immutable, named by its content."""

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child, content_hash
from triton_vllm_operator.repository.content import Repository

KEY_CONFIG = "config.pbtxt"
KEY_MODEL = "model.json"


def repository_name(owner_name: str, repository: Repository) -> str:
    """The name of the ConfigMap that holds this repository."""
    return f"{owner_name}-repository-{content_hash([repository.config_pbtxt, repository.model_json])}"


def build_config_map(owner: Owner, repository: Repository) -> Json:
    """The ConfigMap of one repository."""
    return build_child(
        owner,
        "v1",
        "ConfigMap",
        repository_name(owner.name, repository),
        {
            "immutable": True,
            "data": {KEY_CONFIG: repository.config_pbtxt, KEY_MODEL: repository.model_json},
        },
    )
