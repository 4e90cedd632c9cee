"""The catalogue of runtimes: which image a `runtime.version` stands for."""

from enum import StrEnum
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter

from triton_vllm_operator.api.base import ApiModel
from triton_vllm_operator.api.platform import Policy
from triton_vllm_operator.api.runtime import Backend


class AcceleratorKind(StrEnum):
    """What a runtime's engine computes on."""

    NVIDIA_GPU = "NvidiaGPU"
    CPU = "Cpu"


class RuntimeEntry(ApiModel):
    """One Triton image with the vLLM inside it."""

    version: str = Field(min_length=1)
    image: str = Field(min_length=1)
    triton: str = Field(min_length=1)
    vllm: str = Field(min_length=1)
    accelerator: AcceleratorKind
    project_image: str | None = Field(None, min_length=1)
    """The same runtime with this project's backend (images/runtime-gpu); None if nobody has built it."""

    def with_backend(self, backend: Backend | None) -> "RuntimeEntry | None":
        """This runtime with that backend, the default for None; None if there is no image of it."""
        if self.accelerator is AcceleratorKind.CPU:
            # NVIDIA's backend has no build for a CPU: this image holds the project's.
            return None if backend is Backend.NVIDIA else self
        if backend is not Backend.PROJECT:
            return self.model_copy(update={"project_image": None})
        if self.project_image is None:
            return None
        return self.model_copy(update={"image": self.project_image, "project_image": None})


class Catalogue(ApiModel):
    """All runtimes that the administrator offers, newest first, and what he decided beside them."""

    entries: tuple[RuntimeEntry, ...]
    policy: Policy = Policy()

    def find(self, version: str) -> RuntimeEntry | None:
        """The entry of that version."""
        return next((entry for entry in self.entries if entry.version == version), None)

    @property
    def versions(self) -> str:
        """All versions, for a message."""
        return ", ".join(entry.version for entry in self.entries)


_ENTRIES = TypeAdapter(tuple[RuntimeEntry, ...])


def read_policy(path: Path | None) -> Policy:
    """Read the administrator's decisions that the chart mounts; the defaults when `path` is None.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no policy.
    """
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text()) if path else {})
    except yaml.YAMLError as error:
        raise ValueError(f"the policy {path} is no YAML: {error}") from error


def load_catalogue(path: Path | None, policy: Policy | None = None) -> Catalogue:
    """Read the catalogue that the chart mounts, or the package's own when `path` is None.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML list of entries, or names a version twice.
    """
    package_file = resources.files(__package__) / "runtimes.yaml"
    text = path.read_text() if path else package_file.read_text()
    try:
        entries = _ENTRIES.validate_python(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"the runtime catalogue {path or package_file} is no YAML: {error}") from error
    versions = [entry.version for entry in entries]
    twice = sorted({version for version in versions if versions.count(version) > 1})
    if twice:
        raise ValueError(f"the runtime catalogue {path or package_file} names {', '.join(twice)} twice")
    return Catalogue(entries=entries, policy=policy or Policy())
