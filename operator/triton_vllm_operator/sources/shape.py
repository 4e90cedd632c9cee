"""What of a model takes memory, as its files say it: every allocation that an engine will make, not the files' size.

Small enough for a termination message: layers that are alike are said once.
"""

import re
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, Field

from triton_vllm_operator.sources.task import Said


class Form(StrEnum):
    """What the numbers of an allocation are."""

    FLOAT = "F"
    """Elements, held in the engine's dtype."""
    LINEAR = "L"
    """The same, of a linear layer of the decoder: what the engine may quantise when it loads."""
    BYTES = "B"
    """Bytes, held as they are stored: quantised weights, their scales."""
    COPY = "C"
    """Elements, held in the engine's dtype beside linear layers if the engine quantises these."""


Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Elements, bytes or tokens: numbers that a float holds."""
Some = Annotated[int, Field(ge=1, lt=2**32)]
"""What there is of anything in a model."""
MOST_LAYERS: Final = 512
EDITION: Final = 2
"""Of shapes that are read now. It rises with each field that plans need."""


class Allocation(NamedTuple):
    """One tensor of the engine, which may hold several of the files: query, key and value lie in one."""

    form: Form
    divided: Count = 0
    """What the ranks of tensor parallelism share out."""
    by_heads: Count = 0
    """What they share out as far as there are heads of keys and values, and then repeat."""
    whole: Count = 0
    """What each of them holds."""
    times: Count = 1


class Attention(StrEnum):
    """How a layer remembers what came before."""

    FULL = "Full"
    WINDOW = "Window"
    """Of the last tokens alone."""
    CHUNK = "Chunk"
    """Of the chunk of the sequence in which it is."""
    LATENT = "Latent"
    """One compressed vector for each token (MLA), which ranks do not share out."""
    NONE = "None"


class State(Said):
    """What a layer keeps of all that came before, however long that is: of Mamba, linear attention, a convolution.

    Elements that ranks of tensor parallelism share out.
    """

    divided: Count = 0
    """Of the convolution, in the engine's dtype."""
    columns: Count = 0
    """Tokens that the convolution looks back at; 0 where a report does not tell."""
    per_group: Count = 0
    """The same for each group, of which there are at least as many as ranks."""
    groups: Count = 0
    heads: Count = 0
    """Which ranks share out; 0 if there are none."""
    recurrent: Count = 0
    recurrent_bytes: int = Field(0, ge=0, le=8)
    """Of one recurrent element; 0 if it is held in the engine's dtype."""
    chunk: Some = 1
    """Tokens by which states are kept where prefixes are cached."""


class LayerKind(Said):
    """Layers that remember alike."""

    attention: Attention
    heads: int = Field(0, ge=0, lt=2**32)
    """Of keys and values; 1 if they are compressed."""
    size: int = Field(0, ge=0, lt=2**32)
    """Elements of one head's key and value together; of the compressed vector."""
    window: Count | None = None
    """Tokens."""
    rotary: Count = 0
    """Elements of the compressed vector that say a position."""
    expanded: Count = 0
    """Elements of one head's key and value where they are multiplied out of what is compressed."""
    index: Count = 0
    """Bytes of a token by which it is found among those that are looked at (sparse attention)."""
    state: State | None = None
    """What the layer keeps beside keys and values, or instead of them."""


class Experts(Said):
    """A mixture: what each token passes through."""

    per_token: Some
    size: Some
    """Elements between the two halves of one expert."""
    count: Count = 0
    """Of one layer; 0 where a report does not tell."""


_RUN: Final = re.compile(r"(\d+)([a-z])")


def _check_pattern(pattern: str) -> str:
    if sum(int(count) for count, _ in _RUN.findall(pattern)) > MOST_LAYERS:
        raise ValueError(f"more than {MOST_LAYERS} layers")
    return pattern


Pattern = Annotated[str, Field(max_length=4096), AfterValidator(_check_pattern)]
"""Runs of layers that are alike, as `5a1b`."""


class Vision(Said):
    """What sees, by what an engine profiles it with: images and videos of the largest size."""

    hidden_size: Some
    inner_size: Count = 0
    """Elements between the two halves of a feed-forward."""
    is_gated: bool = False
    """Whether its first half is computed twice, once as a gate."""
    patch: Some
    """Pixels of one side of a patch."""
    frames: Some = 1
    """Of a video that one patch spans; images are repeated."""
    patches: Some
    """That become one token."""
    image_tokens: Some
    """Of the largest image."""
    keeps_shape: bool = False
    """Whether images keep their shape, so that a user may say how many pixels they may have (`max_pixels`)."""
    video_tokens: Count = 0
    """Of the largest video; 0 if it takes none, or where videos grow with the sequence."""
    video_step: Count = 0
    """Tokens by which videos grow with the sequence; 0 if they do not."""
    video_steps: Count = 0
    """Of the longest video; 0 if nothing bounds it but the sequence."""
    leaves_room: bool = False
    """Whether they leave room for an image."""
    positions: Count = 0
    """Of a table in which the position of each patch is looked up by a vector of so many; 0 if there is none."""
    levels: Some = 1
    """Vectors of the language model's size that each token becomes: those of deeper layers are added (deepstack)."""


