"""`kubectl llm plan`: what an engine would do with a GPU, without one."""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.spec import DEFAULT_GPU_RESOURCE, DRAFT_FIELD, LLMDeploymentSpec
from triton_vllm_operator.api.vllm_versions import version_order
from triton_vllm_operator.cli.cluster import read_nodes
from triton_vllm_operator.cli.explain import judge_document
from triton_vllm_operator.cli.files import Unreadable, read_document
from triton_vllm_operator.cli.plan_assumptions import find_assumptions
from triton_vllm_operator.cli.plan_cpu import CpuAnswer, answer_on_cpu
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.memory.advice import Advice, Case, find_advice, what_if
from triton_vllm_operator.memory.cache import find_unplannable
from triton_vllm_operator.memory.fit import Finding, find_fit
from triton_vllm_operator.memory.offers import find_offers
from triton_vllm_operator.memory.plan import Plan, find_batch
from triton_vllm_operator.memory.products import find_product, load_products
from triton_vllm_operator.memory.reading import (
    read_case,
    read_cpu_case,
    read_settings,
    settings_of_spec,
)
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.uncounted import find_uncounted, find_unseen
from triton_vllm_operator.memory.verdict import Judged, Verdict
from triton_vllm_operator.memory.versions import BatchClass
from triton_vllm_operator.reconcile.accept import NotAccepted, find_runtime
from triton_vllm_operator.repository.catalogue import Catalogue, RuntimeEntry
from triton_vllm_operator.sources.draft_reader import read_draft
from triton_vllm_operator.sources.files import Files, Json, list_folder
from triton_vllm_operator.sources.formats import CONFIG
from triton_vllm_operator.sources.looking import read_from_start
from triton_vllm_operator.sources.safetensors import Tensor, Tensors, read_header
from triton_vllm_operator.sources.shape import DraftShape, ModelShape
from triton_vllm_operator.sources.shape_reader import read_shape
from triton_vllm_operator.sources.vision import read_sizes

_DRAFT: Final = "--draft"
_LEAST_GPU: Final = 2**30
_OLDEST: Final = (0, 10, 2)
"""Of which the tables of memory speak."""
_WEIGHTS: Final = "*.safetensors"
# A second copy in Mistral's format, and adapters: no part of the model (sources/choose.py).
_BESIDE: Final = ("consolidated", "adapter_model")


