"""Why Kubernetes makes no pod, in its own words, and what would help. Pure.

The words are those of its admission plugins (plugin/pkg/admission in Kubernetes' source) and of what others add.
"""

import re
from typing import Final

# Every try names another pod, and each would be a write of the status.
_NAMELESS: Final = (
    (re.compile(r"^Error creating: "), ""),
    (re.compile(r'^(admission webhook "[^"]+" denied the request: )?pods "[^"]*" is forbidden: '), r"\1"),
    (re.compile(r'pod "[^"]*"'), "the pod"),
)
_MISSING: Final = re.compile(r"must specify (.+)$")
_RESOURCE: Final = re.compile(
    r"(?P<kind>requests|limits)\.(?P<name>[a-z-]+)|(?<![\w.])(?P<plain>cpu|memory|ephemeral-storage)(?= for)"
)
_BOUNDS: Final = ("usage per Container", "usage per Pod", "request ratio per Container", "request ratio per Pod")


def describe_refusal(message: str, resources_field: str) -> str:
    """What Kubernetes said, without the name of the pod, and a remedy where there is one.

    `resources_field` is the field of the spec that sets the resources of these pods.
    """
    for pattern, instead in _NAMELESS:
        message = pattern.sub(instead, message)
    return message + _remedy(message, resources_field)


def _remedy(message: str, field: str) -> str:
    if message.startswith("failed quota") and (missing := _MISSING.search(message)):
        wanted = dict.fromkeys(_wanted(missing[1]))
        return f"; write {', '.join(f'{field}.{name}' for name in wanted)}" if wanted else ""
    if message.startswith("exceeded quota"):
        return "; it goes on when the quota has room or is raised"
    if any(words in message for words in _BOUNDS):
        return f"; the LimitRange of the namespace says so: mend {field}"
    if "security context constraint" in message or ("runAsUser" in message and "range" in message):
        return "; where the cluster assigns users, the administrator sets the chart's podSecurity.setUser to false"
    return ""


def _wanted(missing: str) -> list[str]:
    """`limits.cpu for: prepare,triton; memory for: triton` as the members of a resources field."""
    found = _RESOURCE.finditer(missing)
    return [f"{part['kind']}.{part['name']}" if part["kind"] else f"requests.{part['plain']}" for part in found]
