"""The command `kubectl llm`, also `python -m triton_vllm_operator.cli`.

Exit codes: 0 accepted, 1 refused, 2 unreadable (also for wrong options). Of status: 0 ready, 1 not; of doctor: 1 if
something is missing.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from triton_vllm_operator.api.platform import Allow, Policy
from triton_vllm_operator.cli import offline, online, rollout_commands
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.cli.printing import Format
from triton_vllm_operator.repository.catalogue import Catalogue, load_catalogue
from triton_vllm_operator.sources.fault import SourceFault

UNREADABLE, INTERRUPTED = 2, 130
_DEEPEST_CALLS = 20_000
Command = Callable[[argparse.Namespace, Catalogue], tuple[int, str]]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return UNREADABLE
    options = parser.parse_args(arguments)
    # Faults of any JSON are looked at by functions that call themselves.
    sys.setrecursionlimit(_DEEPEST_CALLS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model says what a terminal may not be able to show.
        sys.stdout.reconfigure(errors="replace")
    try:
        # What the administrator of a cluster allows is not known here: it is a warning.
        allow = Allow(custom_images=True, token_endpoints=None, service_accounts=None, unknown_environment=True)
        catalogue = load_catalogue(getattr(options, "runtimes", None), Policy(allow=allow))
        run: Command = options.run
        code, text = run(options, catalogue)
        sys.stdout.write(text)
    except RecursionError:
        print("kubectl-llm: the file nests so deep that no API server would read it", file=sys.stderr)
        return UNREADABLE
    except BrokenPipeError:
        # Whoever reads has had enough; what Python still writes at its end goes nowhere.
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Unreadable, SourceFault, OSError, ValueError) as error:
        print(f"kubectl-llm: {error}", file=sys.stderr)
        return UNREADABLE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl-llm", description="LLMDeployments: before they are applied, and as they run."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_offline(commands)
    _add_online(commands)
    return parser


def _add_offline(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    rendering = commands.add_parser("render", help="print the model repository and all children")
    rendering.set_defaults(run=offline.render)
    explaining = commands.add_parser("explain", help="say whether it is accepted, and what a change of it does")
    explaining.add_argument("--against", metavar="OLD", help="file of the LLMDeployment as it is now")
    explaining.set_defaults(run=offline.explain_file)
    explaining.add_argument("--model", metavar="DIR", help="folder with config.json and *.safetensors: whether it fits")
    explaining.set_defaults(vllm_version=None, engine_only=False)
    planning = commands.add_parser("plan", help="say what an engine would do with the memory of a GPU")
    planning.set_defaults(run=offline.plan)
    planning.add_argument("-f", "--filename", help="file of the LLMDeployment, - for standard input")
    planning.add_argument("name", nargs="?", help="an LLMDeployment of the cluster: its plan against what was measured")
    planning.add_argument("-n", "--namespace", help="of that LLMDeployment")
    planning.add_argument("--model", metavar="DIR", help="folder with config.json and *.safetensors")
    for command in (explaining, planning):
        command.add_argument("--draft", metavar="DIR", help="the same of spec.engine.speculativeConfig.model")
        command.add_argument("--gpu", metavar="NAME", help="as H100-80GB, or a label nvidia.com/gpu.product")
        command.add_argument("--gpu-memory", metavar="BYTES", help="of a GPU that is not known, as CUDA says; or 24Gi")
        command.add_argument("--nodes", action="store_true", help="all GPUs of kubectl's cluster that the pods may get")
    planning.add_argument("--vllm-version", metavar="X", help="another vLLM than that of spec.runtime")
    planning.add_argument("--engine-only", action="store_true", help="without the memory that Triton takes for itself")
    planning.add_argument("-o", "--output", choices=(Format.TEXT.value, Format.JSON.value), default=Format.TEXT.value)
    planning.add_argument("--runtimes", type=Path, metavar="FILE", help="a runtime catalogue of your own")
    for command in (rendering, explaining):
        command.add_argument("-f", "--filename", required=True, help="file of the LLMDeployment, - for standard input")
        command.add_argument("-o", "--output", type=Format, choices=tuple(Format), default=Format.TEXT)
        command.add_argument(
            "--runtimes", type=Path, metavar="FILE", help="a runtime catalogue other than the one of this version"
        )


def _add_online(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    status = commands.add_parser("status", help="say how one of the cluster stands, and what its start took")
    status.set_defaults(run=online.status)
    status.add_argument("-w", "--watch", action="store_true", help="until it is ready")
    generating = commands.add_parser("generate", help="ask its model, and print the answer as it comes")
    generating.set_defaults(run=online.generate)
    generating.add_argument("--chat", action="store_true", help="as a message, by the model's own chat template")
    generating.add_argument("--max-tokens", type=int, default=256, metavar="N", help="of the answer; default 256")
    generating.add_argument("--temperature", type=float, metavar="T", help="0 is the likeliest answer")
    generating.add_argument("--adapter", metavar="NAME", help="a LoRA adapter of spec.model.loraAdapters")
    logging = commands.add_parser("logs", help="print what the engines of all of its pods say")
    logging.set_defaults(run=online.logs)
    logging.add_argument("-f", "--follow", action="store_true", help="go on as they say more")
    logging.add_argument("-p", "--previous", action="store_true", help="of the containers that ended before")
    logging.add_argument("--all", action="store_true", help="also what the server says")
    logging.add_argument("--tail", type=int, default=-1, metavar="N", help="the last lines of each pod alone")
    restarting = commands.add_parser("restart", help="replace its pods, one after the other")
    restarting.set_defaults(run=online.restart)
    _add_rollout(commands)
    doctor = commands.add_parser("doctor", help="say what the cluster lacks, and how to get it")
    doctor.set_defaults(run=online.doctor)
    for command in (status, generating, logging, restarting):
        command.add_argument("name", help="of the LLMDeployment")
    generating.add_argument("prompt", help="the text that the model continues, or answers with --chat")
    for command in (status, generating, logging, restarting):
        command.add_argument("-n", "--namespace", help="default: that of kubectl's context")


def _add_rollout(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    rollout = commands.add_parser("rollout", help="follow an update, list revisions, or go back to one")
    verbs = rollout.add_subparsers(required=True, metavar="VERB")
    following = verbs.add_parser("status", help="say how an update goes on, until it is over or stands still")
    following.set_defaults(run=rollout_commands.status)
    listing = verbs.add_parser("history", help="list the revisions that are kept, and what changed with each")
    listing.set_defaults(run=rollout_commands.history)
    undoing = verbs.add_parser("undo", help="write the spec as it was in an earlier revision")
    undoing.set_defaults(run=rollout_commands.undo)
    before = "as history lists it; default: the last that generated, or, if that runs, the one before it"
    undoing.add_argument("--to-revision", type=int, metavar="N", help=before)
    for verb in (following, listing, undoing):
        verb.add_argument("name", help="of the LLMDeployment")
        verb.add_argument("-n", "--namespace", help="default: that of kubectl's context")


if __name__ == "__main__":
    sys.exit(main())
