"""What the API server refuses in the metadata of any object. Pure.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go (ValidateObjectMeta), and kubectl's own check of fields.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.structural import show

_FIELDS: Final = frozenset(
    {
        *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers"),
        *("generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences"),
        *("resourceVersion", "selfLink", "uid"),
    }
)
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PART: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = r"(?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_KEY: Final = re.compile(rf"({_DOMAIN}/)?{_PART}")
_VALUE: Final = re.compile(rf"({_PART})?")
_ANNOTATIONS_LIMIT: Final = 256 * 1024
_KEY_FORM: Final = "has letters, digits, '-', '_' and '.', 63 at most, as team or example.com/team"


def find_metadata_faults(metadata: Json) -> Iterator[str]:
    """What is wrong, one clause each, but for the name, which has rules of its own."""
    for unknown in sorted(map(str, set(metadata) - _FIELDS)):
        near = get_close_matches(unknown, _FIELDS, 1)
        yield f"there is no field metadata.{unknown}" + (f": did you mean metadata.{near[0]}?" if near else "")
    namespace = metadata.get("namespace")
    if namespace is not None and not (
        isinstance(namespace, str) and (not namespace or _NAMESPACE.fullmatch(namespace))
    ):
        yield f"metadata.namespace has a-z, 0-9 and '-', 63 at most; found {show(namespace)}"
    for part in ("labels", "annotations"):
        yield from _find_marks(f"metadata.{part}", metadata.get(part))
    finalizers = metadata.get("finalizers")
    for finalizer in finalizers if isinstance(finalizers, list) else ():
        if not isinstance(finalizer, str) or not _KEY.fullmatch(finalizer):
            yield f"metadata.finalizers: a name {_KEY_FORM}; found {show(finalizer)}"


def _find_marks(field: str, marks: object) -> Iterator[str]:
    if marks is None:
        return
    if not isinstance(marks, dict):
        yield f"{field} takes an object, found {show(marks)}"
        return
    are_labels = field.endswith("labels")
    for key, text in marks.items():
        if not _KEY.fullmatch(str(key) if are_labels else str(key).lower()):
            yield f"{field}: a key {_KEY_FORM}; found {show(key)}"
        if not isinstance(text, str):
            yield f"{field}.{key} takes a text, found {show(text)}: write it in quotes"
        elif are_labels and not _VALUE.fullmatch(text):
            yield f"{field}.{key}: a value has letters, digits, '-', '_' and '.', 63 at most; found {show(text)}"
    if sum(len(str(part).encode()) for pair in marks.items() for part in pair) > _ANNOTATIONS_LIMIT and not are_labels:
        yield f"{field} hold more than 256 KiB"
