"""The command line and configuration of every component."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import binaries, network, paths
from cluster.checks import CNI_PLUGIN
from cluster.pki import Authority, Pair, write_kubeconfig

NODE: Final = "local"
API_PORT: Final = 16443
ETCD_PORT: Final = 12379
DNS_PORT: Final = 53
DNS_USER: Final = "system:coredns"
_FRONT_PROXY: Final = "front-proxy-client"
_CLUSTER_DOMAIN: Final = "cluster.local"
PAUSE_IMAGE: Final = "localhost/triton-vllm-operator/pause:1"
SERVER: Final = f"https://127.0.0.1:{API_PORT}"

PORTS: Final = {
    "etcd": ("127.0.0.1", ETCD_PORT),
    "kube-apiserver": ("127.0.0.1", API_PORT),
    # The node's address does not exist yet when the ports are checked.
    "kubelet": ("0.0.0.0", 10250),
}

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything that the components authenticate with."""

    authority: Pair
    apiserver: Pair
    front_proxy: Pair
    kubelet_client: Pair
    service_accounts: Pair
    controller_manager: Path
    scheduler: Path
    kubelet: Path
    proxy: Path
    dns: Path


def issue_credentials() -> Credentials:
    """Certificates and kubeconfigs of a new cluster."""
    authority = Authority(paths.PKI)
    hosts = ("127.0.0.1", network.NODE_ADDRESS, network.API_SERVICE_ADDRESS, "kubernetes.default.svc", "localhost")

    def kubeconfig(name: str, user: str, group: str | None = None) -> Path:
        path = paths.CONFIG / f"{name}.kubeconfig"
        write_kubeconfig(path, SERVER, authority.pair.certificate, authority.issue(name, user, group))
        return path

    kubeconfig("admin", "admin", "system:masters")
    return Credentials(
        authority=authority.pair,
        apiserver=authority.issue("apiserver", "kube-apiserver", hosts=hosts),
        front_proxy=authority.issue("front-proxy", _FRONT_PROXY),
        kubelet_client=authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        service_accounts=authority.service_account_keys(),
        controller_manager=kubeconfig("controller-manager", "system:kube-controller-manager"),
        scheduler=kubeconfig("scheduler", "system:kube-scheduler"),
        kubelet=kubeconfig("kubelet", f"system:node:{NODE}", "system:nodes"),
        proxy=kubeconfig("proxy", "system:kube-proxy"),
        dns=kubeconfig("coredns", DNS_USER),
    )


