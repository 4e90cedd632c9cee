"""The command: `kubectl llm render|explain`, also `python -m triton_vllm_operator.cli`.

Exit codes: 0 accepted, 1 refused, 2 unreadable (also for wrong options).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from triton_vllm_operator.api.platform import Allow, Policy
from triton_vllm_operator.cli.cluster import read_status
from triton_vllm_operator.cli.explain import explain, judge_document
from triton_vllm_operator.cli.files import Unreadable, read_document
from triton_vllm_operator.cli.plan import Answer, Unknown, answer, named_options
from triton_vllm_operator.cli.plan_printing import print_plan, verdict_of
from triton_vllm_operator.cli.plan_running import print_running
from triton_vllm_operator.cli.printing import Format, print_explanation, print_manifests, refusal_lines
from triton_vllm_operator.manifests.preparation import build_fetch_job, needs_fetch
from triton_vllm_operator.manifests.revision import Resolved, render_revision
from triton_vllm_operator.memory.verdict import Verdict
from triton_vllm_operator.reconcile.accept import NotAccepted
from triton_vllm_operator.reconcile.decide import build_children
from triton_vllm_operator.reconcile.live import live_part
from triton_vllm_operator.repository.catalogue import Catalogue, load_catalogue
from triton_vllm_operator.sources.fault import SourceFault

ACCEPTED, REFUSED, UNREADABLE = 0, 1, 2
_DEEPEST_CALLS = 20_000
Command = Callable[[argparse.Namespace, Catalogue], tuple[int, str]]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    # Faults of any JSON are looked at by functions that call themselves.
    sys.setrecursionlimit(_DEEPEST_CALLS)
    try:
        # What the administrator of a cluster allows is not known here: it is a warning.
        allow = Allow(custom_images=True, token_endpoints=None, service_accounts=None, unknown_environment=True)
        catalogue = load_catalogue(options.runtimes, Policy(allow=allow))
        run: Command = options.run
        code, text = run(options, catalogue)
    except RecursionError:
        print("kubectl-llm: the file nests so deep that no API server would read it", file=sys.stderr)
        return UNREADABLE
    except (Unreadable, SourceFault, OSError, ValueError) as error:
        print(f"kubectl-llm: {error}", file=sys.stderr)
        return UNREADABLE
    sys.stdout.write(text)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl-llm", description="What an LLMDeployment becomes; needs no cluster.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    rendering = commands.add_parser("render", help="print the model repository and all children")
    rendering.set_defaults(run=_render)
    explaining = commands.add_parser("explain", help="say whether it is accepted, and what a change of it does")
    explaining.add_argument("--against", metavar="OLD", help="file of the LLMDeployment as it is now")
    explaining.set_defaults(run=_explain)
    explaining.add_argument("--model", metavar="DIR", help="folder with config.json and *.safetensors: whether it fits")
    explaining.set_defaults(vllm_version=None, engine_only=False)
    planning = commands.add_parser("plan", help="say what an engine would do with the memory of a GPU")
    planning.set_defaults(run=_plan)
    planning.add_argument("-f", "--filename", help="file of the LLMDeployment, - for standard input")
    planning.add_argument("name", nargs="?", help="an LLMDeployment of the cluster: its plan against what was measured")
    planning.add_argument("-n", "--namespace", help="of that LLMDeployment")
    planning.add_argument("--model", metavar="DIR", help="folder with config.json and *.safetensors")
    for command in (explaining, planning):
        command.add_argument("--draft", metavar="DIR", help="the same of spec.engine.speculativeConfig.model")
        command.add_argument("--gpu", metavar="NAME", help="as H100-80GB, or a label nvidia.com/gpu.product")
        command.add_argument("--gpu-memory", metavar="BYTES", help="of a GPU that is not known, as CUDA says; or 24Gi")
        command.add_argument("--nodes", action="store_true", help="all GPUs of kubectl's cluster that the pods may get")
    planning.add_argument("--vllm-version", metavar="X", help="another vLLM than that of spec.runtime")
    planning.add_argument("--engine-only", action="store_true", help="without the memory that Triton takes for itself")
    planning.add_argument("-o", "--output", choices=(Format.TEXT.value, Format.JSON.value), default=Format.TEXT.value)
    planning.add_argument("--runtimes", type=Path, metavar="FILE", help="a runtime catalogue of your own")
    for command in (rendering, explaining):
        command.add_argument("-f", "--filename", required=True, help="file of the LLMDeployment, - for standard input")
        command.add_argument("-o", "--output", type=Format, choices=tuple(Format), default=Format.TEXT)
        command.add_argument(
            "--runtimes", type=Path, metavar="FILE", help="a runtime catalogue other than the one of this version"
        )
    return parser


def _render(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    document = read_document(options.filename)
    verdict = judge_document(document, catalogue)
    if isinstance(verdict, NotAccepted):
        print("\n".join(refusal_lines(document.name, verdict.problems)), file=sys.stderr)
        return REFUSED, ""
    owner, spec = document.owner, verdict.spec
    # Offline a branch cannot be resolved: its name stands where the commit will.
    pods, vllm = catalogue.policy.pods, verdict.runtime.vllm
    revision = render_revision(owner, Resolved(spec, verdict.runtime, pods), number=1)
    jobs = (build_fetch_job(owner, spec, vllm, pods, {}),) if needs_fetch(spec) else ()
    manifests = (*jobs, *build_children(owner, revision, live_part(spec)))
    return ACCEPTED, print_manifests(manifests, revision, options.output)


def _explain(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    old = read_document(options.against) if options.against else None
    explanation = explain(read_document(options.filename), old, catalogue)
    if options.model is not None and explanation.accepted:
        if options.filename == "-":
            raise Unreadable("with --model, -f names a file: standard input is read once")
        explanation = replace(explanation, memory=verdict_of(answer(options, catalogue)))
    elif options.model is None and (lost := named_options(options)):
        raise Unreadable(f"{lost[0]} says nothing without --model DIR")
    fits = explanation.memory is None or explanation.memory[0] != Verdict.DOES_NOT_FIT
    return ACCEPTED if explanation.accepted and fits else REFUSED, print_explanation(explanation, options.output)


def _plan(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    if options.name is not None:
        given = (("-f", options.filename), ("--model", options.model), ("--vllm-version", options.vllm_version))
        if lost := (*(name for name, value in given if value is not None), *named_options(options)):
            raise Unreadable(f"{lost[0]} says nothing of {options.name}, which runs in the cluster")
        status = read_status(options.name, options.namespace)
        return ACCEPTED, print_running(options.name, status, options.output == Format.JSON)
    if options.model is None:
        raise Unreadable("NAME of an LLMDeployment of the cluster, or --model DIR, says what is planned")
    found = answer(options, catalogue)
    refused = not isinstance(found, Unknown) and found.does_not_fit
    code, as_json = REFUSED if refused else ACCEPTED, options.output == Format.JSON
    if isinstance(found, Answer) and not as_json and sys.stdout.isatty() and find_spec("rich"):
        _draw(found)
        return code, ""
    return code, print_plan(found, as_json)


def _draw(found: Answer) -> None:
    """At a terminal; the library is of the extra `cli`, which the operator's image does without."""
    from rich.console import Console

    from triton_vllm_operator.cli.plan_drawing import draw_plan

    draw_plan(found, Console(highlight=False))


if __name__ == "__main__":
    sys.exit(main())