@dataclass(frozen=True, slots=True)
class Answer:
    """All that the command says."""

    case: Case
    plan: Plan
    judged: Judged
    batch: BatchClass
    advice: tuple[Advice, ...]
    others: tuple[tuple[Advice, Plan, Judged], ...]
    """Other settings, to compare."""
    assumptions: tuple[str, ...]
    uncounted: str = ""
    """What the spec says that is in none of the numbers."""
    finding: Finding | None = None
    """What comes of all nodes together, where those of a cluster are planned for; `case` has the least room."""

    @property
    def does_not_fit(self) -> bool:
        """Whether it is certain."""
        return self.judged.verdict is Verdict.DOES_NOT_FIT


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why nothing is said."""

    why: str

    @property
    def does_not_fit(self) -> bool:
        """Whether it is certain: nothing is."""
        return False


def answer(options: argparse.Namespace, catalogue: Catalogue) -> Answer | CpuAnswer | Unknown:
    """Plan what the options ask for.

    Raises:
        Unreadable: a file or an option is not readable.
        SourceFault: the folder holds no model.
    """
    wanted = _read_wanted(options, catalogue)
    shape = _read_models(options, wanted.spec)
    if isinstance(shape, str):
        return Unknown(shape)
    settings = wanted.settings(shape)
    if why := find_unplannable(shape, settings):
        return Unknown(why)
    length = settings.max_model_len or shape.longest
    if length is None:
        return Unknown("config.json says no longest sequence, and spec.engine.maxModelLen is unset")
    uncounted = find_uncounted(wanted.spec, shape) if wanted.spec else find_unseen(shape)
    cpu = wanted.spec.cpu if wanted.spec is not None else None
    _check_gpus(options, on_cpu=cpu is not None)
    if wanted.spec is not None and cpu is not None:
        return answer_on_cpu(read_cpu_case(wanted.spec, cpu, wanted.vllm, shape, length), uncounted)

    def case_of(gpu: Gpu) -> Case:
        if wanted.spec is None:
            case = Case(shape, settings, gpu, length)
        else:
            case = read_case(wanted.spec, wanted.vllm, shape, gpu, length)
        return replace(case, with_server=not options.engine_only)

    if not options.nodes:
        return _say(case_of(_find_gpu(options)), None, uncounted)
    offers = find_offers(read_nodes(), wanted.scheduling, wanted.resource, wanted.engine.gpus)
    finding = find_fit(offers, case_of)
    return _say(finding.planned[0].case, finding, uncounted) if finding.planned else Unknown(finding.message)


def _advise(case: Case, judged: Judged) -> tuple[Advice, ...]:
    """What would make it fit; of what is tight, what would make it certain."""
    if judged.verdict is Verdict.FITS:
        return ()
    return tuple(each for each in find_advice(case) if judged.verdict is Verdict.DOES_NOT_FIT or not each.is_tight)


def _check_gpus(options: argparse.Namespace, *, on_cpu: bool) -> None:
    """That the options say which GPUs are planned for, and once; of an engine on a CPU that they say none.

    Raises:
        Unreadable: they do not.
    """
    gpus = tuple(name for name in named_options(options) if name != _DRAFT)
    if on_cpu and gpus:
        raise Unreadable(f"{gpus[0]}: spec.accelerator.cpu asks for no GPU")
    if len(gpus) > 1 and options.nodes:
        raise Unreadable(f"{gpus[0]} and --nodes: one of them says which GPUs are planned for")
    if not on_cpu and not gpus:
        raise Unreadable("--gpu NAME, --gpu-memory BYTES or --nodes says which GPU is planned for")


def named_options(options: argparse.Namespace) -> tuple[str, ...]:
    """Those of the options that are given which say nothing alone."""
    given = ((_DRAFT, options.draft), ("--gpu", options.gpu), ("--gpu-memory", options.gpu_memory))
    return (*(name for name, value in given if value is not None), *(("--nodes",) if options.nodes else ()))


def _say(case: Case, finding: Finding | None, uncounted: str) -> Answer:
    plan, judged = _judge(case)
    return Answer(
        case=case,
        plan=plan,
        judged=judged,
        batch=find_batch(case.settings, case.gpu),
        advice=_advise(case, judged),
        others=tuple((other, *_judge(other.case)) for other in what_if(case)),
        assumptions=tuple(find_assumptions(case, uncounted)),
        uncounted=uncounted,
        finding=finding,
    )


def _read_models(options: argparse.Namespace, spec: LLMDeploymentSpec | None) -> ModelShape | str:
    """The model, with its draft model if there is one."""
    shape = read_model(Path(options.model))
    has_draft = spec is not None and spec.draft is not None
    if has_draft and options.draft is None:
        raise Unreadable(f"there is a {DRAFT_FIELD}: --draft DIR is its folder")
    if options.draft is not None and not has_draft:
        raise Unreadable(f"--draft needs -f FILE with {DRAFT_FIELD}")
    if isinstance(shape, str) or options.draft is None:
        return shape
    draft = _read_draft(Path(options.draft))
    return f"{options.draft}: {draft}" if isinstance(draft, str) else shape.model_copy(update={"draft": draft})


def read_model(folder: Path) -> ModelShape | str:
    """The shape of the model in a folder; what is not understood of it.

    Raises:
        SourceFault: it holds no config.json, or a file that is not what it is called.
    """
    files = list_folder(folder)
    config, tensors, sizes = _read_folder(folder, files)
    shape = read_shape(config, tensors, read_sizes(files))
    bytes_of_files = {"largest_file": max(sizes), "all_files": sum(sizes)}
    return shape if isinstance(shape, str) else shape.model_copy(update=bytes_of_files)


def _read_draft(folder: Path) -> DraftShape | str:
    config, tensors, _ = _read_folder(folder, list_folder(folder))
    return read_draft(config, tensors)


def _read_folder(folder: Path, files: Files) -> tuple[Json, Tensors, tuple[int, ...]]:
    """Its config.json, the tensors of its weights, and the bytes of each file of these."""
    names = [name for name in files.matching(_WEIGHTS) if not name.startswith(_BESIDE)]
    if CONFIG not in files or not names:
        raise Unreadable(f"{folder} holds no {CONFIG} with {_WEIGHTS}")
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= _read_header(folder / name, files.sizes[name])
    return files.read_json(CONFIG), tensors, tuple(files.sizes[name] for name in names)


def _read_header(path: Path, size: int) -> Tensors:
    """Of a file that may hold nothing but its header."""
    with path.open("rb") as file:
        return read_header(path.name, size, partial(read_from_start, file))[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is planned for."""

    vllm: str
    spec: LLMDeploymentSpec | None = None
    """None where no file is given: all defaults."""

    @property
    def engine(self) -> Engine:
        """The engine's arguments."""
        return self.spec.engine if self.spec else Engine()

    @property
    def scheduling(self) -> Scheduling:
        """Where the pods may run."""
        return (self.spec.scheduling if self.spec else None) or Scheduling()

    @property
    def resource(self) -> str:
        """What they ask for of a node."""
        return (self.spec.gpu_resource if self.spec else None) or DEFAULT_GPU_RESOURCE

    def settings(self, shape: ModelShape) -> EngineSettings:
        """Those of the engine for a model."""
        if self.spec is None:
            return read_settings(Engine(), self.vllm, shape)
        return settings_of_spec(self.spec, self.vllm, shape)


