"""Names of a Python package, looked up in its source. Nothing is imported."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_HOPS = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for, and the module in which it is written."""

    node: ast.expr | ast.ClassDef
    module: str


class Source:
    """The modules of one package version."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read = read
        self._modules: dict[str, dict[str, ast.AST] | None] = {}

    def find(self, module: str, name: str, hops: int = 0) -> Found | None:
        """What `name` stands for in `module`; imports are followed, None where they leave the package."""
        symbols = self._symbols(module)
        node = symbols.get(name) if symbols else None
        if isinstance(node, ast.ClassDef | ast.expr):
            return Found(node, module)
        if isinstance(node, ast.ImportFrom) and hops < MAX_HOPS:
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            return self.find(self.absolute(module, node), original, hops + 1)
        return None

    def bases(self, found: Found) -> Iterator[Found]:
        """The class itself, then its base classes."""
        yield found
        assert isinstance(found.node, ast.ClassDef)
        for base in found.node.bases:
            parent = self.find(found.module, base.id) if isinstance(base, ast.Name) else None
            if parent is not None and isinstance(parent.node, ast.ClassDef):
                yield from self.bases(parent)

    def absolute(self, module: str, node: ast.ImportFrom) -> str:
        """The module that an import in `module` names."""
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        package = parts if self._read(f"{'/'.join(parts)}/__init__.py") is not None else parts[:-1]
        kept = package[: len(package) - (node.level - 1)]
        return ".".join([*kept, node.module] if node.module else kept)

    def _symbols(self, module: str) -> dict[str, ast.AST] | None:
        if module not in self._modules:
            tree = self.tree(module)
            self._modules[module] = None if tree is None else dict(_symbols(tree.body))
        return self._modules[module]

    def tree(self, module: str) -> ast.Module | None:
        """A whole module; None if the package does not hold it."""
        path = module.replace(".", "/")
        text = self._read(f"{path}.py") or self._read(f"{path}/__init__.py")
        return None if text is None else ast.parse(text)


def _symbols(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.ClassDef(name=name):
                yield name, node
            case ast.ImportFrom(names=aliases):
                yield from ((alias.asname or alias.name, node) for alias in aliases)
            case ast.If(body=inner):
                # `if TYPE_CHECKING: from x import Y`, `else: Y = Any`: the first is what is meant.
                yield from _symbols(inner)
