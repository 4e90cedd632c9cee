"""Whether an object differs from what we want of it. Pure.

Only what we set counts: what others add (defaults, annotations, injected containers) stays.
"""

import math
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.kube.resources import metadata_of

_QUANTITIES: Final = frozenset({"requests", "limits", "sizeLimit"})
_LIST_KEYS: Final = ("uid", "name", "conditionType", "key", "type")
_FALSE_IS_ABSENT: Final = ("readOnly",)
"""Of a volume's mount: https://github.com/kubernetes/api/blob/v0.36.0/core/v1/types.go (VolumeMount, omitempty)."""
_METADATA: Final = ("labels", "annotations", "ownerReferences")


def differs(wanted: Json, found: Json) -> bool:
    """Whether `found` must be applied again to become `wanted`."""
    wanted_metadata, found_metadata = metadata_of(wanted), metadata_of(found)
    if _applied_hash(wanted_metadata) != _applied_hash(found_metadata):
        return True
    if any(not _covers(found_metadata.get(part), wanted_metadata.get(part), False) for part in _METADATA):
        return True
    content = {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind", "metadata")}
    return not _covers(found, content, False)


def _applied_hash(metadata: Json) -> object:
    annotations = metadata.get("annotations")
    return annotations.get(names.ANNOTATION_APPLIED_HASH) if isinstance(annotations, dict) else None


def _covers(found: object, wanted: object, quantity: bool) -> bool:
    """Whether every leaf of `wanted` stands in `found`."""
    if found is None and wanted in ("", [], {}):
        # The API server leaves out what is empty. False and 0 are not: absent may stand for something else.
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _covers(found.get(name), value, quantity or name in _QUANTITIES) or _is_left_out(name, value, found)
            for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and _covers_list(found, wanted, quantity)
    if quantity and isinstance(wanted, str | int) and isinstance(found, str | int):
        return _same_quantity(wanted, found)
    return found == wanted


def _is_left_out(name: str, value: object, found: dict[str, object]) -> bool:
    """Whether the API server leaves a member out that is False: of these, absent stands for nothing else."""
    return value is False and name in _FALSE_IS_ABSENT and name not in found


def _same_quantity(wanted: str | int, found: str | int) -> bool:
    """The API server rounds up to thousandths. A label may be called `limits` too, and is no quantity."""
    try:
        one, other = parse_quantity(wanted), parse_quantity(found)
    except ValueError:
        return wanted == found
    return one == other or math.ceil(one * 1000) == math.ceil(other * 1000)


def _covers_list(found: list[object], wanted: list[object], quantity: bool) -> bool:
    key = _list_key(wanted)
    if key is None:
        return len(found) == len(wanted) and all(
            _covers(there, here, quantity) for there, here in zip(found, wanted, strict=True)
        )
    by_key = {item.get(key): item for item in found if isinstance(item, dict)}
    return all(_covers(by_key.get(item[key]), item, quantity) for item in wanted if isinstance(item, dict))


def _list_key(items: list[object]) -> str | None:
    """The member by which the items of a list are told apart; None for lists that are one value.

    Two tolerations may have one key: then the key does not tell them apart, and their places do.
    """
    for key in _LIST_KEYS:
        values = {str(item[key]) for item in items if isinstance(item, dict) and key in item}
        if items and len(values) == len(items):
            return key
    return None
