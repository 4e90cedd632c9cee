"""The command line of the local cluster."""

import argparse
import sys
from pathlib import Path

from cluster import node, paths
from cluster.bring_up import bring_up
from cluster.errors import ClusterError
from cluster.progress import say


def main(arguments: list[str]) -> int:
    """Do one thing with the cluster; 1 if it failed, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="install packages and build programs, start nothing")
    commands.add_parser("start", help="start the cluster, building what is missing")
    commands.add_parser("images", help="build the images and give them to the cluster")
    stopping = commands.add_parser("stop", help="stop the cluster")
    stopping.add_argument("--delete-data", action="store_true", help="delete what the cluster stored")
    commands.add_parser("status", help="say what runs; exit 1 if the node is not ready")
    logs = commands.add_parser("logs", help="collect logs and the state of all objects")
    logs.add_argument("folder", type=Path)
    commands.add_parser("clean", help="stop, and remove built programs and images")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except ClusterError as error:
        say(f"error: {error}")
        return 1


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "prepare":
            node.prepare()
        case "start":
            node.start()
            say(f"the cluster is ready: export KUBECONFIG={paths.KUBECONFIG}")
        case "images":
            bring_up()
        case "stop":
            node.stop(options.delete_data)
        case "status":
            print("\n".join(node.status()))
            return 0 if node.is_ready() else 1
        case "logs":
            node.collect_logs(options.folder)
        case "clean":
            node.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
