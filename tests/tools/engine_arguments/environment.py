"""The environment variables that vLLM itself names, read off `vllm/envs.py`."""

import ast
from collections.abc import Iterator

from tools.engine_arguments.source import Source
from triton_vllm_operator.repository.arguments import Form, Variable

_MODULE = "vllm.envs"
_TABLE = "environment_variables"
_CHOICES = "env_with_choices"
_GETTERS = ("os.getenv", "os.environ.get")


def read_environment(source: Source) -> dict[str, Variable]:
    """Every variable, in the order of the source, with its choices where the source lists them."""
    return dict(_variables(source))


def _variables(source: Source) -> Iterator[tuple[str, Variable]]:
    found = source.find(_MODULE, _TABLE)
    if found is None or not isinstance(found.node, ast.Dict):
        raise LookupError(f"{_MODULE} holds no {_TABLE}")
    for name, read in zip(found.node.keys, found.node.values, strict=True):
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value, Variable(form=_form(read), choices=_choices(read))


def _form(read: ast.expr) -> Form | None:
    """Of `bool(int(os.getenv(name, default)))` and the like: whatever the text is, it is read as a number."""
    match read:
        case ast.Lambda(body=ast.Call(func=ast.Name("bool"), args=[ast.Call(func=ast.Name("int"), args=[text])])):
            form = Form.FLAG
        case ast.Lambda(body=ast.Call(func=ast.Name("int"), args=[text])):
            form = Form.INT
        case ast.Lambda(body=ast.Call(func=ast.Name("float"), args=[text])):
            form = Form.FLOAT
        case _:
            return None
    return form if isinstance(text, ast.Call) and ast.unparse(text.func) in _GETTERS else None


def _choices(read: ast.expr) -> tuple[str, ...]:
    """Of `env_with_choices(name, default, choices, case_sensitive)`; where case is no matter there are too many."""
    if not isinstance(read, ast.Call) or ast.unparse(read.func) != _CHOICES or len(read.args) < 3:
        return ()
    free_case = any(word.arg == "case_sensitive" and ast.unparse(word.value) == "False" for word in read.keywords)
    listed = read.args[2]
    if free_case or not isinstance(listed, ast.List):
        return ()
    values = [item.value for item in listed.elts if isinstance(item, ast.Constant)]
    return tuple(map(str, values)) if len(values) == len(listed.elts) else ()
