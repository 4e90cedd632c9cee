"""Looking into a folder of weights: its small files, and the beginning of each large one. This module does I/O."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from triton_vllm_operator.sources.adapter_tensors import (
    check_embeddings,
    check_experts,
    check_fits,
    check_halves,
    check_towers,
)
from triton_vllm_operator.sources.config import is_multimodal
from triton_vllm_operator.sources.draft_reader import read_draft
from triton_vllm_operator.sources.files import list_folder
from triton_vllm_operator.sources.formats import check_one_file
from triton_vllm_operator.sources.generation import check_takes_adapters
from triton_vllm_operator.sources.report import ModelFacts, SourceReport, without_shape
from triton_vllm_operator.sources.safetensors import Tensor, Tensors, check_content, read_tensors
from triton_vllm_operator.sources.servable import Checked, check_source
from triton_vllm_operator.sources.shape_reader import read_shape
from triton_vllm_operator.sources.task import SHAPED, Expectation, Role, Task
from triton_vllm_operator.sources.weights import HEADED


@dataclass(frozen=True, slots=True)
class Looked:
    """A source that was found good."""

    task: Task
    report: SourceReport
    checked: Checked | None = None
    """None if its files are not here, or are one file."""
    tensors: Tensors | None = None
    """Of its weights; None if their files do not say them."""


def look(task: Task, folder: Path, commit: str | None) -> Looked:
    """Check what lies in a folder.

    Raises:
        SourceFault: the engine would not start with it, or could not load the adapter.
    """
    expected = task.expectation
    if folder.is_file():
        check_one_file(folder.name, expected.vllm, expected.role is Role.ADAPTER)
        return Looked(task, SourceReport(volume=task.volume, commit=commit))
    checked = check_source(list_folder(folder), expected)
    tensors = _read_tensors(folder, checked.weights)
    if expected.role is Role.ADAPTER and tensors is not None:
        check_halves(tensors, expected)
    facts = with_shape(checked, tensors, expected)
    return Looked(task, SourceReport(volume=task.volume, commit=commit, facts=facts), checked, tensors)


def with_shape(checked: Checked, tensors: Tensors | None, expected: Expectation) -> ModelFacts | None:
    """The facts of a model or a draft model with what of it takes memory, or why that is not known."""
    facts = checked.facts
    if facts is None or expected.role not in SHAPED:
        return facts
    if expected.overrides_config:
        return without_shape(facts, "hf_overrides changes what config.json says")
    if tensors is None or not checked.config:
        return without_shape(facts, "its weights are no safetensors with a config.json")
    if expected.role is Role.DRAFT:
        draft = read_draft(checked.config, tensors)
        return without_shape(facts, draft) if isinstance(draft, str) else facts.model_copy(update={"draft": draft})
    shape = read_shape(checked.config, tensors, checked.sizes)
    if isinstance(shape, str):
        return without_shape(facts, shape)
    files = {"largest_file": checked.largest_file, "all_files": facts.weight_bytes or 0}
    return facts.model_copy(update={"shape": shape.model_copy(update=files)})


def find_misfit(adapter: Looked, model: Looked) -> str:
    """What an adapter does not change of the model; empty if it fits, or if nobody can tell.

    Raises:
        SourceFault: it changes nothing of it.
    """
    if model.checked is None:
        return ""
    config, expected = model.checked.config, model.task.expectation
    embeddings = None if expected.overrides_config else check_takes_adapters(config, expected.vllm)
    if adapter.tensors is None:
        return ""
    check_embeddings(adapter.tensors, embeddings)
    check_experts(adapter.tensors, expected.vllm)
    # vLLM renames what lies in another format than that of the library that trains adapters.
    if not model.checked.names_modules:
        return ""
    towers = check_towers(adapter.tensors, expected) if is_multimodal(config) else ""
    return "; ".join(filter(None, (towers, check_fits(adapter.tensors, model.tensors or {}, is_multimodal(config)))))


def _read_tensors(folder: Path, names: tuple[str, ...]) -> Tensors | None:
    tensors: dict[str, Tensor] = {}
    for name in names:
        size = (folder / name).stat().st_size
        with (folder / name).open("rb") as file:
            start = partial(read_from_start, file)
            if name.endswith(HEADED):
                tensors |= read_tensors(name, size, start)
            else:
                check_content(name, size, start)
    return tensors if all(name.endswith(HEADED) for name in names) else None


def read_from_start(file: BinaryIO, count: int) -> bytes:
    """Its first bytes."""
    file.seek(0)
    return file.read(count)
