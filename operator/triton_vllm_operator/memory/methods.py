"""Ways to guess tokens (speculative decoding), as vLLM names them. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/speculative.py (SpeculativeMethod, __post_init__)
"""

from typing import Final, NamedTuple

from triton_vllm_operator.api.engine import SpeculativeConfig
from triton_vllm_operator.memory.settings import Drafter
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import DraftShape


class Method(NamedTuple):
    """One way."""

    name: str
    drafter: Drafter | None
    """None if no plan counts what it takes."""


_PLAIN: Final = Method("draft_model", Drafter.MODEL)
_MEDUSA: Final = Method("medusa", Drafter.HEAD)
_EAGLE: Final = Method("eagle", Drafter.HEAD)
_EAGLE3: Final = Method("eagle3", Drafter.HEAD)
_MTP: Final = Method("mtp", Drafter.OWN)
_METHODS: Final = (
    _PLAIN,
    _MEDUSA,
    _EAGLE,
    _EAGLE3,
    _MTP,
    Method("dflash", Drafter.HEAD),
    Method("dspark", None),
    Method("mlp_speculator", None),
    Method("extract_hidden_states", None),
    Method("ngram", Drafter.NONE),
    Method("ngram_gpu", Drafter.NONE),
    Method("suffix", Drafter.NONE),
)
_OLD_MTP: Final = "_mtp"
"""How methods end that are other names of mtp, one for each family."""


def find_method(given: SpeculativeConfig | None, draft: DraftShape | None) -> Method | None:
    """The way that is asked for; None if none is.

    Where no name is given, vLLM goes by that of the draft model and by what it is: here by what it is alone.
    """
    if given is None:
        return None
    if given.method is None:
        return _recognise(draft)
    if given.method.endswith(_OLD_MTP):
        return _MTP
    named = (method for method in _METHODS if method.name == given.method)
    return next(named, Method(given.method, None))


def _recognise(draft: DraftShape | None) -> Method:
    if draft is None or not draft.is_head:
        return _PLAIN
    if not draft.layers:
        return _MEDUSA
    return _EAGLE3 if draft.further_states else _EAGLE


def runs_on_second(method: Method | None, ranks: int, vllm: str) -> bool:
    """Whether the second model runner of a version can guess so, with that many stages of a pipeline.

    https://github.com/vllm-project/vllm/blob/main/vllm/config/vllm.py (_get_v2_model_runner_unsupported_features)
    """
    row = row_of(load_tables().drafts, vllm)
    if method is None:
        return True
    return method.name in row.second and (method != _EAGLE3 or ranks == 1 or row.eagle3_in_pipelines)
