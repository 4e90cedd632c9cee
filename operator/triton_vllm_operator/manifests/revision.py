"""The ControllerRevision: one accepted state, complete enough to make every child from it again."""

from dataclasses import dataclass, replace

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import LIVE_FIELDS, rolling_part
from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.identity import Owner, build_child, content_hash
from triton_vllm_operator.manifests.pod import PodInputs, build_pod_template
from triton_vllm_operator.manifests.sources import find_places
from triton_vllm_operator.repository.catalogue import RuntimeEntry
from triton_vllm_operator.repository.content import Repository, build_repository
from triton_vllm_operator.sources.report import SourceReport


@dataclass(frozen=True, slots=True)
class Revision:
    """One accepted state of an LLMDeployment."""

    name: str
    number: int
    spec: LLMDeploymentSpec
    """What the user asked for, without the fields whose change restarts nothing."""
    runtime: RuntimeEntry
    served_name: str
    repository: Repository
    pod_template: Json
    sources: tuple[SourceReport, ...] = ()
    """What was found out about the repositories of the spec; empty if it names none."""

    @property
    def hash(self) -> str:
        """The content hash, as it stands in the label of the pods."""
        return self.name.rsplit("-", 1)[-1]


@dataclass(frozen=True, slots=True)
class Resolved:
    """An accepted spec with everything that was chosen or found out for it."""

    spec: LLMDeploymentSpec
    runtime: RuntimeEntry
    pods: Pods
    sources: tuple[SourceReport, ...] = ()


def render_revision(owner: Owner, resolved: Resolved, number: int) -> Revision:
    """Render an accepted spec into a revision, named by its content."""
    spec, runtime = resolved.spec, resolved.runtime
    rolling = rolling_part(spec)
    served_name = spec.model.served_name or owner.name
    commits = {source.volume: source.commit for source in resolved.sources if source.commit}
    ranks = [source.facts.lora_rank for source in resolved.sources if source.facts and source.facts.lora_rank]
    places = replace(find_places(spec, commits), lora_rank=max(ranks, default=None))
    repository = build_repository(spec.engine, places)
    inputs = PodInputs(
        instance=owner.name,
        served_name=served_name,
        image=runtime.image,
        repository=repository,
        spec=rolling,
        vllm=runtime.vllm,
        pods=resolved.pods,
        commits=commits,
    )
    template = build_pod_template(inputs)
    unnamed = Revision("", number, rolling, runtime, served_name, repository, template, resolved.sources)
    return replace(unnamed, name=f"{owner.name}-{content_hash(_revision_data(unnamed))}")


def build_controller_revision(owner: Owner, revision: Revision) -> Json:
    """The ControllerRevision that stores `revision`."""
    content: Json = {"revision": revision.number, "data": _revision_data(revision)}
    return build_child(owner, "apps/v1", "ControllerRevision", revision.name, content)


def parse_controller_revision(name: str, stored: Json) -> Revision:
    """Read back what `build_controller_revision` stored.

    Raises:
        ValueError: the stored object was not written by this operator or a compatible version.
    """
    data, number = stored.get("data"), stored.get("revision")
    if not isinstance(data, dict) or not isinstance(number, int) or not isinstance(data.get("podTemplate"), dict):
        raise ValueError(f"ControllerRevision {name} holds no revision of an LLMDeployment")
    try:
        return Revision(
            name=name,
            number=number,
            spec=LLMDeploymentSpec.model_validate(data["spec"]),
            runtime=RuntimeEntry.model_validate(data["runtime"]),
            served_name=str(data["servedName"]),
            repository=_parse_repository(data["repository"]),
            pod_template=data["podTemplate"],
            sources=tuple(SourceReport.model_validate(source) for source in data.get("sources", ())),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"ControllerRevision {name} lacks {error}") from error


def _parse_repository(stored: Json) -> Repository:
    adapters = stored.get("adapters")
    return Repository(str(stored["config"]), str(stored["model"]), None if adapters is None else str(adapters))


def _revision_data(revision: Revision) -> Json:
    repository = {"config": revision.repository.config_pbtxt, "model": revision.repository.model_json}
    if revision.repository.multi_lora_json is not None:
        repository["adapters"] = revision.repository.multi_lora_json
    spec = revision.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(LIVE_FIELDS))
    data: Json = {
        "spec": spec,
        "runtime": revision.runtime.model_dump(mode="json", by_alias=True, exclude_none=True),
        "servedName": revision.served_name,
        "repository": repository,
        "podTemplate": revision.pod_template,
    }
    if revision.sources:
        data["sources"] = [
            source.model_dump(mode="json", by_alias=True, exclude_none=True) for source in revision.sources
        ]
    return data
