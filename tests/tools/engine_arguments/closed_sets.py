"""Arguments that are annotated as text, and of which vLLM's source lists all that it takes in a table elsewhere."""

import ast
from dataclasses import dataclass

from tools.engine_arguments.source import Source
from triton_vllm_operator.repository.arguments import Argument, JsonType


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """Where the names stand: the keys of a dictionary, or the members of an enumeration."""

    module: str
    table: str
    others: tuple[str, ...] = ()
    """What is taken beside them."""
    any_case: bool = False
    """Whether vLLM reads them in small and in capital letters."""


_SETS = {
    "load_format": ClosedSet("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER", any_case=True),
    "tokenizer_mode": ClosedSet("vllm.tokenizers.registry", "_VLLM_TOKENIZERS", ("auto", "slow"), any_case=True),
    "reasoning_parser": ClosedSet("vllm.reasoning", "_REASONING_PARSERS_TO_REGISTER", ("",)),
    "config_format": ClosedSet("vllm.transformers_utils.config", "_CONFIG_FORMAT_TO_CONFIG_PARSER", ("auto",)),
    "attention_backend": ClosedSet("vllm.v1.attention.backends.registry", "AttentionBackendEnum", any_case=True),
}
# The same choice as a member of an object.
_MEMBERS = {("attention_config", "backend"): "attention_backend"}
_CONFIG, _VALIDATOR = "vllm.config.attention", "validate_backend_before"


def close_sets(source: Source, arguments: dict[str, Argument]) -> dict[str, Argument]:
    """The arguments, those of the table with what they take."""
    names = {argument: _names(source, argument) for argument in _SETS}
    closed = {
        name: _close(argument, names[name], _SETS[name]) if names.get(name) else argument
        for name, argument in arguments.items()
    }
    for (name, member), alike in _MEMBERS.items():
        members = closed[name].members if name in closed else None
        if members and member in members and names[alike]:
            members = members | {member: _close(members[member], names[alike], _SETS[alike])}
            closed[name] = closed[name].model_copy(update={"members": members})
    return closed


def _close(argument: Argument, choices: tuple[str, ...], where: ClosedSet) -> Argument:
    types = tuple(kind for kind in argument.types if kind is not JsonType.STR)
    if argument.default is None and JsonType.NULL not in types:
        types = (*types, JsonType.NULL)
    return argument.model_copy(update={"types": types, "choices": choices, "any_case": where.any_case})


def _names(source: Source, argument: str) -> tuple[str, ...]:
    """What is listed; empty if the version has no such table, or fills it in another way."""
    where = _SETS[argument]
    found = source.find(where.module, where.table)
    if found is None:
        return ()
    if isinstance(found.node, ast.ClassDef):
        targets = [target for part in found.node.body if isinstance(part, ast.Assign) for target in part.targets]
        listed = [target.id for target in targets if isinstance(target, ast.Name)]
    elif isinstance(found.node, ast.Dict):
        listed = [str(key.value) for key in found.node.keys if isinstance(key, ast.Constant)]
        if len(listed) < len(found.node.keys):
            return ()
    else:
        return ()
    return (*listed, *where.others, *_auto(source, argument)) if listed else ()


def _auto(source: Source, argument: str) -> tuple[str, ...]:
    """Where the code that reads the text knows `auto` as well."""
    tree = source.tree(_CONFIG) if argument == "attention_backend" else None
    nodes = ast.walk(tree) if tree else ()
    readers = (node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == _VALIDATOR)
    texts = (part.value for reader in readers for part in ast.walk(reader) if isinstance(part, ast.Constant))
    return ("auto",) if "auto" in texts else ()
