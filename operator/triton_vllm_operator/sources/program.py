"""Fetch and check every source of a pod, one after the other."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from triton_vllm_operator.api.hub_names import is_commit
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.adapter_tensors import check_fits, check_halves
from triton_vllm_operator.sources.choose import choose_files
from triton_vllm_operator.sources.fault import SourceFault, TryAgain, not_servable
from triton_vllm_operator.sources.files import Files, list_folder
from triton_vllm_operator.sources.formats import CONFIG, check_gguf_file, find_format
from triton_vllm_operator.sources.hub import Hub, Snapshot
from triton_vllm_operator.sources.progress import Progress, Say
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport, cut_warning
from triton_vllm_operator.sources.safetensors import Tensor, Tensors, check_content, read_tensors
from triton_vllm_operator.sources.servable import check_source, find_checked_files, has_modules_by_name
from triton_vllm_operator.sources.store import Store
from triton_vllm_operator.sources.task import Action, Expectation, Repository, Role, Task, TaskList
from triton_vllm_operator.sources.weights import HEADED

_CONFIGURATION: Final = ("config.json", "params.json", "adapter_config.json", "modules.json", "tokenizer_config.json")
_INDEX: Final = ".index.json"
# Members of config.json that describe parts beside the language model.
_PARTS: Final = ("vision_config", "audio_config", "text_config", "thinker_config")
OpenHub = Callable[[Repository, Say], Hub]


def run(tasks: TaskList, say: Say, open_hub: OpenHub = Hub) -> Report:
    """Do every task; the report of all.

    Raises:
        SourceFault: a source cannot be served; its message begins with the field of the spec.
        TryAgain: a source could not be had now.
    """
    reports: list[SourceReport] = []
    looked_at: list[Looked] = []
    for task in tasks.tasks:
        with _named(task):
            report, folder = _run_task(task, say, open_hub)
            reports.append(report)
        if folder is not None:
            looked_at.append(Looked(task, folder))
    for number, warning in _check_adapters(looked_at, [report.volume for report in reports]):
        facts = (reports[number].facts or ModelFacts()).model_copy(update={"warning": cut_warning(warning)})
        reports[number] = reports[number].model_copy(update={"facts": facts})
    return Report(sources=tuple(reports))


@contextmanager
def _named(task: Task) -> Iterator[None]:
    """What goes wrong is said of the field of the spec."""
    try:
        yield
    except SourceFault as fault:
        raise SourceFault(fault.reason, f"{task.field}: {fault}", task.volume) from fault
    except TryAgain as error:
        raise TryAgain(f"{task.field}: {error}") from error


@dataclass(frozen=True, slots=True)
class Looked:
    """A source whose files are here."""

    task: Task
    folder: Path


def _check_adapters(looked_at: list[Looked], volumes: list[str]) -> Iterator[tuple[int, str]]:
    """Hold each adapter against the model; the place of its report, and a warning."""
    model = next((seen for seen in looked_at if seen.task.expectation.role is Role.MODEL), None)
    adapters = [seen for seen in looked_at if seen.task.expectation.role is Role.ADAPTER]
    if model is None or not adapters:
        return
    with _named(model.task):
        files = None if model.folder.is_file() else list_folder(model.folder)
        # vLLM renames what lies in another format than that of the library that trains adapters.
        if files is None or not has_modules_by_name(files, model.task.expectation):
            return
        tensors, config = _read_tensors(model), files.read_json_if_there(CONFIG)
    is_multimodal = any(isinstance(config.get(part), dict) for part in _PARTS)
    for adapter in adapters:
        with _named(adapter.task):
            if warning := check_fits(_read_tensors(adapter) or {}, tensors or {}, is_multimodal):
                yield volumes.index(adapter.task.volume), warning


def _run_task(task: Task, say: Say, open_hub: OpenHub) -> tuple[SourceReport, Path | None]:
    """The report, and where the files are if they are here."""
    if task.repository is None:
        return _check_folder(task, Path(task.folder), None), Path(task.folder)
    if task.action is Action.INSPECT:
        return _inspect(task, task.repository, open_hub(task.repository, say)), None
    return _fetch(task, task.repository, say, open_hub)


def _check_folder(task: Task, folder: Path, commit: str | None) -> SourceReport:
    if folder.is_file():
        # One file is a GGUF model, of which nothing but the engine knows more.
        check_gguf_file(folder.name, task.expectation.vllm)
        return SourceReport(volume=task.volume, commit=commit)
    files = list_folder(folder)
    facts = check_source(files, task.expectation)
    tensors = _read_tensors(Looked(task, folder))
    if task.expectation.role is Role.ADAPTER and tensors is not None:
        check_halves(tensors, task.expectation.max_lora_rank)
    return SourceReport(volume=task.volume, commit=commit, facts=facts)


def _read_tensors(seen: Looked) -> Tensors | None:
    """All tensors that the engine reads of a folder; None if they lie in files that do not say it."""
    tensors: dict[str, Tensor] = {}
    names = find_checked_files(list_folder(seen.folder), seen.task.expectation)
    for name in names:
        path = seen.folder / name
        size = path.stat().st_size
        with path.open("rb") as file:
            start = partial(_read_from_start, file)
            if name.endswith(HEADED):
                tensors |= read_tensors(name, size, start)
            else:
                check_content(name, size, start)
    return tensors if all(name.endswith(HEADED) for name in names) else None


def _read_from_start(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def _fetch(task: Task, repository: Repository, say: Say, open_hub: OpenHub) -> tuple[SourceReport, Path]:
    store = Store(Path(task.folder), repository, task.expectation.load_format, say)
    if repository.offline:
        return _take_cached(task, repository, store)
    if is_commit(repository.revision) and (there := store.find(repository.revision)):
        return _check_folder(task, there, repository.revision), there
    hub = open_hub(repository, say)
    snapshot = hub.look_up()
    folder = store.fill(
        snapshot.commit,
        lambda unfinished: _fetch_files(task, repository, hub, snapshot, unfinished, say),
    )
    store.remember(snapshot.commit)
    return _check_folder(task, folder, snapshot.commit), folder


def _fetch_files(task: Task, repository: Repository, hub: Hub, snapshot: Snapshot, folder: Path, say: Say) -> None:
    names = choose_files(snapshot.sizes, task.expectation.load_format)
    _check_listing(hub, snapshot, names, task.expectation, repository.name)
    total = sum(snapshot.sizes[name] for name in names)
    progress = Progress(f"fetching {repository.name}", folder, total, say)
    missing = total - progress.found
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise SourceFault(
            Reason.MODEL_FETCH_FAILED,
            f"{repository.name} takes {missing / 2**30:.1f} GiB more, and the volume has {free / 2**30:.1f} GiB free",
        )
    with progress:
        hub.fetch(snapshot, names, folder)
    try:
        _check_folder(task, folder, snapshot.commit)
    except SourceFault:
        # What came is not what the listing promised; kept, it would stay bad when the hub is mended.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _take_cached(task: Task, repository: Repository, store: Store) -> tuple[SourceReport, Path]:
    pinned = is_commit(repository.revision)
    commit = repository.revision if pinned else store.recall()
    folder = store.find(commit) if commit else None
    if folder is None:
        raise SourceFault(
            Reason.MODEL_NOT_FOUND,
            f"the cache holds no {repository.name}@{repository.revision}, and huggingFace.offline forbids to fetch it",
        )
    return _check_folder(task, folder, commit), folder


def _inspect(task: Task, repository: Repository, hub: Hub) -> SourceReport:
    snapshot = hub.look_up()
    names = choose_files(snapshot.sizes, task.expectation.load_format)
    facts = _check_listing(hub, snapshot, names, task.expectation, repository.name)
    total = sum(snapshot.sizes[name] for name in names)
    if task.size_limit is not None and total > task.size_limit:
        raise SourceFault(
            Reason.MODEL_FETCH_FAILED,
            f"{repository.name} takes {total / 2**30:.1f} GiB, more than the {task.size_limit / 2**30:.1f} GiB of "
            "huggingFace.cache.emptyDir.sizeLimit",
        )
    return SourceReport(volume=task.volume, commit=snapshot.commit, facts=facts)


def _check_listing(
    hub: Hub, snapshot: Snapshot, names: tuple[str, ...], expected: Expectation, where: str
) -> ModelFacts | None:
    """Check what can be told before the weights come: nothing large is fetched for what cannot be served."""
    if not names:
        find_format(
            Files(snapshot.sizes, lambda _name: b"", f"in {where}", can_read=lambda _name: False),
            expected.vllm,
            expected.config_format,
        )
        raise not_servable(f"{where} holds no file that an engine reads")
    small = tuple(name for name in names if name in _CONFIGURATION or name.endswith(_INDEX))
    with tempfile.TemporaryDirectory() as scratch:
        hub.fetch(snapshot, small, Path(scratch))
        listed = Files(
            sizes={name: snapshot.sizes[name] for name in names},
            read=lambda name: (Path(scratch) / name).read_bytes(),
            where=f"in {where}",
            folders=frozenset(name.partition("/")[0] for name in snapshot.sizes if "/" in name),
            can_read=lambda name: name in small,
        )
        return check_source(listed, expected)
