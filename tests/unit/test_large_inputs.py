"""What others make large holds up nobody else: all runs in one thread, with every probe and the Lease."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from support.pods import make_pod, make_serving
from support.simulate import World
from triton_vllm_operator.health.failures.hiding import hide_secrets
from triton_vllm_operator.health.failures.last_words import find_last_words
from triton_vllm_operator.health.failures.signatures import load_signatures, name_failure
from triton_vllm_operator.kube.pod import Ended
from unit.test_rolling import SPEC

LINE = 2000
"""Of a line no more is looked at."""
MANGLED = "_ZN7cutlass4gemm6kernel13GemmUniversalIN4cute5tupleIJiiiiEEENS1_10collective13CollectiveMmaINS1_37"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Of this thread's own time; a slow machine has several times what it takes on a fast one."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < seconds


@pytest.mark.parametrize("signature", load_signatures(), ids=lambda signature: signature.match.pattern[:40])
@pytest.mark.parametrize("piece", ["a", " ", "0f", "/", MANGLED, "-", "("], ids=repr)
def test_no_pattern_takes_long_for_any_line(signature: object, piece: str) -> None:
    line = (piece * LINE)[:LINE] + "\n"
    with within(0.5):
        assert signature.match.search(line * 20) is None  # type: ignore[attr-defined]


def test_a_log_of_symbols_is_read_in_no_time() -> None:
    log = f"ptxas error   : Entry function '{MANGLED * 14}' uses too much shared data\n" * 160
    with within(1.0):
        find_last_words(log)


def test_one_long_word_is_too() -> None:
    with within(1.0):
        assert name_failure("x" * 262_144) is None
        hide_secrets("eyJ-" * 65_536)


def test_a_hundred_pods_that_ended_alike_are_read_once() -> None:
    world = World(spec={**SPEC, "replicas": 200}).settle()
    trace = (
        "".join(f"  File {number}, in run\n    self.start()\n" for number in range(50)) + "ValueError: it is wrong\n"
    )
    ended = Ended("Error", 1, trace[-2000:], "2026-11-23T12:00:00Z")
    world.pods = tuple(
        make_pod(world.revision, f"llama-{number}", running=False, ended=ended, restarts=2) for number in range(200)
    )
    world.settle()
    with within(1.0):
        world.decide()


@pytest.mark.parametrize("failed", [0, 1000])
def test_a_thousand_pods_are_decided_on_at_once(failed: int) -> None:
    world = World(spec={**SPEC, "replicas": 1000}).settle()
    before = world.revision
    old = tuple(replace(make_serving(before, f"llama-{number}"), node="a") for number in range(500))
    world.edit(engine={"maxNumSeqs": 7}).settle()
    new = tuple(replace(make_serving(world.revision, f"llama-{500 + number}"), node="a") for number in range(500))
    over = tuple(make_pod(before, f"over-{number}", phase="Failed", running=False) for number in range(failed))
    world.pods = (*old, *new, *over)
    with within(1.0):
        world.decide()
