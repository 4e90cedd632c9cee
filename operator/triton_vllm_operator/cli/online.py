"""The commands that ask a cluster: status, generate, logs, restart, doctor."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from time import sleep

from triton_vllm_operator.cli import cluster, prompting
from triton_vllm_operator.cli.cluster import Placed, Running, read_pods, read_running
from triton_vllm_operator.cli.doctor import Level, find_findings, finding_lines
from triton_vllm_operator.cli.doctor_facts import read_facts
from triton_vllm_operator.cli.engine_logs import engine_line
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.cli.status_view import headline, is_at_rest, is_ready, status_lines
from triton_vllm_operator.cli.terminal import printable
from triton_vllm_operator.repository.catalogue import Catalogue

DONE, NOT_SO = 0, 1
Seen = tuple[Running, tuple[Placed, ...]]
"""An LLMDeployment and its pods."""
_LOOK_SECONDS = 2.0
_MOST_MISSES = 15


def status(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """How an LLMDeployment stands; with -w until it is ready."""
    if sys.stdout.isatty() and find_spec("rich"):
        drawn = _draw(lambda: _read(options.name, options.namespace), options.watch)
        return (DONE if is_ready(drawn) else NOT_SO), ""
    running, pods = (follow_lines if options.watch else _read)(options.name, options.namespace)
    lines = status_lines(running, pods, datetime.now(UTC))
    return (DONE if is_ready(running) else NOT_SO), printable("\n".join(lines)) + "\n"


def _read(name: str, namespace: str | None) -> Seen:
    running = read_running(name, namespace)
    return running, read_pods(running)


def follow_lines(name: str, namespace: str | None) -> Seen:
    """Print one line for each turn, until it is ready or nothing comes of waiting; how it then stands."""
    said: list[str] = []

    def tell(seen: Seen) -> None:
        if (line := headline(seen[0])) not in said[-1:] and not is_ready(seen[0]):
            said.append(line)
            print(printable(line), flush=True)

    return _follow(lambda: _read(name, namespace), tell)


def _follow(read: Callable[[], Seen], show: Callable[[Seen], None]) -> Seen:
    """Show it every 2 s until it is at rest; how it then stands."""
    show(seen := read())
    misses = 0
    while not is_at_rest(seen[0]):
        sleep(_LOOK_SECONDS)
        try:
            seen, misses = read(), 0
        except Unreadable:
            # An API server is away for a moment, now and then.
            misses += 1
            if misses >= _MOST_MISSES:
                raise
        show(seen)
    return seen


def _draw(read: Callable[[], Seen], watch: bool) -> Running:
    """At a terminal; the library is of the extra `cli`, which the operator's image does without."""
    from rich.console import Console

    from triton_vllm_operator.cli.status_drawing import draw_status, live

    console = Console(highlight=False)
    with live(console) as draw:

        def show(seen: Seen) -> None:
            draw(draw_status(*seen, datetime.now(UTC)))

        if watch:
            return _follow(read, show)[0]
        show(seen := read())
        return seen[0]


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
        rendered = json.loads(cluster.run_in_pod(serving[0], running.namespace, prompting.RENDER_CHAT, given))
        if "error" in rendered:
            raise Unreadable(f"{running.name}: {rendered['error']}")
        prompt = rendered["prompt"]
    body = prompting.build_request(prompt, options.max_tokens, options.temperature, options.adapter)
    said, is_whole = "", False
    with cluster.post(serving[0], running.namespace, prompting.stream_path(running), body) as lines:
        for line in lines:
            piece = prompting.read_piece(line)
            if piece.error:
                separator = "\n" if said else ""
                print(f"{separator}kubectl-llm: {printable(piece.error)}", file=sys.stderr)
                return NOT_SO, ""
            said, is_whole = said or piece.text, is_whole or piece.is_last
            print(printable(piece.text), end="", flush=True)
    if not is_whole:
        print(
            f"\nkubectl-llm: the answer broke off; {headline(read_running(options.name, options.namespace))}",
            file=sys.stderr,
        )
        return NOT_SO, ""
    return DONE, "\n"


def logs(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """What the engines of all pods say."""
    running = read_running(options.name, options.namespace)
    asked = [f"--tail={options.tail}"]
    asked += ["--follow"] if options.follow else []
    asked += ["--previous"] if options.previous else []
    count = 0
    with cluster.logs(running, *asked) as lines:
        for line in lines:
            # Of a pod that has none yet kubectl says so among them, without the pod's name before it.
            count += line.startswith("[")
            shown = line if options.all else engine_line(line)
            if shown is not None:
                print(printable(shown), flush=True)
    if not count:
        raise Unreadable(f"no pod of {running.name} has said anything; {headline(running)}")
    return DONE, ""


def restart(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """Let all pods be replaced, one after the other, though nothing of the spec has changed."""
    running = read_running(options.name, options.namespace)
    if running.status.revision is None:
        raise Unreadable(f"{running.name} has no pods yet; {headline(running)}")
    cluster.restart(running)
    pods = "its pods are replaced, one after the other"
    done = "it is tried again" if running.status.stopped is not None else pods
    return (
        DONE,
        f"{running.name}: {done}; follow it: kubectl llm rollout status {running.name} -n {running.namespace}\n",
    )


def doctor(_: argparse.Namespace, __: Catalogue) -> tuple[int, str]:
    """What the cluster lacks."""
    findings = find_findings(read_facts())
    lacks = any(finding.level is Level.MISSING for finding in findings)
    return (NOT_SO if lacks else DONE), "\n".join(finding_lines(findings)) + "\n"
