"""The fields of AsyncEngineArgs, read off the source of one vLLM version."""

import ast
from collections.abc import Iterator

from tools.engine_arguments.annotations import UNRESOLVED, Allowed, read_annotation
from tools.engine_arguments.source import Found, Source
from triton_vllm_operator.repository.arguments import Argument, JsonType

_MODULE = "vllm.engine.arg_utils"
_BOUNDS = ("ge", "gt", "le", "lt")
_DEEPEST = 3


def argument_names(source: Source) -> tuple[str, ...]:
    """The names alone."""
    return tuple(field.target.id for field, _ in _fields(source))


def read_arguments(source: Source) -> dict[str, Argument]:
    """All arguments, in the order of the source."""
    return {field.target.id: _read_field(source, module, field) for field, module in _fields(source)}


def read_speculative_methods(source: Source) -> tuple[str, ...]:
    """What `speculative_config.method` may be; empty if that could not be read."""
    found = source.find(_MODULE, "SpeculativeConfig")
    field = _own_field(source, found, "method") if found and isinstance(found.node, ast.ClassDef) else None
    if field is None:
        return ()
    own, module = field
    allowed = read_annotation(source, module, own.annotation)
    is_closed = allowed.resolved and JsonType.STR not in allowed.types
    return tuple(choice for choice in allowed.choices if isinstance(choice, str)) if is_closed else ()


def _fields(source: Source) -> Iterator[tuple[ast.AnnAssign, str]]:
    found = source.find(_MODULE, "AsyncEngineArgs")
    if found is None:
        raise LookupError(f"{_MODULE} holds no AsyncEngineArgs")
    for owner in reversed(list(source.bases(found))):
        assert isinstance(owner.node, ast.ClassDef)
        for node in owner.node.body:
            if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
                yield node, owner.module


def _read_field(source: Source, module: str, field: ast.AnnAssign, depth: int = 0) -> Argument:
    allowed = read_annotation(source, module, field.annotation)
    value, bounds = field.value, _bounds(field.value)
    if (config := _config_field(source, module, field.value)) is not None:
        # What vLLM checks is the configuration's own field; the argument's annotation says what it is given.
        own, module = config
        allowed |= read_annotation(source, module, own.annotation)
        value, bounds = own.value, _bounds(own.value)
    default, known = _default(value)
    if known and default is None:
        allowed |= Allowed({JsonType.NULL})
    # Beside a class, some arguments take any object.
    owner = None if JsonType.OBJECT in allowed.types or depth == _DEEPEST else allowed.owner
    members = _read_members(source, owner, depth) if owner else None
    if not allowed.resolved:
        allowed = UNRESOLVED
    types = tuple(kind for kind in JsonType if kind in allowed.types)
    choices = tuple(allowed.choices)
    if types == (JsonType.NULL,) and not choices:
        types = ()
    return Argument(types=types, choices=choices, **bounds, default=default, default_known=known, members=members)


def _read_members(source: Source, owner: Found, depth: int) -> dict[str, Argument]:
    """The members of a class of configuration; of those that code of its own reads, the names alone."""
    read: dict[str, Argument] = {}
    handled: set[str] = set()
    for found in reversed(list(source.bases(owner))):
        assert isinstance(found.node, ast.ClassDef)
        handled |= _handled_members(found.node)
        for node in found.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_given(node):
                read[node.target.id] = _without_default(_read_field(source, found.module, node, depth + 1))
    return {name: Argument() if handled & {name, "*"} else argument for name, argument in read.items()}


def _without_default(argument: Argument) -> Argument:
    """vLLM's defaults of members are of no use here, and many are set by code."""
    return argument.model_copy(update={"default": None, "default_known": True})


def _is_given(node: ast.AnnAssign) -> bool:
    """Whether the constructor takes it."""
    if "ClassVar" in ast.unparse(node.annotation) or "InitVar" in ast.unparse(node.annotation):
        return False
    words = {word.arg: word.value for word in node.value.keywords} if isinstance(node.value, ast.Call) else {}
    init = words.get("init")
    return not (isinstance(init, ast.Constant) and init.value is False)


def _handled_members(node: ast.ClassDef) -> set[str]:
    """Members for which the class has validators that may take other values than the annotation says."""
    marks = [mark for part in node.body if isinstance(part, ast.FunctionDef) for mark in part.decorator_list]
    calls = [mark for mark in marks if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "field_validator"]
    return {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}


def _config_field(source: Source, module: str, value: ast.expr | None) -> tuple[ast.AnnAssign, str] | None:
    """The field of a configuration class that an argument takes its default from."""
    match value:
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            pass
        case ast.Call(func=ast.Name(id="get_field"), args=[ast.Name(id=owner), ast.Constant(value=str(name))]):
            pass
        case _:
            return None
    found = source.find(module, owner)
    if found is None or not isinstance(found.node, ast.ClassDef):
        return None
    return _own_field(source, found, name)


def _own_field(source: Source, found: Found, name: str) -> tuple[ast.AnnAssign, str] | None:
    for owner in source.bases(found):
        assert isinstance(owner.node, ast.ClassDef)
        for node in owner.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return node, owner.module
    return None


def _bounds(value: ast.expr | None) -> dict[str, float]:
    if not isinstance(value, ast.Call):
        return {}
    given = {word.arg: _constant(word.value) for word in value.keywords}
    return {name: bound for name in _BOUNDS if isinstance(bound := given.get(name), int | float)}


def _default(value: ast.expr | None) -> tuple[object, bool]:
    """The default as a JSON value, and whether it could be read."""
    if isinstance(value, ast.Call):
        words = {word.arg: word.value for word in value.keywords}
        if "default" in words:
            return _default(words["default"])
        if ast.unparse(words.get("default_factory", ast.Constant(value=0))) in ("dict", "list", "set"):
            return ({}, True) if ast.unparse(words["default_factory"]) == "dict" else ([], True)
        if value.args and ast.unparse(value.func) == "Field":
            return _default(value.args[0])
        return None, False
    read = _constant(value)
    return (None, False) if read is ... else (read, True)


def _constant(node: ast.expr | None) -> object:
    """The value of a literal; an ellipsis where it is none, or no JSON."""
    try:
        value = ast.literal_eval(node) if node is not None else ...
    except ValueError:
        return ...
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else ...
