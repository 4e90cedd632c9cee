"""The node's network: one bridge for all pods, and nothing outside this machine."""

import json
from pathlib import Path
from typing import Final

from cluster import paths
from cluster.shell import run, succeeds

BRIDGE: Final = "tvo0"
# Not podman's own 10.88.0.0/16, whose bridge would take the routes, nor docker's 172.17.0.0/16.
NODE_ADDRESS: Final = "10.213.0.1"
POD_SUBNET: Final = "10.213.0.0/16"
SERVICE_SUBNET: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"

CNI_CONFIG: Final = paths.CONFIG / "cni"
_CNI_DATA: Final = paths.STATE / "cni"
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARDING_BEFORE: Final = paths.RUN / "ip_forward.before"


def bring_up() -> None:
    """Make the bridge with the node's address, and the configuration for pods.

    Raises:
        ClusterError: an `ip` command failed.
    """
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        run(["ip", "address", "add", f"{NODE_ADDRESS}/16", "dev", BRIDGE])
        run(["ip", "link", "set", BRIDGE, "up"])
    if not _FORWARDING_BEFORE.exists():
        _FORWARDING_BEFORE.write_text(_FORWARDING.read_text())
    _FORWARDING.write_text("1")
    CNI_CONFIG.mkdir(parents=True, exist_ok=True)
    config = {
        "cniVersion": "1.0.0",
        "name": "triton-vllm-operator",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_SUBNET, "rangeStart": "10.213.0.10", "gateway": NODE_ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(_CNI_DATA),
                },
            }
        ],
    }
    (CNI_CONFIG / "10-bridge.conflist").write_text(json.dumps(config))


def take_down() -> None:
    """Remove the bridge, the rules of kube-proxy and kubelet, and put forwarding back."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run(["ip", "link", "delete", BRIDGE])
    for family in ("ip", "ip6"):
        if succeeds(["nft", "list", "table", family, "kube-proxy"]):
            run(["nft", "delete", "table", family, "kube-proxy"])
    for tool in ("iptables", "ip6tables"):
        for table in ("mangle", "nat", "filter"):
            _remove_kubernetes_chains(tool, table)
    if _FORWARDING_BEFORE.exists():
        _FORWARDING.write_text(_FORWARDING_BEFORE.read_text())
        _FORWARDING_BEFORE.unlink()


def _remove_kubernetes_chains(tool: str, table: str) -> None:
    """kubelet and kube-proxy name all of their chains KUBE-..."""
    if not succeeds([tool, "-t", table, "-S", "KUBE-KUBELET-CANARY"]) and table != "filter":
        return
    rules = run([tool, "-t", table, "-S"]).splitlines()
    ours = [rule.split() for rule in rules if "KUBE-" in rule]
    for words in ours:
        if words[0] == "-A":
            run([tool, "-t", table, "-D", *words[1:]])
    for words in ours:
        if words[0] == "-N":
            run([tool, "-t", table, "-X", words[1]])