def _read_wanted(options: argparse.Namespace, catalogue: Catalogue) -> Wanted:
    wanted = _read_file(options, catalogue)
    if not wanted.vllm[:1].isdecimal():
        raise Unreadable(f"--vllm-version {wanted.vllm}: write a number, as 0.27.1")
    if version_order(wanted.vllm) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise Unreadable(f"vLLM {wanted.vllm}: no release that can be planned for; they begin with {oldest}")
    return wanted


def _read_file(options: argparse.Namespace, catalogue: Catalogue) -> Wanted:
    if options.filename is None:
        if options.vllm_version is None:
            raise Unreadable("without -f, --vllm-version says which vLLM is planned for")
        return Wanted(options.vllm_version)
    document = read_document(options.filename)
    judged = judge_document(document, catalogue)
    spec = judged.spec
    # Another version than that of the file may be planned for, and take other arguments.
    if spec is None or (isinstance(judged, NotAccepted) and options.vllm_version is None):
        raise Unreadable(f"{document.name} is refused: kubectl llm explain -f {options.filename} says why")
    runtime = find_runtime(spec, catalogue)
    if isinstance(runtime, Problem) and options.vllm_version is None:
        raise Unreadable(runtime.message)
    vllm = runtime.vllm if isinstance(runtime, RuntimeEntry) else ""
    return Wanted(options.vllm_version or vllm, spec)


def _read_bytes(text: str) -> int:
    try:
        size = int(parse_quantity(text))
    except (ValueError, ArithmeticError) as error:
        raise Unreadable(f"--gpu-memory {text}: bytes, as 25769803776 or 24Gi") from error
    if size < _LEAST_GPU:
        raise Unreadable(f"--gpu-memory {text}: that is {size} bytes; a GPU has more, as 24Gi")
    return size


def _find_gpu(options: argparse.Namespace) -> Gpu:
    if options.gpu_memory is not None:
        return Gpu(options.gpu or "a GPU", _read_bytes(options.gpu_memory))
    found = find_product(options.gpu)
    if found is None:
        known = ", ".join(name for product in load_products() for name in product.names[:1])
        raise Unreadable(f"--gpu {options.gpu}: not known; one of {known}, or --gpu-memory BYTES")
    return found


def _judge(case: Case) -> tuple[Plan, Judged]:
    plan = case.plan()
    return plan, case.judge(plan)
