"""The sources of a spec: which volume holds each, where it is mounted, and what is to be checked of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.hub import DEFAULT_REVISION, HuggingFaceSource
from triton_vllm_operator.api.lora import DEFAULT_LORA_RANK
from triton_vllm_operator.api.model import ModelSource
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.spec import DRAFT_FIELD, TOKENIZER_FIELD, LLMDeploymentSpec, adapter_field
from triton_vllm_operator.repository.check import readable_quantizations, refused_as_deprecated, takes_argument
from triton_vllm_operator.repository.content import Places
from triton_vllm_operator.repository.gpus import find_gpu
from triton_vllm_operator.sources.placement import ONLY_TOKENIZER, folder_name
from triton_vllm_operator.sources.task import Action, Expectation, Repository, Role, Task

TOKENIZER: Final = "/tokenizer"
DRAFT: Final = "/draft"

_ADAPT_TOWERS: Final = "enable_tower_connector_lora"
_HF_OVERRIDES: Final = "hf_overrides"
_OTHER_CONFIG: Final = ("hf_config_path", "config_format")
"""Arguments by which the engine reads another configuration than the model's config.json, or reads it otherwise."""
_LENGTHS: Final = frozenset(
    {"max_position_embeddings", "model_max_length", "original_max_position_embeddings"}
    | {"rope_parameters", "rope_scaling", "rope_theta"}
)
"""What of config.json speaks of nothing but the length of sequences."""

_TRUE: Final = ("1", "true")
_ALLOW_LONGER: Final = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"

_MISTRAL: Final = "mistral"

Commits = Mapping[str, str]
"""What the revisions of repositories stand for, by the volume of the source."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A source with its place in the pod."""

    field: str
    """Where the spec names it, as `spec.model`."""
    volume: str
    mount: str
    role: Role
    source: ModelSource
    files_kind: str | None
    """Which files of a repository are read: the engine's `load_format`, of the model alone, or ONLY_TOKENIZER."""

    @property
    def token_variable(self) -> str:
        """The environment variable of its access token."""
        return f"TOKEN_{self._variable}"

    @property
    def ca_variable(self) -> str:
        """The environment variable with the certificate authorities of its mirror."""
        return f"CA_{self._variable}"

    @property
    def _variable(self) -> str:
        return self.volume.upper().replace("-", "_")

    def folder(self, commits: Commits) -> str:
        """Where the files lie in the container. A revision that is not resolved yet stands for itself."""
        hub = self.source.hugging_face
        if hub is not None:
            commit = commits.get(self.volume, hub.revision or DEFAULT_REVISION)
            return f"{self.mount}/{folder_name(hub.repository, commit, self.files_kind, hub.mirror)}"
        return f"{self.mount}/{self.source.path}" if self.source.path else self.mount


def place_sources(spec: LLMDeploymentSpec) -> tuple[Placed, ...]:
    """Everything that the pod reads from a source."""
    draft, tokenizer = spec.draft, spec.model.tokenizer
    adapters = (
        Placed(
            adapter_field(adapter),
            f"{names.ADAPTER_VOLUME}{number}",
            f"{names.ADAPTERS}/{adapter.name}",
            Role.ADAPTER,
            adapter,
            None,
        )
        for number, adapter in enumerate(spec.model.adapters)
    )
    return (
        Placed(
            "spec.model",
            names.MODEL_VOLUME,
            names.WEIGHTS,
            Role.MODEL,
            spec.model,
            _files_kind(spec),
        ),
        *(
            [Placed(TOKENIZER_FIELD, names.TOKENIZER_VOLUME, TOKENIZER, Role.TOKENIZER, tokenizer, ONLY_TOKENIZER)]
            if tokenizer
            else []
        ),
        *([Placed(DRAFT_FIELD, names.DRAFT_VOLUME, DRAFT, Role.DRAFT, draft, None)] if draft else []),
        *adapters,
    )


def _files_kind(spec: LLMDeploymentSpec) -> str | None:
    """What the engine reads of the model's repository."""
    extra = spec.engine.extra_args or {}
    load_format = _lower(extra, "load_format")
    if load_format in (None, "auto") and extra.get("config_format") == _MISTRAL:
        # vLLM then reads weights in Mistral's format first, and the others only if there are none.
        return _MISTRAL
    return load_format


def find_places(spec: LLMDeploymentSpec, commits: Commits) -> Places:
    """Where the container finds the weights, the tokenizer, the draft model and the adapters."""
    placed = place_sources(spec)
    by_role = {role: [source for source in placed if source.role is role] for role in Role}
    draft, tokenizer = by_role[Role.DRAFT], by_role[Role.TOKENIZER]
    adapters = zip(spec.model.adapters, by_role[Role.ADAPTER], strict=True)
    return Places(
        model=by_role[Role.MODEL][0].folder(commits),
        draft=draft[0].folder(commits) if draft else None,
        tokenizer=tokenizer[0].folder(commits) if tokenizer else None,
        adapters={adapter.name: source.folder(commits) for adapter, source in adapters},
    )


