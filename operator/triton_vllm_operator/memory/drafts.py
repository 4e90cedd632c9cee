"""What guesses tokens (speculative decoding): its weights and its layers, which lie on the last stage. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/v1/spec_decode/llm_base_proposer.py (_maybe_share_embeddings,
_maybe_share_lm_head)
"""

from dataclasses import dataclass

from triton_vllm_operator.memory.settings import Drafter, EngineSettings
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import Allocation, DraftShape, Form, LayerKind, ModelShape


def find_draft(shape: ModelShape, settings: EngineSettings) -> DraftShape | None:
    """What guesses; None if nothing does that takes memory."""
    return shape.draft if settings.drafter is not Drafter.NONE else None


def draft_layers(shape: ModelShape, settings: EngineSettings) -> tuple[LayerKind, ...]:
    """What its layers remember of each token."""
    draft = find_draft(shape, settings)
    return draft.layers if draft is not None else ()


def draft_rows(shape: ModelShape, settings: EngineSettings) -> tuple[Allocation, ...]:
    """The tensors that it adds to a model's."""
    draft = find_draft(shape, settings)
    if draft is None:
        return ()
    # The engine quantises what the model brings, and no other draft model.
    is_apart = settings.drafter is not Drafter.OWN
    own = (row._replace(form=Form.FLOAT) if is_apart and row.form is Form.LINEAR else row for row in draft.rows)
    # Tables of one kind are held once.
    tables = draft.tables if draft.tables != shape.tables else ()
    held = _find_vocabulary(draft, shape, settings).held
    return (*own, *tables, *(Allocation(Form.FLOAT, divided=rows * draft.hidden_size) for rows in held if rows))


def maybe_shared_bytes(shape: ModelShape, settings: EngineSettings) -> int:
    """What is not held if it equals the model's, number for number, which only the engine can see."""
    draft = find_draft(shape, settings)
    if draft is None:
        return 0
    rows = _find_vocabulary(draft, shape, settings).maybe
    return rows * draft.hidden_size // settings.tensor_ranks * settings.dtype_bytes


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Rows of embeddings and outputs."""

    held: tuple[int, ...]
    """Beside the model's, each by itself."""
    maybe: int = 0
    """Of those that have the shape of the model's, and are held unless they equal it."""


def _find_vocabulary(draft: DraftShape, shape: ModelShape, settings: EngineSettings) -> _Vocabulary:
    if settings.drafter is Drafter.MODEL:
        return _Vocabulary((draft.vocabulary, draft.head))
    # The last stage of a pipeline has no embedding of the model to take.
    is_whole = settings.pipeline_ranks == 1
    embedding = draft.vocabulary if is_whole or not draft.layers else draft.vocabulary or shape.vocabulary
    if settings.drafter is Drafter.OWN:
        keeps = draft.has_heads_in_layers and row_of(load_tables().drafts, settings.vllm).keeps_heads
        return _Vocabulary((embedding, *(shape.vocabulary for _ in draft.layers if keeps)))
    is_alike = draft.hidden_size == shape.hidden_size
    maybe_embedding = embedding if is_alike and is_whole and embedding == shape.vocabulary else 0
    maybe_head = draft.head if is_alike and draft.head == shape.vocabulary else 0
    return _Vocabulary((embedding - maybe_embedding, draft.head - maybe_head), maybe_embedding + maybe_head)
