"""What guesses tokens (speculative decoding): its weights and its layers, which lie on the last stage. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/v1/spec_decode/llm_base_proposer.py (_maybe_share_embeddings,
_maybe_share_lm_head)
"""

from triton_vllm_operator.memory.settings import Drafter, EngineSettings
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import Allocation, DraftShape, Form, LayerKind, ModelShape


def _find_draft(shape: ModelShape, settings: EngineSettings) -> DraftShape | None:
    """The layers that guess; None if there are none."""
    return shape.draft if settings.drafter is not Drafter.NONE else None


def draft_layers(shape: ModelShape, settings: EngineSettings) -> tuple[LayerKind, ...]:
    """What they remember of each token."""
    draft = _find_draft(shape, settings)
    return draft.layers if draft is not None else ()


def draft_rows(shape: ModelShape, settings: EngineSettings) -> tuple[Allocation, ...]:
    """The tensors that they add to a model's."""
    draft = _find_draft(shape, settings)
    if draft is None:
        return ()
    # Tables of one kind are held once.
    tables = draft.tables if draft.tables != shape.tables else ()
    vocabulary = sum(_own_rows(draft, shape, settings))
    # The engine quantises what the model brings, and no other draft model.
    is_apart = settings.drafter is not Drafter.OWN
    own = (row._replace(form=Form.FLOAT) if is_apart and row.form is Form.LINEAR else row for row in draft.rows)
    return (*own, *tables, *(_vocabulary(rows, draft) for rows in (vocabulary,) if rows))


def maybe_shared_bytes(shape: ModelShape, settings: EngineSettings) -> int:
    """What is not held if it equals the model's, number for number, which only the engine can see."""
    draft = _find_draft(shape, settings)
    if draft is None or settings.drafter is not Drafter.HEAD or draft.hidden_size != shape.hidden_size:
        return 0
    is_whole = settings.pipeline_ranks == 1
    rows = (draft.vocabulary if is_whole else 0, draft.head)
    equal = sum(count for count in rows if count == shape.vocabulary)
    return equal * draft.hidden_size // settings.tensor_ranks * settings.dtype_bytes


def _own_rows(draft: DraftShape, shape: ModelShape, settings: EngineSettings) -> tuple[int, int]:
    """Rows of an embedding and of outputs that are held beside the model's."""
    if settings.drafter is Drafter.MODEL:
        return draft.vocabulary, draft.head
    # The last stage of a pipeline has no embedding of the model to take.
    embedding = 0 if settings.pipeline_ranks == 1 else draft.vocabulary or (shape.vocabulary if draft.layers else 0)
    if settings.drafter is Drafter.OWN:
        keeps = draft.has_heads_in_layers and row_of(load_tables().drafts, settings.vllm).keeps_heads
        return embedding, len(draft.layers) * shape.vocabulary * keeps
    alike = draft.hidden_size == shape.hidden_size
    if settings.pipeline_ranks == 1 and not (alike and draft.vocabulary == shape.vocabulary):
        embedding = draft.vocabulary
    return embedding, 0 if alike and draft.head == shape.vocabulary else draft.head


def _vocabulary(rows: int, draft: DraftShape) -> Allocation:
    return Allocation(Form.FLOAT, divided=rows * draft.hidden_size)
