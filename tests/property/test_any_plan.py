"""A plan is made of anything that can be read: what it raised would keep an LLMDeployment from being looked at."""

from hypothesis import assume, given
from hypothesis import strategies as st

from support.nodes import make_node
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.memory.advice import Case, what_if, with_longest_that_fits
from triton_vllm_operator.memory.cache import find_unplannable
from triton_vllm_operator.memory.fit import Fit, find_fit
from triton_vllm_operator.memory.offers import find_offers
from triton_vllm_operator.memory.settings import EngineSettings, Gpu, Runner, Seeing
from triton_vllm_operator.sources.shape import (
    Allocation,
    Attention,
    Experts,
    Form,
    LayerKind,
    ModelShape,
    Vision,
    contract,
)

SIZES = st.integers(0, 2**34)
ROWS = st.lists(st.builds(Allocation, st.sampled_from(Form), SIZES, SIZES, SIZES, st.integers(1, 64)), max_size=3).map(
    tuple
)
KINDS = st.builds(
    LayerKind,
    attention=st.sampled_from(Attention),
    heads=st.integers(0, 128),
    size=st.integers(0, 2048),
    window=st.none() | st.integers(1, 8192),
)


VISIONS = st.builds(
    Vision,
    hidden_size=st.integers(1, 8192),
    inner_size=st.integers(0, 20000),
    is_gated=st.booleans(),
    patch=st.integers(1, 64),
    frames=st.integers(1, 4),
    patches=st.integers(1, 64),
    image_tokens=st.integers(1, 100_000),
    keeps_shape=st.booleans(),
    video_tokens=st.integers(0, 100_000),
    video_step=st.integers(0, 20_000),
    video_steps=st.integers(0, 32),
    leaves_room=st.booleans(),
    levels=st.integers(1, 8),
)
SEEING = st.builds(
    Seeing,
    images=st.integers(0, 999),
    videos=st.integers(0, 999),
    max_pixels=st.none() | st.integers(1, 2**32),
    is_profiled=st.booleans(),
)


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    kinds = tuple(draw(st.lists(KINDS, min_size=1, max_size=3, unique=True)))
    weights = tuple(draw(st.lists(ROWS, min_size=1, max_size=3)))
    layers = draw(st.integers(1, 40))
    return ModelShape(
        architecture="Any",
        hidden_size=draw(st.integers(1, 20000)),
        vocabulary=draw(st.integers(1, 300_000)),
        head_is_tied=draw(st.booleans()),
        longest=draw(st.none() | st.integers(1, 10_000_000)),
        heads=draw(st.integers(1, 256)),
        dtype="bfloat16",
        kinds=kinds,
        pattern=contract(tuple(draw(st.integers(0, len(kinds) - 1)) for _ in range(layers))),
        weights=weights,
        weight_pattern=contract(tuple(draw(st.integers(0, len(weights) - 1)) for _ in range(layers))),
        adapters=weights,
        first=draw(ROWS),
        last=draw(ROWS),
        tables=draw(ROWS),
        inner_size=draw(st.integers(0, 100_000)),
        experts=draw(st.none() | st.builds(Experts, per_token=st.integers(1, 16), size=st.integers(1, 20000))),
        sees=draw(st.booleans()),
        vision=draw(st.none() | VISIONS),
    )


ENGINES = st.builds(
    EngineSettings,
    vllm=st.sampled_from(["0.10.2", "0.19.0", "0.24.0", "0.29.0", "0.33.0", "1.0.0", ""]),
    utilization=st.floats(0.01, 1),
    tensor_ranks=st.sampled_from([1, 2, 3, 8, 16]),
    pipeline_ranks=st.sampled_from([1, 2, 5, 16]),
    cache_bytes=st.sampled_from([1, 2, 4]),
    sequences=st.none() | st.integers(1, 1_000_000),
    batched_tokens=st.none() | st.integers(1, 10_000_000),
    block_tokens=st.sampled_from([1, 16, 128]),
    runner=st.sampled_from(Runner),
    is_eager=st.booleans(),
    fixed_cache=st.none() | st.integers(0, 2**40),
    adapters=st.integers(0, 4),
    adapter_rank=st.integers(0, 512),
    quantises=st.booleans(),
    seeing=SEEING,
)


@given(shapes(), ENGINES, st.integers(1, 300_000), st.integers(1, 10_000_000))
def test_a_plan_is_made_of_anything(shape: ModelShape, engine: EngineSettings, mib: int, length: int) -> None:
    assume(not find_unplannable(shape, engine))
    node = make_node("a", {"nvidia.com/gpu.memory": str(mib)}, 256)
    offers = find_offers((node,), Scheduling(), "nvidia.com/gpu", 1)

    def case_of(gpu: Gpu) -> Case:
        return with_longest_that_fits(Case(shape, engine, gpu, length))

    found = find_fit(offers, case_of)
    assert found.message
    assert found.fit in Fit
    for planned in found.planned:
        plan = planned.plan
        assert plan.tokens.low <= plan.tokens.expected <= plan.tokens.high
        assert plan.cache.low <= plan.cache.expected <= plan.cache.high
        for other in what_if(planned.case):
            other.case.plan()
