"""What differs by vLLM version: versions.yaml, typed."""

from functools import cache
from importlib import resources
from typing import Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict

from triton_vllm_operator.api.vllm_versions import version_order

GIB: Final = 2**30


class Row(BaseModel):
    """What holds from a version on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: str


class BatchClass(BaseModel):
    """Defaults of GPUs of one size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gib: int = 0
    """The least bytes of the GPU, in GiB."""
    not_names: tuple[str, ...] = ()
    """Words of products that are not of this class."""
    tokens: int
    """`max_num_batched_tokens`."""
    sequences: int
    """`max_num_seqs`."""


class BatchRow(Row):
    """Defaults by the size of the GPU."""

    classes: tuple[BatchClass, ...]

    def find(self, total_bytes: int, product: str, is_slice: bool = False) -> BatchClass:
        """The class of a GPU; of a slice the smallest: https://github.com/vllm-project/vllm/issues/55381."""
        named = product.lower()
        if is_slice:
            return self.classes[-1]
        return next(
            each
            for each in self.classes
            if total_bytes >= each.gib * GIB and not any(word in named for word in each.not_names)
        )


class RunnerRow(Row):
    """Which models the second model runner takes by itself."""

    architectures: tuple[str, ...] = ()
    dense: bool = False
    """All that are no mixture as well."""
    only_plain: bool = False
    """None that is a mixture, or quantised."""
    all: bool = False

    def takes(self, architecture: str, is_mixture: bool, is_quantised: bool) -> bool:
        """Whether it takes a model."""
        if self.only_plain and (is_mixture or is_quantised):
            return False
        return self.all or architecture in self.architectures or (self.dense and not is_mixture)


class GraphsRow(Row):
    """CUDA graphs."""

    reserved: bool
    reserved_by_second: bool


class SamplerRow(Row):
    """The sampler's pass."""

    bytes: float
    """For each entry of the vocabulary and each sequence."""
    guessing: float
    """The same where tokens are guessed."""
    second_bytes: float
    """The same of the second runner."""


class ExpertsRow(Row):
    """The workspace of experts."""

    kept: bool


class BesideTorchRow(Row):
    """Memory that is not torch's, GiB."""

    alone: float
    several: tuple[float, float, float]
    """Least, expected and most on each of several GPUs."""
    pipelined: float
    """On each of several that share the layers out and nothing else."""


class LoadingRow(Row):
    """While weights are loaded."""

    whole_first: bool
    """Whether all of them lie there as they are stored before the first is quantised."""
    queues_files: bool
    """Whether VLLM_FASTSAFETENSORS_QUEUE_SIZE says how many files are staged at once."""


class LatentRow(Row):
    """Compressed attention (MLA)."""

    workspace_mib: int
    """What each rank keeps within the line of weights."""
    expanded_tokens: int
    """Of which keys and values are multiplied out at once, at most."""


class SparseRow(Row):
    """Attention to the tokens that an index finds (DeepSeek V3.2)."""

    packs: bool
    """Whether the cache is in 8 bits unless the user says otherwise."""
    lengths: int
    """How many sequences of the longest length the index's workspace holds."""
    block: int
    """Tokens."""
    keeps_queries: bool
    """Whether queries as they are compressed have a buffer that is made with the model."""


class DraftsRow(Row):
    """What guesses tokens."""

    keeps_heads: bool
    """Whether each layer of MTP keeps an output of its own where the class has one, though it is the model's."""
    second: tuple[str, ...]
    """Ways to guess with which the second runner works."""
    eagle3_in_pipelines: bool
    """Whether it works with EAGLE-3 in a pipeline."""
    own_in_pipelines: bool
    """Whether an engine starts with layers of a model's own in a pipeline."""
    whole_models: bool
    """Whether a model that holds all it needs may guess (draft_model)."""


class VisionRow(Row):
    """What sees."""

    profiled_by_second: bool
    """Whether the second runner measures itself with images as well."""
    further_steps: int
    """How many steps a video of Qwen2-VL may have more than shapes say."""
    plain_tables: tuple[str, ...]
    """Architectures whose tables of positions are no longer than others, though these have height and width."""


class LoraRow(Row):
    """Adapters (LoRA)."""

    adapts_experts: bool
    """Whether room is made for adapters of experts, whether or not an adapter changes them."""
    fused: tuple[str, ...]
    """Architectures of which both halves of a gate are adapted as one."""


class GroupsRow(Row):
    """Groups of layers of hybrid models."""

    slack: float
    mixes_sizes: bool
    """Whether layers that all attend to everything may keep more and less of a token."""


class TokensLineRow(Row):
    """What the engine's line of tokens counts."""

    by_concurrency: bool


class ChunksRow(Row):
    """Layers that attend in chunks."""

    are_kept_short: bool


class WindowRow(Row):
    """What a sliding window keeps beside its own tokens."""

    batches: int


class StatesRow(Row):
    """Layers that keep states."""

    caches_prefixes: bool
    """Whether prefixes of hybrid models are cached unless the user says otherwise."""
    keeps: int
    """States of a sequence whose prefixes are cached: the present one, and the newest of those."""
    keeps_all: tuple[str, ...]
    """Architectures that keep a state for each block of a prefix instead."""
    needs_a_block_each: bool
    """Whether an engine with CUDA graphs is refused that has less blocks than sequences."""
    latent_block: int
    """Tokens of which a block is a multiple where attention is compressed (MLA)."""


class NullBlockRow(Row):
    """The block that no sequence gets."""

    is_counted: bool


class CpuRow(Row):
    """An engine on a CPU."""

    block: int
    """Tokens."""
    tokens: int
    """Default of `max_num_batched_tokens`."""
    sequences: int
    """Default of `max_num_seqs`."""
    processes: tuple[float, float, float]
    """GiB that Triton's and the engine's processes hold at their fullest: least, expected, most."""
    weights: tuple[float, float, float]
    """How many times the weights are held."""


class Tables(BaseModel):
    """All tables, oldest rows first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: tuple[BatchRow, ...]
    graphs: tuple[GraphsRow, ...]
    runner: tuple[RunnerRow, ...]
    sampler: tuple[SamplerRow, ...]
    experts: tuple[ExpertsRow, ...]
    beside_torch: tuple[BesideTorchRow, ...]
    loading: tuple[LoadingRow, ...]
    latent: tuple[LatentRow, ...]
    sparse: tuple[SparseRow, ...]
    drafts: tuple[DraftsRow, ...]
    vision: tuple[VisionRow, ...]
    lora: tuple[LoraRow, ...]
    groups: tuple[GroupsRow, ...]
    tokens_line: tuple[TokensLineRow, ...]
    chunks: tuple[ChunksRow, ...]
    window: tuple[WindowRow, ...]
    states: tuple[StatesRow, ...]
    null_block: tuple[NullBlockRow, ...]
    cpu: tuple[CpuRow, ...]


AnyRow = TypeVar("AnyRow", bound=Row)


def row_of(rows: tuple[AnyRow, ...], vllm: str) -> AnyRow:
    """The row that holds for a version; the newest for one that cannot be sorted."""
    order = version_order(vllm)
    if not order:
        return rows[-1]
    return [row for row in rows if version_order(row.since) <= order or row is rows[0]][-1]


@cache
def load_tables() -> Tables:
    """The tables that the package holds."""
    text = (resources.files(__package__) / "versions.yaml").read_text()
    return Tables.model_validate(yaml.safe_load(text))
