"""One finding over all GPUs that the pods may get."""

import pytest

from perf.memory import read_model
from support.checkpoints import LLAMA
from support.nodes import H100, L4, make_node
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.memory.advice import Case
from triton_vllm_operator.memory.fit import Finding, Fit, find_fit
from triton_vllm_operator.memory.offers import find_offers
from triton_vllm_operator.memory.settings import EngineSettings, Runner

SHAPE = read_model(LLAMA)
SHARED = {**H100, "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}


def fit(*nodes: Node, length: int = 8192, **settings: object) -> Finding:
    engine = EngineSettings("0.27.1", **settings)  # type: ignore[arg-type]
    offers = find_offers(nodes, Scheduling(), "nvidia.com/gpu", 1)
    return find_fit(offers, lambda gpu: Case(SHAPE, engine, gpu, length))


@pytest.mark.parametrize(
    ("labels", "length", "expected", "words"),
    [
        ([H100], 8192, Fit.FITS, "fits on NVIDIA-H100-80GB-HBM3: one sequence of 8192 tokens takes 1.00 GiB of cache"),
        ([H100, L4], 8192, Fit.FITS, "fits on NVIDIA-L4: "),
        ([L4], 131072, Fit.DOES_NOT_FIT, "it would with spec.engine.maxModelLen: "),
        (
            [H100, L4],
            131072,
            Fit.ON_SOME_NODES,
            "spec.scheduling.nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3} keeps it to where it does",
        ),
        ([], 8192, Fit.NO_MATCHING_NODE, "none of 0 nodes"),
        ([{}], 8192, Fit.GPU_UNKNOWN, "node n0 does not say which GPU it has"),
        ([{}, {}, {}, {}], 8192, Fit.GPU_UNKNOWN, "node n0, n1, n2 and 1 more does not say"),
        ([{}, H100], 8192, Fit.GPU_UNKNOWN, "does not say"),
        ([{}, L4], 131072, Fit.ON_SOME_NODES, "keep it by spec.scheduling to nodes where it does"),
        ([SHARED], 8192, Fit.FITS, "up to 4 pods share a GPU there (time-slicing)"),
    ],
)
def test_all_offers_together_make_one_sentence(
    labels: list[dict[str, str]], length: int, expected: Fit, words: str
) -> None:
    found = fit(*(make_node(f"n{number}", each) for number, each in enumerate(labels)), length=length)
    assert found.fit is expected
    assert words in found.message


def test_what_does_not_fit_by_much_says_so_in_numbers() -> None:
    message = fit(make_node("a", L4), length=131072).message
    assert message.startswith("does not fit on NVIDIA-L4: one sequence of 131072 tokens takes 16.00 GiB of cache, and ")


def test_a_utilization_that_no_gpu_leaves_is_named() -> None:
    found = fit(make_node("a", H100), utilization=0.999)
    assert found.fit is Fit.DOES_NOT_FIT
    assert "asks for more than the 0.986 that are free of an empty GPU" in found.message
    assert "it would with spec.engine.gpuMemoryUtilization: 0.98" in found.message


@pytest.mark.parametrize("labels", [{"nvidia.com/gpu.memory": "12288"}, {"nvidia.com/gpu.memory": "24576"}])
def test_the_default_utilization_is_below_the_ceiling_of_small_gpus(labels: dict[str, str]) -> None:
    (planned,) = fit(make_node("a", labels), utilization=0.92, length=1024).planned
    assert not planned.judged.exceeds_ceiling


def test_the_offer_with_the_least_room_comes_first() -> None:
    planned = fit(make_node("a", H100), make_node("b", L4)).planned
    assert [each.offer.product for each in planned] == ["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"]


def test_what_is_tight_says_why_and_with_what_it_would_not_be() -> None:
    tight = EngineSettings("0.24.0", runner=Runner.V2, utilization=0.98)
    found = find_fit(
        find_offers((make_node("a", H100),), Scheduling(), "nvidia.com/gpu", 1),
        lambda gpu: Case(SHAPE, tight, gpu, 2048),
    )
    assert found.fit is Fit.TIGHT
    assert "tight on NVIDIA-H100-80GB-HBM3: beside gpuMemoryUtilization 0.98 no more than " in found.message
    assert found.message.endswith("; it fits for certain with spec.engine.gpuMemoryUtilization: 0.97")
