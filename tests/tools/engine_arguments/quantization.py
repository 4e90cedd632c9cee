"""Quantization methods: the compute capability that each needs, and those that a version calls deprecated."""

import ast

from tools.engine_arguments.source import Found, Source

_MODULE = "vllm.model_executor.layers.quantization"
_CHOOSER = "get_quantization_config"
_MINIMUM = "get_min_capability"
_DEPRECATED = "DEPRECATED_QUANTIZATION_METHODS"


def read_deprecated(source: Source) -> tuple[str, ...]:
    """What the version refuses until `allow_deprecated_quantization` is set."""
    found = source.find(_MODULE, _DEPRECATED)
    return tuple(map(str, ast.literal_eval(found.node))) if found and isinstance(found.node, ast.expr) else ()


def read_min_capabilities(source: Source) -> dict[str, int]:
    """Ten times the capability, as vLLM writes it (75 is 7.5), by method; those that could not be read are left out."""
    tree = source.tree(_MODULE)
    chooser = next((node for node in ast.walk(tree) if _is_function(node, _CHOOSER)), None) if tree else None
    if chooser is None:
        return {}
    modules = {
        alias.asname or alias.name: (source.absolute(_MODULE, node), alias.name)
        for node in ast.walk(chooser)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found: dict[str, int] = {}
    for table in (node for node in ast.walk(chooser) if isinstance(node, ast.Dict)):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Name) and value.id in modules:
                owner = source.find(*modules[value.id])
                capability = _capability(source, owner) if owner else None
                if capability is not None:
                    found[str(key.value)] = capability
    return found


def _capability(source: Source, owner: Found) -> int | None:
    if not isinstance(owner.node, ast.ClassDef):
        return None
    for found in source.bases(owner):
        assert isinstance(found.node, ast.ClassDef)
        for node in found.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == _MINIMUM:
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
                constant = returned[0] if len(returned) == 1 else None
                is_number = isinstance(constant, ast.Constant) and isinstance(constant.value, int)
                return constant.value if is_number else None
    return None


def _is_function(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name