def build_volume(placed: Placed) -> Json:
    """The volume of a source."""
    source = placed.source
    if source.image is not None:
        image: Json = {"reference": source.image.reference}
        if source.image.pull_policy is not None:
            image["pullPolicy"] = source.image.pull_policy.value
        return {"name": placed.volume, "image": image}
    if source.persistent_volume_claim is not None:
        claim = source.persistent_volume_claim.claim_name
        return {"name": placed.volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    assert source.hugging_face is not None, "a rule of ModelSource: it has one source"
    return {"name": placed.volume, **_build_cache(source.hugging_face)}


def _build_cache(hub: HuggingFaceSource) -> Json:
    if hub.claim_name is not None:
        # Not readOnly here: the Job that fetches may mount the same volume on the same node, to write.
        return {"persistentVolumeClaim": {"claimName": hub.claim_name}}
    limit = hub.cache.empty_dir.size_limit if hub.cache and hub.cache.empty_dir else None
    return {"emptyDir": {"sizeLimit": limit} if limit else {}}


def build_source_variables(placed: tuple[Placed, ...]) -> list[Json]:
    """Environment variables with access tokens and certificate authorities.

    The kubelet fills them in, the operator never sees a token; and it says by name which object or key is missing.
    """
    found: list[Json] = []
    for source in placed:
        if (hub := source.source.hugging_face) is None:
            continue
        if (secret := hub.token_secret_ref) is not None:
            reference = {"name": secret.name, "key": secret.key}
            found.append({"name": source.token_variable, "valueFrom": {"secretKeyRef": reference}})
        if (authorities := hub.ca_config_map_ref) is not None:
            reference = {"name": authorities.name, "key": authorities.key}
            found.append({"name": source.ca_variable, "valueFrom": {"configMapKeyRef": reference}})
    return found


def build_task(placed: Placed, action: Action, spec: LLMDeploymentSpec, vllm: str, commits: Commits) -> Task:
    """What the program is asked to do about a source."""
    hub = placed.source.hugging_face
    return Task(
        field=placed.field,
        volume=placed.volume,
        action=action,
        folder=placed.folder(commits) if action is Action.CHECK else placed.mount,
        repository=_repository(placed, hub, commits) if hub and action is not Action.CHECK else None,
        size_limit=_size_limit(hub),
        expectation=_expectation(placed, spec, vllm),
    )


def _repository(placed: Placed, hub: HuggingFaceSource, commits: Commits) -> Repository:
    asked = hub.revision or DEFAULT_REVISION
    revision = commits.get(placed.volume, asked)
    return Repository(
        name=hub.repository,
        revision=revision,
        asked=asked if revision != asked and hub.claim_name is not None else None,
        endpoint=hub.mirror,
        offline=bool(hub.offline),
        token_variable=placed.token_variable if hub.token_secret_ref else None,
        ca_variable=placed.ca_variable if hub.ca_config_map_ref else None,
    )


def _expectation(placed: Placed, spec: LLMDeploymentSpec, vllm: str) -> Expectation:
    """What the engine's settings say of a source; most of them speak of the model alone."""
    if placed.role is Role.DRAFT:
        # It is given the model's tokenizer where it has none, and may be split otherwise.
        return Expectation(
            role=placed.role,
            vllm=vllm,
            needs_tokenizer=False,
            trust_remote_code=bool(spec.engine.trust_remote_code),
            quantization_methods=readable_quantizations(spec, vllm),
        )
    if placed.role is Role.TOKENIZER:
        return Expectation(
            role=placed.role,
            vllm=vllm,
            load_format=placed.files_kind,
            trust_remote_code=bool(spec.engine.trust_remote_code),
            tokenizer_mode=_lower(spec.engine.extra_args or {}, "tokenizer_mode"),
        )
    if placed.role is Role.ADAPTER:
        return Expectation(role=placed.role, vllm=vllm, max_lora_rank=_rank_limit(placed, spec))
    return _of_model(placed, spec, vllm)


def _of_model(placed: Placed, spec: LLMDeploymentSpec, vllm: str) -> Expectation:
    engine, extra = spec.engine, spec.engine.extra_args or {}
    length = engine.max_model_len
    return Expectation(
        role=placed.role,
        vllm=vllm,
        tensor_parallel_size=engine.tensor_parallel_size or 1,
        max_model_len=length if isinstance(length, int) else None,
        load_format=placed.files_kind,
        needs_tokenizer=spec.model.tokenizer is None and "tokenizer" not in extra,
        trust_remote_code=bool(engine.trust_remote_code),
        allows_longer=any(
            variable.name == _ALLOW_LONGER and variable.value.lower() in _TRUE for variable in spec.env or ()
        ),
        config_format=config_format if isinstance(config_format := extra.get("config_format"), str) else None,
        quantization=engine.quantization,
        quantization_methods=readable_quantizations(spec, vllm),
        deprecated_quantizations=refused_as_deprecated(engine, vllm),
        gpu=gpu.name if (gpu := find_gpu(spec)) else None,
        overrides_config=_overrides_config(extra),
        overrides_length=not _LENGTHS.isdisjoint((*extra, *_overridden(extra))),
        tokenizer_mode=_lower(extra, "tokenizer_mode"),
        adapts_towers=extra.get(_ADAPT_TOWERS) is True,
        can_adapt_towers=takes_argument(vllm, _ADAPT_TOWERS),
    )


def _overrides_config(extra: dict[str, JsonValue]) -> bool:
    return any(name in extra for name in _OTHER_CONFIG) or not _overridden(extra) <= _LENGTHS


def _overridden(extra: dict[str, JsonValue]) -> frozenset[str]:
    given = extra.get(_HF_OVERRIDES)
    return frozenset(given if isinstance(given, dict) else ())


def _lower(extra: dict[str, JsonValue], name: str) -> str | None:
    """A text that vLLM reads in any case."""
    value = extra.get(name)
    return value.lower() if isinstance(value, str) else None


def _rank_limit(placed: Placed, spec: LLMDeploymentSpec) -> int | None:
    """An adapter of a hub is looked at before the engine's settings are rendered: they follow its rank."""
    follows = placed.source.hugging_face is not None
    return spec.engine.max_lora_rank or (None if follows else DEFAULT_LORA_RANK)


def _size_limit(hub: HuggingFaceSource | None) -> int | None:
    folder = hub.cache.empty_dir if hub and hub.cache else None
    return int(parse_quantity(folder.size_limit)) if folder and folder.size_limit else None
