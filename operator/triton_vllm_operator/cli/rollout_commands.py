"""The commands `kubectl llm rollout status|history|undo`."""

import argparse

from triton_vllm_operator.cli import cluster
from triton_vllm_operator.cli.cluster import read_running
from triton_vllm_operator.cli.online import DONE, NOT_SO, follow_lines
from triton_vllm_operator.cli.rollouts import find_target, history_lines, read_revisions, restore
from triton_vllm_operator.cli.status_view import headline, is_ready
from triton_vllm_operator.cli.terminal import printable
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.repository.catalogue import Catalogue


def status(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """One line for each turn of a rollout, until it is over or stands still."""
    running, _pods = follow_lines(options.name, options.namespace)
    # What it waits for in vain was told as it turned.
    return (DONE, printable(headline(running)) + "\n") if is_ready(running) else (NOT_SO, "")


def history(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """The revisions that are kept."""
    running = read_running(options.name, options.namespace)
    lines = history_lines(_read_revisions(running), running.status)
    return DONE, printable("\n".join(lines)) + "\n"


def undo(options: argparse.Namespace, _: Catalogue) -> tuple[int, str]:
    """Write the spec as it was in an earlier revision."""
    running = read_running(options.name, options.namespace)
    target = find_target(_read_revisions(running), running.status, running.spec, options.to_revision)
    cluster.write_spec(running, restore(running.spec, target))
    return DONE, f"{running.name}: the spec is as in revision {target.number} ({target.name})\n"


def _read_revisions(running: cluster.Running) -> tuple[Revision, ...]:
    where = ("--namespace", running.namespace, "--selector", running.selector)
    return read_revisions(cluster.read_items("controllerrevisions.apps", *where))
