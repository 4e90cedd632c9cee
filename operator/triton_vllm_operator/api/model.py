"""Where the weights come from, and under which name they are served."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from triton_vllm_operator.api.base import LIST_MAP_KEYS, LIST_TYPE, ApiModel, Form, ObjectName, rule
from triton_vllm_operator.api.hub import HuggingFaceSource

_NAME: Final = Form(
    "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
    'the name has letters, digits, ".", "_" and "-", and begins and ends with a letter or digit, as Llama-2-7b',
)
ServedName = Annotated[str, Field(min_length=1, max_length=63), _NAME]
AdapterName = Annotated[str, Field(min_length=1, max_length=63), _NAME]
Folder = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Form(
        "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        "path is a folder inside the source, as models/llama2: without a / at its begin or end, and without spaces",
    ),
]
"""A relative path; that it holds no `..` is a rule of the types that have one."""
ImageReference = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Form(
        "^([A-Za-z0-9]+([._-]+[A-Za-z0-9]+)*|\\[[0-9a-fA-F:.]+\\])(:[0-9]+)?(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9_.-]+)?(@[A-Za-z0-9:+._-]+)?$",
        "an image is REGISTRY/NAME:TAG, as registry.example.com/llama2:1, without oci:// or docker://",
    ),
]


class PullPolicy(StrEnum):
    """When the kubelet pulls an image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ImageSource(ApiModel):
    """Weights that travel as an OCI image, mounted read-only as an image volume (Kubernetes 1.35+)."""

    reference: ImageReference = Field(description="Image that holds the weights, as registry/model:1.")
    pull_policy: PullPolicy | None = Field(
        None, description="Always, IfNotPresent or Never; unset means the kubelet's own rule."
    )
    path: Folder | None = Field(None, description="Folder of the weights in the image; unset means its root.")

    @rule("!has(self.path) || !self.path.contains('..')", "path must stay inside the image: it holds '..'")
    def _path_stays_inside(self) -> bool:
        return ".." not in (self.path or "")


class ClaimSource(ApiModel):
    """Weights on a volume of the user's own, mounted read-only."""

    claim_name: ObjectName = Field(description="PersistentVolumeClaim of this namespace.")
    path: Folder | None = Field(None, description="Folder of the weights on the volume; unset means its root.")

    @rule("!has(self.path) || !self.path.contains('..')", "path must stay inside the volume: it holds '..'")
    def _path_stays_inside(self) -> bool:
        return ".." not in (self.path or "")


class ModelSource(ApiModel):
    """Where weights come from: exactly one of its members."""

    hugging_face: HuggingFaceSource | None = Field(None, description="Weights from the Hugging Face hub.")
    image: ImageSource | None = Field(None, description="Weights as an OCI image.")
    persistent_volume_claim: ClaimSource | None = Field(None, description="Weights on a volume.")

    @rule(
        "(has(self.huggingFace) ? 1 : 0) + (has(self.image) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) == 1",
        "set exactly one source of the weights: huggingFace, image or persistentVolumeClaim",
    )
    def _has_one_source(self) -> bool:
        sources = (self.hugging_face, self.image, self.persistent_volume_claim)
        return sum(source is not None for source in sources) == 1

    @property
    def path(self) -> str | None:
        """The folder inside the source; None means its root."""
        source = self.image or self.persistent_volume_claim
        return source.path if source else None


class LoraAdapter(ModelSource):
    """A LoRA adapter; requests choose it with the parameter lora_name."""

    name: AdapterName = Field(description="Name that requests give as lora_name.")


class Model(ModelSource):
    """Which model is served, and under which name."""

    tokenizer: ModelSource | None = Field(
        None, description="Where the tokenizer comes from, if not from the model's own folder."
    )

    served_name: ServedName | None = Field(
        None,
        description="Name in /v2/models/NAME; unset means metadata.name. It cannot be changed later.",
    )
    lora_adapters: tuple[LoraAdapter, ...] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="LoRA adapters that are served beside the model; adding one replaces every pod.",
        json_schema_extra={LIST_TYPE: "map", LIST_MAP_KEYS: ["name"]},
    )

    @property
    def adapters(self) -> tuple[LoraAdapter, ...]:
        """The adapters in the order of their names: that of the list means nothing."""
        return tuple(sorted(self.lora_adapters or (), key=lambda adapter: adapter.name))
