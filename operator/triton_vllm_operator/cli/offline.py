"""The commands that need no cluster, unless they are asked about one: render, explain, plan."""

import argparse
import sys
from dataclasses import replace
from importlib.util import find_spec

from triton_vllm_operator.cli.cluster import read_running
from triton_vllm_operator.cli.explain import explain, judge_document
from triton_vllm_operator.cli.files import Unreadable, read_document
from triton_vllm_operator.cli.plan import Answer, answer, named_options
from triton_vllm_operator.cli.plan_printing import print_plan, verdict_of
from triton_vllm_operator.cli.plan_running import print_running
from triton_vllm_operator.cli.printing import Format, print_explanation, print_manifests, refusal_lines
from triton_vllm_operator.manifests.disruption_budget import LEAST_REPLICAS
from triton_vllm_operator.manifests.preparation import build_fetch_job, needs_fetch
from triton_vllm_operator.manifests.revision import Resolved, render_revision
from triton_vllm_operator.reconcile.accept import NotAccepted
from triton_vllm_operator.reconcile.children import build_children
from triton_vllm_operator.reconcile.live import live_part
from triton_vllm_operator.repository.catalogue import Catalogue

ACCEPTED, REFUSED = 0, 1


def render(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    """The model repository and all children of a file."""
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
    manifests = (*jobs, *build_children(owner, revision, live_part(spec), spec.replicas >= LEAST_REPLICAS))
    return ACCEPTED, print_manifests(manifests, revision, options.output)


def explain_file(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    """Whether a file is accepted, and what a change of it does."""
    old = read_document(options.against) if options.against else None
    explanation, fits = explain(read_document(options.filename), old, catalogue), True
    if options.model is not None and explanation.accepted:
        if options.filename == "-":
            raise Unreadable("with --model, -f names a file: standard input is read once")
        found = answer(options, catalogue)
        explanation = replace(explanation, memory=verdict_of(found))
        fits = not found.does_not_fit
    elif options.model is None and (lost := named_options(options)):
        raise Unreadable(f"{lost[0]} says nothing without --model DIR")
    return ACCEPTED if explanation.accepted and fits else REFUSED, print_explanation(explanation, options.output)


def plan(options: argparse.Namespace, catalogue: Catalogue) -> tuple[int, str]:
    """What an engine would do with the memory of a GPU, or has done."""
    if options.name is not None:
        given = (("-f", options.filename), ("--model", options.model), ("--vllm-version", options.vllm_version))
        if lost := (*(name for name, value in given if value is not None), *named_options(options)):
            raise Unreadable(f"{lost[0]} says nothing of {options.name}, which runs in the cluster")
        running = read_running(options.name, options.namespace)
        return ACCEPTED, print_running(options.name, running.status, options.output == Format.JSON)
    if options.model is None:
        raise Unreadable("NAME of an LLMDeployment of the cluster, or --model DIR, says what is planned")
    found = answer(options, catalogue)
    code, as_json = REFUSED if found.does_not_fit else ACCEPTED, options.output == Format.JSON
    if isinstance(found, Answer) and not as_json and sys.stdout.isatty() and find_spec("rich"):
        _draw(found)
        return code, ""
    return code, print_plan(found, as_json)


def _draw(found: Answer) -> None:
    """At a terminal; the library is of the extra `cli`, which the operator's image does without."""
    from rich.console import Console

    from triton_vllm_operator.cli.plan_drawing import draw_plan

    draw_plan(found, Console(highlight=False))