class DraftShape(Said):
    """What guesses tokens for a model, from the files of a draft model or from the model's own (MTP)."""

    hidden_size: Some
    heads: Count = 0
    """Of attention, which ranks of tensor parallelism share out; 0 if there are none."""
    vocabulary: Count = 0
    """Rows of its own embedding; 0 if it has none."""
    head: Count = 0
    """Rows of its own output; 0 if it has none, or it is the embedding."""
    further_states: int = Field(0, ge=0, lt=256)
    """Layers of the model at whose hidden states it looks, beside that of the last (EAGLE-3)."""
    is_head: bool = False
    """Whether it goes on from what the model computed, and makes no sense alone."""
    has_heads_in_layers: bool = False
    """Whether each layer has an output of its own as well, which old versions keep."""
    kinds: tuple[LayerKind, ...] = ()
    pattern: Pattern = ""
    """Which kind each of its layers is."""
    weights: tuple[tuple[Allocation, ...], ...] = ()
    """Of the layers that are alike in their weights, one layer."""
    weight_pattern: Pattern = ""
    beside: tuple[Allocation, ...] = ()
    """Beside its layers."""
    tables: tuple[Allocation, ...] = ()
    """Of RoPE."""
    strange: tuple[str, ...] = ()
    """Names of what was not understood."""

    @property
    def layers(self) -> tuple[LayerKind, ...]:
        """The kind of each layer, in order."""
        return tuple(self.kinds[number] for number in expand(self.pattern))

    @property
    def rows(self) -> tuple[Allocation, ...]:
        """All of its tensors but embedding, output and tables."""
        return (*self.beside, *(row for number in expand(self.weight_pattern) for row in self.weights[number]))


class ModelShape(Said):
    """A model, from its config.json and the headers of its weights."""

    architecture: str
    hidden_size: Some
    vocabulary: Some
    """Rows of the embedding, as the model counts them."""
    head_is_tied: bool
    """Whether the embedding is the output's weights too."""
    longest: Count | None = None
    """Tokens of the longest sequence that it knows; None if config.json does not tell."""
    heads: Some
    """Of attention, which ranks of tensor parallelism share out."""
    dtype: str
    """That of config.json, as bfloat16: the engine's unless it is told otherwise."""
    kinds: tuple[LayerKind, ...]
    pattern: Pattern
    """Which kind each layer is, as `5a1b5a1b`."""
    weights: tuple[tuple[Allocation, ...], ...]
    """Of the layers that are alike in their weights, one layer."""
    weight_pattern: Pattern
    """Which of these each layer is."""
    adapters: tuple[tuple[Allocation, ...], ...] = ()
    """What one LoRA adapter of rank 1 takes in one layer of each of these kinds, but for experts."""
    mixtures: tuple[bool, ...] = ()
    """Which of these kinds have experts."""
    first: tuple[Allocation, ...] = ()
    """Before the first layer: what sees and hears, positions. The embedding is not among them."""
    last: tuple[Allocation, ...] = ()
    """After the last layer. The head is not among them."""
    tables: tuple[Allocation, ...] = ()
    """Beside the layers, on every rank: of RoPE."""
    longer_tables: tuple[Allocation, ...] = ()
    """By how much these are longer where positions have height and width, in versions that make them so."""
    inner_size: Count = 0
    """Elements between the two halves of a feed-forward; 0 if config.json does not tell."""
    experts: Experts | None = None
    """None if it is no mixture."""
    looked_at: Count = 0
    """Tokens that an index finds for each (sparse attention); 0 if there is none."""
    sees: bool = False
    """Whether it has parts that see or hear."""
    vision: Vision | None = None
    """What sees; None if nothing does, or if it is not known."""
    unseen: str = Field("", max_length=120)
    """What is not known of what sees or hears; empty if nothing is, or in a report that does not tell."""
    largest_file: Count = 0
    """Bytes of the largest file of its weights; 0 where a report does not tell."""
    all_files: Count = 0
    """Bytes of all of them."""
    draft: DraftShape | None = None
    """What guesses tokens for it: of its own layers; of a draft model, where a plan is made with one."""
    draftless: str = Field("", max_length=100)
    """Why it is not known what its own layers that guess take; empty if it is, or if it brings none."""
    edition: int = 0
    """Of what is told here: a report of an older one is asked for again where that costs no start."""
    strange: tuple[str, ...] = ()
    """Names of what was not understood."""

    @property
    def is_quantised(self) -> bool:
        """Whether layers hold weights that are stored in fewer bits."""
        return any(row.form is Form.BYTES for rows in self.weights for row in rows)

    @property
    def state(self) -> State | None:
        """What those of its layers keep that keep a state; they are alike."""
        return next((kind.state for kind in self.kinds if kind.state is not None), None)

    @property
    def layers(self) -> tuple[LayerKind, ...]:
        """The kind of each layer, in order."""
        return tuple(self.kinds[number] for number in expand(self.pattern))


def expand(pattern: str) -> tuple[int, ...]:
    """The number of each layer's kind: `2a1b` is 0, 0, 1."""
    return tuple(ord(letter) - ord("a") for count, letter in _RUN.findall(pattern) for _ in range(int(count)))


def contract(numbers: tuple[int, ...]) -> str:
    """The pattern of these numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0] + 1, number)
        else:
            runs.append((1, number))
    return "".join(f"{count}{chr(ord('a') + number)}" for count, number in runs)
