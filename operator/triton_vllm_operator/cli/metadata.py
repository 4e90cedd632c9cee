"""What the API server refuses in the metadata of any object. Pure.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go (ValidateObjectMeta), and kubectl's own check of fields.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from triton_vllm_operator.api.base import LABEL_KEY, LABEL_VALUE, Json
from triton_vllm_operator.api.structural import show


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field holds, in words and as a test."""

    words: str
    fits: Callable[[object], bool]


_TIME_FORM: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TEXT: Final = Kind("a text", lambda value: isinstance(value, str))
_LIST: Final = Kind("a list", lambda value: isinstance(value, list))
_COUNT: Final = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
_TIME: Final = Kind(
    "a time, as 2026-01-31T12:00:00Z", lambda value: isinstance(value, str) and bool(_TIME_FORM.fullmatch(value))
)
_SEEN_BELOW: Final = Kind("", lambda _value: True)
_FIELDS: Final = {
    "annotations": _SEEN_BELOW,
    "creationTimestamp": _TIME,
    "deletionGracePeriodSeconds": _COUNT,
    "deletionTimestamp": _TIME,
    "finalizers": _LIST,
    "generateName": _TEXT,
    "generation": _COUNT,
    "labels": _SEEN_BELOW,
    "managedFields": _LIST,
    "name": _SEEN_BELOW,
    "namespace": _SEEN_BELOW,
    "ownerReferences": _LIST,
    "resourceVersion": _TEXT,
    "selfLink": _TEXT,
    "uid": _TEXT,
}
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN_LIMIT: Final = 253
_ANNOTATIONS_LIMIT: Final = 256 * 1024


def find_metadata_faults(metadata: Json) -> Iterator[str]:
    """What is wrong, one clause each, but for the name, which has rules of its own."""
    for unknown in sorted(map(str, set(metadata) - set(_FIELDS))):
        near = get_close_matches(unknown, _FIELDS, 1)
        yield f"there is no field metadata.{unknown}" + (f": did you mean metadata.{near[0]}?" if near else "")
    namespace = metadata.get("namespace")
    if namespace is not None and not (
        isinstance(namespace, str) and (not namespace or _NAMESPACE.fullmatch(namespace))
    ):
        yield f"metadata.namespace has a-z, 0-9 and '-', 63 at most; found {show(namespace)}"
    yield from _find_marks("labels", metadata.get("labels"), are_labels=True)
    yield from _find_marks("annotations", metadata.get("annotations"), are_labels=False)
    for name, kind in _FIELDS.items():
        if (value := metadata.get(name)) is not None and not kind.fits(value):
            yield f"metadata.{name} takes {kind.words}, found {show(value)}"
    finalizers = metadata.get("finalizers")
    for finalizer in finalizers if isinstance(finalizers, list) else ():
        if not isinstance(finalizer, str) or not _is_key(finalizer):
            yield f"metadata.finalizers: {LABEL_KEY.message}; found {show(finalizer)}"


def _is_key(key: str) -> bool:
    return LABEL_KEY.fits(key) and len(key.rpartition("/")[0]) <= _DOMAIN_LIMIT


def _find_marks(part: str, marks: object, are_labels: bool) -> Iterator[str]:
    field = f"metadata.{part}"
    if marks is None:
        return
    if not isinstance(marks, dict):
        yield f"{field} takes an object, found {show(marks)}"
        return
    for key, text in marks.items():
        # Of annotations the API server takes domains in capitals as well.
        if not _is_key(str(key) if are_labels else str(key).lower()):
            yield f"{field}: {LABEL_KEY.message}; found {show(key)}"
        if text is None:
            continue
        if not isinstance(text, str):
            yield f"{field}.{key} takes a text, found {show(text)}: write it in quotes"
        elif are_labels and not LABEL_VALUE.fits(text):
            yield f"{field}.{key}: {LABEL_VALUE.message}; found {show(text)}"
    size = sum(len(str(text).encode()) for pair in marks.items() for text in pair)
    if not are_labels and size > _ANNOTATIONS_LIMIT:
        yield f"{field} take {_ANNOTATIONS_LIMIT} bytes, keys and values together; found {size}"
