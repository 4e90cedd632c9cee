"""What the program is asked to do: one JSON argument, written by `manifests`, read in the container."""

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """Base of all types of this package: frozen, camelCase, no unknown field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Said(Value):
    """What the program says, and is stored: a newer one may say more."""

    model_config = ConfigDict(extra="ignore")


PROGRAMS_VARIABLE: Final = "TRITON_VLLM_PROGRAMS"
"""Names the folder in which the program leaves what the serving container runs before the server."""
CA_BUNDLE_VARIABLE: Final = "CA_BUNDLE"
"""Environment variable with the administrator's certificate authorities, trusted for every repository."""


class Action(StrEnum):
    """What is done about one source."""

    FETCH = "Fetch"
    """Bring the weights of a repository into `folder`, then check them."""
    INSPECT = "Inspect"
    """Resolve the revision of a repository and check what its weights can be told by: nothing large is fetched."""
    CHECK = "Check"
    """Check what lies in `folder`."""


class Role(StrEnum):
    """What a source is to the engine."""

    MODEL = "Model"
    DRAFT = "Draft"
    TOKENIZER = "Tokenizer"
    ADAPTER = "Adapter"


SHAPED: Final = (Role.MODEL, Role.DRAFT)
"""Sources that take memory of a GPU by themselves."""


class Repository(Value):
    """A repository of a hub."""

    name: str
    revision: str
    asked: str | None = None
    """The revision that the user wrote, where `revision` is what it stands for."""
    endpoint: str | None = None
    """None means the hub itself."""
    offline: bool = False
    """Take what the folder holds, and ask no hub."""
    token_variable: str | None = None
    """Environment variable that holds the access token."""
    ca_variable: str | None = None
    """Environment variable that holds certificate authorities in PEM form, trusted for this repository."""


class Expectation(Value):
    """What the engine will do with a source, as far as its files can contradict it."""

    role: Role
    vllm: str = ""
    """The version that will serve; empty if it is not known."""
    tensor_parallel_size: int = 1
    max_model_len: int | None = None
    max_lora_rank: int | None = None
    """Largest rank of an adapter; None where the engine's follows from the adapter."""
    load_format: str | None = None
    """The engine's `load_format`, or ONLY_TOKENIZER; formats that have files of their own are not checked."""
    needs_tokenizer: bool = True
    trust_remote_code: bool = False
    """Whether code beside the weights may run."""
    allows_longer: bool = False
    """Whether the engine was told to take sequences that are longer than the model knows."""
    config_format: str | None = None
    """The engine's `config_format`."""
    quantization: str | None = None
    """The engine's `quantization`."""
    quantization_methods: tuple[str, ...] = ()
    """What the version reads on those GPUs; empty if that is not known."""
    deprecated_quantizations: tuple[str, ...] = ()
    """Of these, what it refuses until `allow_deprecated_quantization` is set; empty where that is set."""
    gpu: str | None = None
    """The GPUs, where they are known."""
    overrides_config: bool = False
    """Whether the engine is given other values than config.json holds (`hf_overrides`)."""
    overrides_length: bool = False
    """Whether it is given other lengths of sequences, or another scaling of positions."""
    tokenizer_mode: str | None = None
    """The engine's `tokenizer_mode`."""
    adapts_towers: bool = False
    """Whether adapters change what sees and hears as well (`enable_tower_connector_lora`)."""
    can_adapt_towers: bool = True
    """Whether the version has that argument; also where that is not known."""


class Task(Value):
    """One source."""

    field: str
    """Where the spec names it, as `spec.model`."""
    volume: str
    """The pod's volume; the report speaks of a source by it."""
    action: Action
    folder: str
    """Of the weights (CHECK), or the root under which fetched ones are kept."""
    repository: Repository | None = None
    size_limit: int | None = None
    """Bytes that the pod's own folder may hold; None if there is no limit, or the folder is on a volume."""
    expectation: Expectation


class TaskList(Value):
    """All sources of one container."""

    tasks: tuple[Task, ...]
