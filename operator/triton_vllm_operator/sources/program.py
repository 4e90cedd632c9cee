"""Fetch and check every source of a pod, one after the other."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from triton_vllm_operator.api.hub_names import is_commit
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.choose import choose_files
from triton_vllm_operator.sources.fault import SourceFault, TryAgain, not_servable
from triton_vllm_operator.sources.files import Files
from triton_vllm_operator.sources.formats import ADAPTER_CONFIG, CONFIG, MISTRAL_CONFIG, find_format
from triton_vllm_operator.sources.generation import SENTENCE_MODULES
from triton_vllm_operator.sources.hub import Hub, Snapshot
from triton_vllm_operator.sources.looking import Looked, find_misfit, look, with_shape
from triton_vllm_operator.sources.progress import Progress, Say
from triton_vllm_operator.sources.quantization import MODELOPT_FILE
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport, with_warning, without_shape
from triton_vllm_operator.sources.safetensors import Tensors, read_tensors
from triton_vllm_operator.sources.servable import Checked, check_source
from triton_vllm_operator.sources.store import Store
from triton_vllm_operator.sources.task import SHAPED, Action, Expectation, Repository, Role, Task, TaskList
from triton_vllm_operator.sources.tokenizers import TOKENIZER_CONFIG
from triton_vllm_operator.sources.vision import PROCESSOR_FILES
from triton_vllm_operator.sources.weights import HEADED, INDEX_SUFFIX

_CONFIGURATION: Final = (
    *(CONFIG, MISTRAL_CONFIG, ADAPTER_CONFIG, SENTENCE_MODULES, TOKENIZER_CONFIG, MODELOPT_FILE),
    *PROCESSOR_FILES,
)
_FIRST_BYTES: Final = 256 * 2**10
"""Of weights: as much as most headers have."""
_HEADERS_AT_ONCE: Final = 4
OpenHub = Callable[[Repository, Say], Hub]


def run(tasks: TaskList, say: Say, open_hub: OpenHub = Hub) -> Report:
    """Do every task; the report of all.

    Raises:
        SourceFault: a source cannot be served; its message begins with the field of the spec.
        TryAgain: a source could not be had now.
    """
    found: list[Looked] = []
    for task in tasks.tasks:
        with _named(task):
            found.append(_run_task(task, say, open_hub))
    model = next((looked for looked in found if looked.task.expectation.role is Role.MODEL), None)
    return Report(sources=tuple(_hold_against(looked, model) for looked in found))


def _hold_against(looked: Looked, model: Looked | None) -> SourceReport:
    """The report of a source; of an adapter, with what it does not change of the model."""
    if model is None or looked.task.expectation.role is not Role.ADAPTER:
        return looked.report
    with _named(looked.task):
        return with_warning(looked.report, find_misfit(looked, model))


@contextmanager
def _named(task: Task) -> Iterator[None]:
    """What goes wrong is said of the field of the spec."""
    try:
        yield
    except SourceFault as fault:
        raise SourceFault(fault.reason, f"{task.field}: {fault}", task.volume) from fault
    except TryAgain as error:
        raise TryAgain(f"{task.field}: {error}") from error


def _run_task(task: Task, say: Say, open_hub: OpenHub) -> Looked:
    if task.repository is None:
        return look(task, Path(task.folder), None)
    if task.action is Action.INSPECT:
        return Looked(task, _inspect(task, task.repository, open_hub(task.repository, say)))
    return _fetch(task, task.repository, say, open_hub)


def _fetch(task: Task, repository: Repository, say: Say, open_hub: OpenHub) -> Looked:
    store = Store(Path(task.folder), repository, task.expectation.load_format, say)
    if repository.offline:
        return _take_cached(task, repository, store)
    if is_commit(repository.revision) and (there := store.find(repository.revision)):
        return look(task, there, repository.revision)
    hub = open_hub(repository, say)
    snapshot = hub.look_up()
    folder = store.fill(
        snapshot.commit,
        lambda unfinished: _fetch_files(task, repository, hub, snapshot, unfinished, say),
    )
    store.remember(snapshot.commit)
    return look(task, folder, snapshot.commit)


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
        look(task, folder, snapshot.commit)
    except SourceFault:
        # What came is not what the listing promised; kept, it would stay bad when the hub is mended.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _take_cached(task: Task, repository: Repository, store: Store) -> Looked:
    pinned = is_commit(repository.revision)
    commit = repository.revision if pinned else store.recall()
    folder = store.find(commit) if commit else None
    if folder is None:
        raise SourceFault(
            Reason.MODEL_NOT_FOUND,
            f"the cache holds no {repository.name}@{repository.revision}, and huggingFace.offline forbids to fetch it",
        )
    return look(task, folder, commit)


def _inspect(task: Task, repository: Repository, hub: Hub) -> SourceReport:
    snapshot = hub.look_up()
    names = choose_files(snapshot.sizes, task.expectation.load_format)
    checked = _check_listing(hub, snapshot, names, task.expectation, repository.name)
    total = sum(snapshot.sizes[name] for name in names)
    if task.size_limit is not None and total > task.size_limit:
        raise SourceFault(
            Reason.MODEL_FETCH_FAILED,
            f"{repository.name} takes {total / 2**30:.1f} GiB, more than the {task.size_limit / 2**30:.1f} GiB of "
            "huggingFace.cache.emptyDir.sizeLimit",
        )
    facts = _shape_remotely(hub, snapshot, checked, task.expectation)
    return SourceReport(volume=task.volume, commit=snapshot.commit, facts=facts)


def _shape_remotely(hub: Hub, snapshot: Snapshot, checked: Checked, expected: Expectation) -> ModelFacts | None:
    """The facts of a model with its shape, from the beginnings of its weights; its weights stay where they are."""
    if checked.facts is None or expected.role not in SHAPED or not checked.weights:
        return checked.facts
    if not all(name.endswith(HEADED) and snapshot.sizes[name] for name in checked.weights):
        return with_shape(checked, None, expected)
    try:
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
            read = partial(_read_header, hub, snapshot)
            tensors = {name: tensor for found in pool.map(read, checked.weights) for name, tensor in found.items()}
    except (SourceFault, TryAgain) as error:
        # The pod looks again at what it has fetched; here only the plan of its memory is missing.
        return without_shape(checked.facts, f"the beginnings of its weights could not be read: {error}")
    return with_shape(checked, tensors, expected)


def _read_header(hub: Hub, snapshot: Snapshot, name: str) -> Tensors:
    start = b""

    def read_start(count: int) -> bytes:
        nonlocal start
        if count > len(start):
            start = hub.read_start(snapshot, name, max(count, _FIRST_BYTES))
        return start[:count]

    return read_tensors(name, snapshot.sizes[name], read_start)


def _check_listing(hub: Hub, snapshot: Snapshot, names: tuple[str, ...], expected: Expectation, where: str) -> Checked:
    """Check what can be told before the weights come: nothing large is fetched for what cannot be served."""
    if not names:
        find_format(
            Files(snapshot.sizes, lambda _name: b"", f"in {where}", can_read=lambda _name: False),
            expected.vllm,
            expected.config_format,
        )
        raise not_servable(f"{where} holds no file that an engine reads")
    small = tuple(name for name in names if name in _CONFIGURATION or name.endswith(INDEX_SUFFIX))
    with tempfile.TemporaryDirectory() as scratch:
        hub.fetch(snapshot, small, Path(scratch))
        listed = Files(
            sizes={name: snapshot.sizes[name] for name in names},
            read=lambda name: (Path(scratch) / name).read_bytes(),
            where=f"in {where}",
            folders=frozenset(name.partition("/")[0] for name in snapshot.sizes if "/" in name),
            not_read=frozenset(snapshot.sizes) - frozenset(names),
            can_read=lambda name: name in small,
        )
        return check_source(listed, expected)
