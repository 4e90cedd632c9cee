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


def find_draft_misfit(shape: ModelShape, settings: EngineSettings) -> str:
    """Why vLLM refuses what guesses before it touches a GPU; empty if it does not.

    https://github.com/vllm-project/vllm/blob/main/vllm/config/speculative.py (_verify_args,
    verify_equal_vocab_size_if_draft_model)
    """
    draft, row = find_draft(shape, settings), row_of(load_tables().drafts, settings.vllm)
    if draft is None:
        return ""
    ranks, is_own = settings.tensor_ranks, settings.drafter is Drafter.OWN
    if not is_own and draft.heads % ranks:
        return f"tensorParallelSize {ranks} does not divide the {draft.heads} attention heads of the draft model"
    if settings.pipeline_ranks > 1 and (is_own or not draft.layers) and not row.own_in_pipelines:
        return f"vLLM {settings.vllm} does not guess so in a pipeline: spec.engine.pipelineParallelSize 1 is none"
    if settings.drafter is not Drafter.MODEL:
        return ""
    if not row.whole_models:
        return f"vLLM {settings.vllm} guesses by no model of its own: 0.15.0 is the first version that does"
    if draft.vocabulary and draft.vocabulary != shape.vocabulary:
        sizes = f"{draft.vocabulary} tokens, and the model one of {shape.vocabulary}"
        return f"the draft model has a vocabulary of {sizes}: vLLM wants them to be the same"
    return ""