def etcd() -> Command:
    """etcd, without fsync: the data of a test cluster may be lost with the machine."""
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_PORT + 1}"
    return [
        binaries.ETCD.path,
        f"--data-dir={paths.STATE / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def apiserver(credentials: Credentials) -> Command:
    """kube-apiserver, with an audit log of every write."""
    policy = paths.CONFIG / "audit-policy.yaml"
    writes = ["create", "update", "patch", "delete", "deletecollection"]
    policy.write_text(
        json.dumps(
            {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived"],
                "rules": [
                    # Leases of the node and the control plane's own traffic would drown the rest.
                    {"level": "None", "userGroups": ["system:nodes"]},
                    {"level": "None", "users": ["system:kube-scheduler", "system:kube-controller-manager"]},
                    # All that the operator asks for: its rights are compared with it.
                    {"level": "Metadata", "userGroups": ["system:serviceaccounts:triton-vllm-system"]},
                    {"level": "Metadata", "verbs": writes},
                    {"level": "None"},
                ],
            }
        )
    )
    return [
        binaries.APISERVER.path,
        f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={network.NODE_ADDRESS}",
        f"--service-cluster-ip-range={network.SERVICE_SUBNET}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # Without this, `kubectl logs` looks the node's name up in a DNS that is not there.
        "--kubelet-preferred-address-types=InternalIP",
        f"--client-ca-file={credentials.authority.certificate}",
        f"--tls-cert-file={credentials.apiserver.certificate}",
        f"--tls-private-key-file={credentials.apiserver.key}",
        # APIs of others, as that of metrics: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
        f"--requestheader-client-ca-file={credentials.authority.certificate}",
        f"--requestheader-allowed-names={_FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={credentials.front_proxy.certificate}",
        f"--proxy-client-key-file={credentials.front_proxy.key}",
        "--enable-aggregator-routing",
        f"--kubelet-client-certificate={credentials.kubelet_client.certificate}",
        f"--kubelet-client-key={credentials.kubelet_client.key}",
        f"--service-account-key-file={credentials.service_accounts.certificate}",
        f"--service-account-signing-key-file={credentials.service_accounts.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={paths.AUDIT_LOG}",
    ]


def controller_manager(credentials: Credentials) -> Command:
    """kube-controller-manager."""
    return [
        binaries.CONTROLLER_MANAGER.path,
        f"--kubeconfig={credentials.controller_manager}",
        f"--service-account-private-key-file={credentials.service_accounts.key}",
        f"--root-ca-file={credentials.authority.certificate}",
        "--use-service-account-credentials",
        "--leader-elect=false",
    ]


def scheduler(credentials: Credentials) -> Command:
    """kube-scheduler."""
    return [binaries.SCHEDULER.path, f"--kubeconfig={credentials.scheduler}", "--leader-elect=false"]


def containerd() -> Command:
    """containerd; its images outlive the cluster, its running state does not."""
    paths.CONFIG.mkdir(parents=True, exist_ok=True)
    config = paths.CONFIG / "containerd.toml"
    config.write_text(
        f"""\
version = 3
root = "{paths.IMAGE_STORE}"
state = "{paths.RUN}/containerd"

[grpc]
address = "{paths.CONTAINERD_SOCKET}"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
# So that whoever cleans up can tell our network namespaces from others.
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{CNI_PLUGIN.parent}"]
conf_dir = "{network.CNI_CONFIG}"
"""
    )
    return [binaries.CONTAINERD.path, f"--config={config}"]


def kubelet(credentials: Credentials) -> Command:
    """kubelet, on cgroup v1 as well as v2."""
    config = paths.CONFIG / "kubelet.yaml"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": network.NODE_ADDRESS,
                "healthzBindAddress": "127.0.0.1",
                "authentication": {"x509": {"clientCAFile": str(credentials.authority.certificate)}},
                "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
                "cgroupDriver": "cgroupfs",
                "failCgroupV1": False,
                "failSwapOn": False,
                "resolvConf": "",
                "clusterDNS": [network.NODE_ADDRESS],
                "clusterDomain": _CLUSTER_DOMAIN,
                "registerNode": True,
                # No registry holds these images: none may be collected, and a full disk is named by us.
                "imageGCHighThresholdPercent": 100,
                "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
                "makeIPTablesUtilChains": False,
                "shutdownGracePeriod": "0s",
            }
        )
    )
    return [
        binaries.KUBELET.path,
        f"--config={config}",
        f"--kubeconfig={credentials.kubelet}",
        f"--root-dir={paths.KUBELET_ROOT}",
        f"--hostname-override={NODE}",
        f"--node-ip={network.NODE_ADDRESS}",
    ]


def kube_proxy(credentials: Credentials) -> Command:
    """kube-proxy; masquerading lets a pod reach a Service whose pod is on the same bridge."""
    return [
        binaries.KUBE_PROXY.path,
        f"--kubeconfig={credentials.proxy}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={network.POD_SUBNET}",
        f"--hostname-override={NODE}",
        "--masquerade-all",
        "--conntrack-max-per-core=0",
    ]


def coredns(credentials: Credentials) -> Command:
    """CoreDNS on the node's address: it answers names of this cluster, and knows no others."""
    config = paths.CONFIG / "Corefile"
    config.write_text(
        f"""\
.:{DNS_PORT} {{
    bind {network.NODE_ADDRESS}
    errors
    cache 5
    kubernetes {_CLUSTER_DOMAIN} {{
        kubeconfig {credentials.dns}
    }}
}}
"""
    )
    return [binaries.COREDNS.path, f"-conf={config}"]
