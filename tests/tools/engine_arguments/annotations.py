"""What an annotation in vLLM's source allows, as the types of JSON."""

import ast
from dataclasses import dataclass, field

from tools.engine_arguments.source import MAX_HOPS, Found, Source
from triton_vllm_operator.repository.arguments import JsonType

_PLAIN = {
    "bool": JsonType.BOOL,
    "int": JsonType.INT,
    "float": JsonType.FLOAT,
    "str": JsonType.STR,
    "list": JsonType.LIST,
    "List": JsonType.LIST,
    "set": JsonType.LIST,
    "tuple": JsonType.LIST,
    "dict": JsonType.OBJECT,
    "Dict": JsonType.OBJECT,
}
# Values that no JSON can express: they add nothing to what may be written.
_INEXPRESSIBLE = {"type", "Type", "Callable", "torch.dtype", "ParallelConfig"}
_TRANSPARENT = {"SkipValidation", "Annotated", "Final", "ClassVar", "Required"}


@dataclass(slots=True)
class Allowed:
    """The values that an annotation admits."""

    types: set[JsonType] = field(default_factory=set)
    choices: list[str | int | bool] = field(default_factory=list)
    resolved: bool = True
    owner: Found | None = None
    """A class of configuration whose members an object may hold."""

    def __or__(self, other: "Allowed") -> "Allowed":
        choices = [*self.choices, *(choice for choice in other.choices if choice not in self.choices)]
        resolved = self.resolved and other.resolved
        return Allowed(self.types | other.types, choices, resolved, self.owner or other.owner)


UNRESOLVED = Allowed(resolved=False)


def read_annotation(source: Source, module: str, node: ast.expr, hops: int = 0) -> Allowed:
    """What `node`, an annotation written in `module`, admits. Classes other than JSON's own are not resolved."""
    if hops > MAX_HOPS:
        return UNRESOLVED
    match node:
        case ast.Constant(value=None):
            return Allowed({JsonType.NULL})
        case ast.Constant(value=str(text)):
            return read_annotation(source, module, ast.parse(text, mode="eval").body, hops + 1)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return read_annotation(source, module, left, hops + 1) | read_annotation(source, module, right, hops + 1)
        case ast.Subscript(value=value, slice=inner):
            return _read_subscript(source, module, ast.unparse(value).removeprefix("typing."), inner, hops)
        case ast.Name() | ast.Attribute():
            return _read_name(source, module, ast.unparse(node), hops)
    return UNRESOLVED


def _read_name(source: Source, module: str, name: str, hops: int) -> Allowed:
    if name in _PLAIN:
        return Allowed({_PLAIN[name]})
    if name in _INEXPRESSIBLE:
        return Allowed()
    found = source.find(module, name)
    if found is None:
        return UNRESOLVED
    if isinstance(found.node, ast.ClassDef):
        return Allowed(resolved=False, owner=found if _refuses_strangers(found.node) else None)
    return read_annotation(source, found.module, found.node, hops + 1)


def _refuses_strangers(node: ast.ClassDef) -> bool:
    """Whether the class takes no member that it does not name: vLLM's `@config`, or a plain dataclass."""
    names = (ast.unparse(mark.func if isinstance(mark, ast.Call) else mark) for mark in node.decorator_list)
    return any(name.rsplit(".", 1)[-1] in ("config", "dataclass") for name in names)


def _read_subscript(source: Source, module: str, name: str, inner: ast.expr, hops: int) -> Allowed:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name in _PLAIN:
        return Allowed({_PLAIN[name]})
    if name in _INEXPRESSIBLE:
        return Allowed()
    if name in _TRANSPARENT:
        return read_annotation(source, module, parts[0], hops + 1)
    if name == "Literal":
        return _join(_read_literal(source, module, part, hops) for part in parts)
    if name in ("Optional", "Union"):
        read = _join(read_annotation(source, module, part, hops + 1) for part in parts)
        return read | Allowed({JsonType.NULL}) if name == "Optional" else read
    return UNRESOLVED


def _read_literal(source: Source, module: str, node: ast.expr, hops: int) -> Allowed:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Allowed({JsonType.NULL})
        return Allowed(choices=[node.value])
    return read_annotation(source, module, node, hops + 1)


def _join(parts) -> Allowed:
    joined = Allowed()
    for part in parts:
        joined |= part
    return joined
