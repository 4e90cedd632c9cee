"""Which Triton and vLLM serve a model."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from triton_vllm_operator.api.base import ApiModel, Form, rule
from triton_vllm_operator.api.model import ImageReference

RuntimeVersion = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Form(
        "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        'a version is an entry of the runtime catalogue, as "26.08"; write it in quotes: it is no number',
    ),
]
VllmVersion = Annotated[
    str,
    Field(min_length=5, max_length=32),
    Form(
        r"^[0-9]+\.[0-9]+\.[0-9]+(\.[0-9]+)?((a|b|rc|\.post|\.dev)[0-9]+)*(\+[A-Za-z0-9.]+)?$",
        "a vLLM version is three or four numbers, as 0.27.1 or 0.10.1.1, and after them .post1, rc1 or +local at will",
    ),
]


class ArgumentCheck(StrEnum):
    """What is done about an engine argument that the catalogue of its vLLM version does not know."""

    ENFORCE = "Enforce"
    WARN = "Warn"


class Backend(StrEnum):
    """Which of Triton's vLLM backends serves."""

    NVIDIA = "NVIDIA"
    PROJECT = "Project"


class Runtime(ApiModel):
    """Which Triton and vLLM serve the model: an entry of the catalogue, or an image of your own."""

    version: RuntimeVersion | None = Field(
        None,
        description="An entry of the operator's runtime catalogue, as 26.08.",
    )
    image: ImageReference | None = Field(
        None,
        description="An image with Triton and its vLLM backend, where the administrator allows it.",
    )
    vllm_version: VllmVersion | None = Field(
        None, description="The vLLM version inside runtime.image, as 0.27.1 or 0.10.1.1.post1."
    )
    backend: Backend | None = Field(
        None,
        description="NVIDIA, the default on GPUs, or Project: this project's backend, which streams to many clients "
        "at once, where the administrator offers an image with it.",
    )
    argument_check: ArgumentCheck | None = Field(
        None,
        description="Enforce, the default, refuses an engine argument that vLLM's published version does not take; "
        "Warn lets it pass, for a patched build that takes more.",
    )

    @rule("has(self.version) != has(self.image)", "set exactly one of runtime.version and runtime.image")
    def _is_one_runtime(self) -> bool:
        return (self.version is None) != (self.image is None)

    @rule(
        "has(self.image) == has(self.vllmVersion)",
        "runtime.image needs runtime.vllmVersion, the vLLM inside it; a catalogue entry knows its own",
    )
    def _image_names_its_vllm(self) -> bool:
        return (self.image is None) == (self.vllm_version is None)

    @rule(
        "!has(self.backend) || !has(self.image)",
        "runtime.backend chooses among the images of a catalogue entry; runtime.image holds one backend already",
    )
    def _image_has_its_backend(self) -> bool:
        return self.backend is None or self.image is None
