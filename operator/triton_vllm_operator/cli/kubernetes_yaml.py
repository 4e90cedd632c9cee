"""YAML as kubectl reads it, which is not quite as PyYAML does: 1e3 is a number, 1:30 and 2026-01-01 are texts.

The rules are those of sigs.k8s.io/yaml/goyaml.v2 (resolve.go); tests/e2e/test_yaml.py holds them to kubectl.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import yaml

_PLAIN: Final = "tag:triton-vllm.dev,2026:plain"
_MERGE: Final = "tag:yaml.org,2002:merge"
_LONGEST_PLAIN: Final = 1e21
_DEEPEST: Final = 10_000
"""What the API server's JSON reader takes."""
_FEW_NODES: Final = 400_000
_MANY_NODES: Final = 4_000_000
_REPEATED_OF_FEW: Final = 0.99
_REPEATED_OF_MANY: Final = 0.10
"""Above which share of aliases' nodes goyaml refuses a document: decode.go, allowedAliasRatio."""
_TRUE: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE: Final = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_INFINITE: Final = frozenset(
    f"{sign}{word}" for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
) | frozenset((".nan", ".NaN", ".NAN"))
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_HALF: Final = re.compile("[\ud800-\udfff]")
_INT: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")


class NotKubernetesYaml(yaml.YAMLError):
    """YAML that kubectl does not take."""


class Loader(yaml.SafeLoader):
    """Reads documents into what JSON can say."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Scalars without quotes and without a tag are told apart below, by no expression of PyYAML's."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _MERGE if value == "<<" else _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def construct_document(self, node: yaml.Node) -> Any:
        """One document; what its aliases stand for counts, since every reader walks through it."""
        with_aliases = _Count().of(node)
        _refuse_bombs(with_aliases.total, with_aliases.repeated)
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; a key that comes twice is an error, as for kubectl."""
        own = (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        if (twice := _find_twice(own)) is not None:
            raise NotKubernetesYaml(f"key {twice!r} stands twice in one mapping, line {node.start_mark.line + 1}")
        read = super().construct_mapping(node, deep)
        return {key if isinstance(key, str) else _key(key): value for key, value in read.items()}


@dataclass(frozen=True)
class _Nodes:
    total: int
    """All nodes, those of an anchor again for each alias."""
    repeated: int
    """Those of them that stand there for an alias."""


class _Count:
    """Counts nodes, and walks through each anchor once only."""

    def __init__(self) -> None:
        self._counted: dict[int, _Nodes] = {}
        self._open: set[int] = set()

    def of(self, node: yaml.Node) -> _Nodes:
        """The nodes of a tree.

        Raises:
            NotKubernetesYaml: an anchor holds itself.
        """
        if id(node) in self._open:
            raise NotKubernetesYaml(f"the anchor in line {node.start_mark.line + 1} holds itself")
        if known := self._counted.get(id(node)):
            return _Nodes(known.total, known.total)
        self._open.add(id(node))
        parts = [self.of(part) for part in _parts(node)]
        self._open.remove(id(node))
        counted = _Nodes(1 + sum(part.total for part in parts), sum(part.repeated for part in parts))
        self._counted[id(node)] = counted
        return counted


def _parts(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return itertools.chain.from_iterable(node.value)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _refuse_bombs(total: int, repeated: int) -> None:
    """As goyaml does: the more nodes there are, the fewer of them may be repetitions."""
    beyond = min(max(total - _FEW_NODES, 0) / (_MANY_NODES - _FEW_NODES), 1)
    allowed = _REPEATED_OF_FEW - (_REPEATED_OF_FEW - _REPEATED_OF_MANY) * beyond
    if repeated > 100 and total > 1000 and repeated / total > allowed:
        raise NotKubernetesYaml("its aliases repeat too much of it: kubectl calls that excessive aliasing")


def _find_twice(keys: Iterable[str]) -> str | None:
    return next((key for key, count in Counter(keys).items() if count > 1), None)


def _key(key: object) -> str:
    """Keys of JSON are texts."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _construct_plain(loader: Loader, node: yaml.ScalarNode) -> object:
    return resolve_plain(str(loader.construct_scalar(node)))


def resolve_plain(text: str) -> object:
    """What a scalar without quotes stands for."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text in _INFINITE:
        raise NotKubernetesYaml(f"{text} is no number of JSON")
    digits = text if text.startswith("_") else text.replace("_", "")
    if _INT.fullmatch(digits):
        return _integer(digits)
    return _float(digits, text) if _FLOAT.fullmatch(digits) else text


def _float(digits: str, text: str) -> float | int | str:
    value = float(digits)
    if math.isinf(value):
        return text
    # JSON, which everything becomes, writes them without a fraction.
    return int(value) if value.is_integer() and abs(value) < _LONGEST_PLAIN else value


def _integer(digits: str) -> int:
    sign, number = (-1, digits[1:]) if digits.startswith("-") else (1, digits.removeprefix("+"))
    if len(number) > 1 and number[0] == "0" and number[1].isdigit():
        return sign * int(number, 8)
    return sign * int(number, 0)


def _construct_text(loader: Loader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    if _HALF.search(text):
        raise NotKubernetesYaml(f"line {node.start_mark.line + 1} holds half a character")
    return text


def _construct_number(loader: Loader, node: yaml.ScalarNode) -> object:
    value = resolve_plain(str(loader.construct_scalar(node)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotKubernetesYaml(f"line {node.start_mark.line + 1} holds no number")
    return value


def _refuse_tag(_loader: Loader, node: yaml.Node) -> object:
    raise NotKubernetesYaml(f"{node.tag} in line {node.start_mark.line + 1} has no meaning in JSON: write a text")


Loader.add_constructor(_PLAIN, _construct_plain)
Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)
Loader.add_constructor("tag:yaml.org,2002:float", _construct_number)
for _tag in ("timestamp", "binary", "set", "omap", "pairs"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refuse_tag)


def _nesting(text: str) -> int:
    """How deep brackets nest, at most: those in texts are counted too."""
    steps = ((character in "[{") - (character in "]}") for character in text)
    return max(itertools.accumulate(steps), default=0)


def _read_json(text: str) -> Any:
    """What kubectl takes for JSON by its first brace; None if it is none, and may be YAML."""
    try:
        read = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=lambda number: _float(number, number),
            parse_constant=_refuse_constant,
        )
    except ValueError:
        return None
    if _HALF.search(json.dumps(read, ensure_ascii=False)):
        raise NotKubernetesYaml("a text holds half a character")
    return read


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (twice := _find_twice(name for name, _ in pairs)) is not None:
        raise NotKubernetesYaml(f"key {twice!r} stands twice in one object")
    return dict(pairs)


def _refuse_constant(word: str) -> None:
    raise NotKubernetesYaml(f"{word} is no number of JSON")


def read_documents(text: str) -> list[Any]:
    """All documents that are not empty.

    Raises:
        yaml.YAMLError: the text is no YAML, or not such as kubectl takes.
        RecursionError: it nests too deep.
    """
    if text.count("[") + text.count("{") > _DEEPEST and _nesting(text) > _DEEPEST:
        raise RecursionError
    if text.lstrip().startswith("{") and (read := _read_json(text)) is not None:
        return [read]
    # The loader is a SafeLoader: it makes nothing but what JSON can say.
    return [document for document in yaml.load_all(text, Loader=Loader) if document is not None]
