"""The ConfigMap that carries the model repository: immutable, named by its content."""

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child, content_hash
from triton_vllm_operator.repository.content import Repository

KEY_CONFIG = "config.pbtxt"
KEY_MODEL = "model.json"


KEY_ADAPTERS = "multi_lora.json"


def repository_files(repository: Repository) -> dict[str, str]:
    """The files by their keys in the ConfigMap."""
    files = {KEY_CONFIG: repository.config_pbtxt, KEY_MODEL: repository.model_json}
    return files if repository.multi_lora_json is None else {**files, KEY_ADAPTERS: repository.multi_lora_json}


def repository_name(owner_name: str, repository: Repository) -> str:
    """The name of the ConfigMap that holds this repository."""
    return f"{owner_name}-repository-{content_hash(list(repository_files(repository).values()))}"


def build_config_map(owner: Owner, repository: Repository) -> Json:
    """The ConfigMap of one repository."""
    content: Json = {"immutable": True, "data": repository_files(repository)}
    return build_child(owner, "v1", "ConfigMap", repository_name(owner.name, repository), content)
