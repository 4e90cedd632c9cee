"""Whatever is done to an LLMDeployment and when: nobody who answers goes for nothing, and it comes to its end."""

from collections.abc import Mapping
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.rolling_cluster import LOAD_SECONDS, SPEC, RollingCluster
from support.simulate import World

_GOOD, _BAD, _HUGE = "good", "bad", "huge"
EDITS = st.tuples(st.sampled_from([_GOOD, _BAD, _HUGE]), st.integers(1, 3))
OTHERS = st.tuples(st.sampled_from(["restart", "pause", "resume", "delete"]), st.just(0))
SCALES = st.tuples(st.just("scale"), st.integers(1, 3))
ACTIONS = st.lists(st.tuples(EDITS | OTHERS | SCALES, st.integers(0, 9)), max_size=8)
STRATEGIES = st.sampled_from(["Auto", "Surge", "Replace"])
LONG = 60
"""Seconds after which a small cluster is at rest: several replicas that load, and pods that end."""


def generates(spec: Mapping[str, Any]) -> bool:
    return int(spec.get("engine", {}).get("maxNumSeqs", 100)) < 1000


def serving(gpus: dict[str, int], replicas: int, **rollout: Any) -> RollingCluster:
    """All pods of it serve."""
    world = World(spec={**SPEC, "replicas": replicas, "rollout": rollout})
    cluster = RollingCluster(gpus, world, generates=generates)
    while cluster.serving < replicas:
        cluster.tick()
    cluster.tick()
    return cluster


def act(cluster: RollingCluster, what: str, number: int) -> None:
    world = cluster.world
    if what == "restart":
        cluster.restart()
    elif what in ("pause", "resume"):
        cluster.paused = what == "pause"
    elif what == "scale":
        world.edit(replicas=number)
    elif what == "delete":
        # A pod that does not serve, as somebody does who loses patience.
        for pod in [pod for pod in cluster.pods if not pod.serves and pod.ends_at is None][:1]:
            pod.ends_at = world.now
    else:
        sequences = {_GOOD: number + 10, _BAD: number + 1000, _HUGE: number + 100}[what]
        size = {"tensorParallelSize": 8} if what == _HUGE else {}
        world.edit(engine={"maxNumSeqs": sequences, **size})


def end_well(cluster: RollingCluster, replicas: int) -> None:
    """With a spec that works, and after a restart of it, all pods are new ones, and nothing is written any more."""
    cluster.paused = False
    cluster.world.edit(engine={"maxNumSeqs": 50}, replicas=replicas)
    rest(cluster, replicas)
    cluster.restart()
    rest(cluster, replicas)


def rest(cluster: RollingCluster, replicas: int) -> None:
    cluster.tick()
    wanted = f"{cluster.world.revision}-{cluster.restarts}"
    for _ in range(LONG * (replicas + 1)):
        if cluster.world.status.rollout is None and [pod.of.template for pod in cluster.pods] == [wanted] * replicas:
            break
        cluster.tick()
    for _ in range(LOAD_SECONDS + 1):
        cluster.tick()
    assert [pod.of.template for pod in cluster.pods] == [wanted] * replicas
    assert cluster.serving == replicas
    assert cluster.world.condition("Ready")[0] == "True"
    assert cluster.world.status.rollout is None
    assert cluster.run_operator() == 0


@settings(max_examples=25)
@given(ACTIONS, st.sampled_from([None, 2]))
@example([(("restart", 0), 0), (("scale", 2), 6), (("scale", 1), 1)], 2)
@example([(("good", 1), 9), (("bad", 1), 3), (("restart", 0), 3), (("good", 1), 9)], None)
@example([(("good", 1), 1), (("scale", 2), 1), (("scale", 1), 1)], None)
def test_with_a_spare_gpu_somebody_always_answers(
    actions: list[tuple[tuple[str, int], int]], quota: int | None
) -> None:
    cluster = serving({"a": 1, "b": 1}, 1)
    cluster.quota = quota
    for (what, number), seconds in actions:
        act(cluster, what, number)
        for _ in range(seconds):
            cluster.tick()
            assert cluster.serving >= 1, f"after {what} {number}: {cluster.world.status.rollout}"
    end_well(cluster, 1)


@settings(max_examples=25)
@given(ACTIONS, STRATEGIES, st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_it_always_comes_to_its_end(
    actions: list[tuple[tuple[str, int], int]], strategy: str, replicas: int, spare: int, is_limited: bool
) -> None:
    spare = 1 if strategy == "Surge" else spare
    cluster = serving({"a": replicas + spare}, replicas, strategy=strategy, surgeTimeoutSeconds=10)
    cluster.quota = replicas if is_limited and strategy != "Surge" else None
    for (what, number), seconds in actions:
        act(cluster, what, number)
        for _ in range(seconds):
            cluster.tick()
    end_well(cluster, replicas)


@settings(max_examples=6)
@given(st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_no_pod_goes_for_one_that_fits_nowhere(replicas: int, spare: int, restarts: bool) -> None:
    cluster = serving({"a": replicas + spare}, replicas)
    act(cluster, _HUGE, 1)
    for second in range(LONG * 2):
        if restarts and second == LONG:
            cluster.restart()
        cluster.tick()
        assert cluster.serving == replicas, cluster.world.status.rollout
    assert cluster.world.condition("Ready") == ("False", "Unschedulable")
