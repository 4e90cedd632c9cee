"""The commands that ask a cluster: status, generate, logs, restart, doctor."""

import argparse
import json
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from time import sleep
from typing import TYPE_CHECKING

from triton_vllm_operator.cli import cluster, prompting
from triton_vllm_operator.cli.cluster import Placed, Running, read_pods, read_running
from triton_vllm_operator.cli.doctor import Level, find_findings, finding_lines
from triton_vllm_operator.cli.doctor_facts import read_facts
from triton_vllm_operator.cli.engine_logs import engine_line
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.cli.plan_running import print_rows
from triton_vllm_operator.cli.status_view import headline, is_ready, status_lines
from triton_vllm_operator.repository.catalogue import Catalogue

if TYPE_CHECKING:
    from triton_vllm_operator.cli.status_drawing import Read

DONE, NOT_SO = 0, 1
_LOOK_SECONDS = 2.0


def status(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """How an LLMDeployment stands; with -w until it is ready."""

    def read() -> tuple[Running, tuple[Placed, ...]]:
        running = read_running(options.name, options.namespace)
        return running, read_pods(running)

    if sys.stdout.isatty() and find_spec("rich"):
        return (DONE if is_ready(_draw(read, options.watch).status) else NOT_SO), ""
    running, pods = read()
    said = ""
    while options.watch and not is_ready(running.status):
        # In a pipe, what is new is one line.
        if (line := headline(running)) != said:
            said = line
            print(line, flush=True)
        sleep(_LOOK_SECONDS)
        running, pods = read()
    lines = status_lines(running, pods, datetime.now(UTC))
    return (DONE if is_ready(running.status) else NOT_SO), "\n".join(lines) + "\n"


def _draw(read: "Read", watch: bool) -> Running:
    """At a terminal; the library is of the extra `cli`, which the operator's image does without."""
    from rich.console import Console, RenderableType

    from triton_vllm_operator.cli.status_drawing import draw_status, follow_status

    def draw(running: Running, pods: tuple[Placed, ...]) -> RenderableType:
        return draw_status(running, pods, datetime.now(UTC), print_rows(running.status))

    console = Console(highlight=False)
    if watch:
        return follow_status(read, draw, console)
    running, pods = read()
    console.print(draw(running, pods))
    return running


def generate(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """The model's answer, printed as it comes."""
    running = read_running(options.name, options.namespace)
    serving = [each for each in read_pods(running) if each.pod.serves]
    if not serving:
        print(f"kubectl-llm: no pod generates; {headline(running)}", file=sys.stderr)
        return NOT_SO, ""
    prompt = options.prompt
    if options.chat:
        given = json.dumps({"prompt": prompt})
        prompt = json.loads(cluster.run_in_pod(serving[0], running.namespace, prompting.RENDER_CHAT, given))
    body = prompting.build_request(prompt, options.max_tokens, options.temperature, options.adapter)
    said = ""
    with cluster.post(serving[0], running.namespace, prompting.stream_path(running), body) as lines:
        for line in lines:
            piece = prompting.read_piece(line)
            if piece.error:
                separator = "\n" if said else ""
                print(f"{separator}kubectl-llm: {piece.error}", file=sys.stderr)
                return NOT_SO, ""
            said = said or piece.text
            print(piece.text, end="", flush=True)
    return DONE, "\n"


def logs(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """What the engines of all pods say."""
    running = read_running(options.name, options.namespace)
    asked = [f"--tail={options.tail}"]
    asked += ["--follow"] if options.follow else []
    asked += ["--previous"] if options.previous else []
    with cluster.logs(running, *asked) as lines:
        for line in lines:
            shown = line if options.all else engine_line(line)
            if shown is not None:
                print(shown, flush=True)
    return DONE, ""


def restart(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """Let all pods be replaced, one after the other, though nothing of the spec has changed."""
    running = read_running(options.name, options.namespace)
    if running.status.revision is None:
        raise Unreadable(f"{running.name} has no pods yet; {headline(running)}")
    cluster.restart(running)
    pods = "its pods are replaced, one after the other"
    done = "it is tried again" if running.status.stopped is not None else pods
    return DONE, f"{running.name}: {done}; kubectl llm status {running.name} --watch\n"


def doctor(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """What the cluster lacks."""
    findings = find_findings(read_facts(options.namespace))
    lacks = any(finding.level is Level.MISSING for finding in findings)
    return (NOT_SO if lacks else DONE), "\n".join(finding_lines(findings)) + "\n"
