"""Images: built by buildah from ordinary Dockerfiles, handed to containerd without a registry."""

import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import binaries, paths
from cluster.components import PAUSE_IMAGE
from cluster.errors import ClusterError
from cluster.progress import Steps, step
from cluster.shell import run, succeeds

_PREFIX: Final = "localhost/triton-vllm-operator"
BASE: Final = "docker.io/library/debian:bookworm-slim"
BASE_MARK: Final = paths.IMAGE_MARKS / "base"
"""Says that the base image was made here, and may be removed with the rest."""
_BUILDING: Final = threading.Lock()
"""One image at a time: they share layers, and the base."""
_HOST_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_MOUNTED_CERTIFICATES: Final = "/run/ca.crt"


@dataclass(frozen=True, slots=True)
class Image:
    """An image of this repository."""

    repository: str
    tag: str
    """Empty: the digest, so that another content is another image to Kubernetes."""
    dockerfile: str
    inputs: tuple[str, ...]
    """Files and folders, relative to the repository, that decide what is built."""
    arguments: tuple[tuple[str, str], ...] = ()
    needs: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        """The hash of everything that decides what is built."""
        total = hashlib.sha256(repr(self.arguments).encode())
        for path in _files(self.inputs):
            total.update(str(path.relative_to(paths.REPOSITORY)).encode() + b"\0" + path.read_bytes())
        for image in self.needs:
            total.update(image.digest.encode())
        return total.hexdigest()[:16]

    @property
    def name(self) -> str:
        """The full name."""
        return f"{_PREFIX}/{self.repository}:{self.tag or self.digest}"

    @property
    def mark(self) -> Path:
        """The file that says which content containerd holds under this name."""
        return paths.IMAGE_MARKS / self.repository


RUNTIME_CPU: Final = Image(
    "runtime-cpu", "0.32.0", "images/runtime-cpu/Dockerfile", ("images/runtime-cpu", "images/vllm-backend")
)
SMOLLM2: Final = Image(
    "smollm2-135m-instruct",
    "1",
    "images/smollm2/Dockerfile",
    ("images/smollm2",),
    arguments=(("CONVERTER", RUNTIME_CPU.name),),
)
OPERATOR: Final = Image(
    "operator",
    "",
    "images/operator/Dockerfile",
    ("images/operator", "operator", "requirements/operator.txt", "pyproject.toml"),
)
MODEL_TOOLS: Final = Image(
    "model-tools",
    "",
    "images/model-tools/Dockerfile",
    (
        "images/model-tools",
        "operator/triton_vllm_operator/sources",
        "operator/triton_vllm_operator/__init__.py",
        "operator/triton_vllm_operator/api/__init__.py",
        "operator/triton_vllm_operator/api/hub_names.py",
        "operator/triton_vllm_operator/api/lora.py",
        "operator/triton_vllm_operator/api/reasons.py",
        "operator/triton_vllm_operator/api/vllm_versions.py",
        "requirements/model-tools.txt",
    ),
)
ALL: Final = (OPERATOR, MODEL_TOOLS, RUNTIME_CPU, SMOLLM2)


def build(image: Image) -> None:
    """Build an image, on which no cluster has to run. What buildah has of it already is not built again.

    Raises:
        ClusterError: the build failed.
    """
    with _BUILDING:
        _ensure_base()
        _build(image, image.name, paths.REPOSITORY)


def is_marked(image: Image) -> bool:
    """Whether the image was once given to containerd as it is now; whether it still has it, containerd knows."""
    return image.mark.exists() and image.mark.read_text() == image.digest


def ensure_images(wanted: tuple[Image, ...] = ALL, prepare: Callable[[Image], None] = build) -> None:
    """Give containerd what it does not hold yet, once `prepare` has built it. The cluster must run.

    Raises:
        ClusterError: a build or an import failed.
    """
    stale = [image for image in wanted if not (is_marked(image) and image.name in _imported_names())]
    steps = Steps(len(stale), "image")
    for image in stale:
        with steps.step(f"building {image.name}"):
            prepare(image)
        with step(f"importing {image.name}"):
            _import(image.name)
        paths.IMAGE_MARKS.mkdir(parents=True, exist_ok=True)
        image.mark.write_text(image.digest)
    for image in stale:
        _forget_other_tags(image)


def check_images(wanted: tuple[Image, ...]) -> None:
    """See that containerd has the images of this tree: a pod that lacks one waits for it without an end.

    Raises:
        ClusterError: one is not there.
    """
    there = _imported_names()
    if missing := [image.name for image in wanted if image.name not in there]:
        raise ClusterError(
            f"the cluster has no image {', '.join(missing)}: python -m cluster images builds what is missing. Where it "
            "was there before, a run from another checkout has removed it: they share one cluster"
        )


def import_pause() -> None:
    """Give containerd the image that holds the namespaces of a pod."""
    if PAUSE_IMAGE in _imported_names():
        return
    container = run(["buildah", "from", "scratch"]).strip()
    try:
        run(["buildah", "copy", container, shutil.which("busybox") or "/bin/busybox", "/busybox"])
        run(["buildah", "config", "--entrypoint", '["/busybox", "sleep", "2147483647"]', container])
        run(["buildah", "commit", container, PAUSE_IMAGE])
    finally:
        run(["buildah", "rm", container])
    _import(PAUSE_IMAGE)


def _files(inputs: tuple[str, ...]) -> list[Path]:
    roots = [paths.REPOSITORY / name for name in inputs]
    found = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*"))]
    # What a build of the package leaves is not built into an image.
    left = ("__pycache__", ".egg-info")
    return sorted(file for file in found if file.is_file() and not any(part.endswith(left) for part in file.parts))


def ctr_command(*words: str | Path) -> list[str | Path]:
    """containerd's own command line, on the images of the cluster."""
    return [binaries.CTR.path, "--address", paths.CONTAINERD_SOCKET, "--namespace", "k8s.io", *words]


def _imported_names() -> list[str]:
    return run(ctr_command("images", "ls", "-q")).split()


def _forget_other_tags(image: Image) -> None:
    """Remove earlier builds of the same image: nothing runs them any more."""
    others = [n for n in _imported_names() if n.startswith(f"{_PREFIX}/{image.repository}:") and n != image.name]
    if others:
        run(ctr_command("images", "rm", *others))
    built = run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"]).split()
    for name in built:
        if name.startswith(f"{_PREFIX}/{image.repository}:") and name != image.name:
            succeeds(["buildah", "rmi", name])


def _ensure_base() -> None:
    """The base of all Dockerfiles under its usual name, made by Debian's own tool."""
    if succeeds(["buildah", "inspect", "--type", "image", BASE]):
        return
    with tempfile.TemporaryDirectory() as folder:
        run(["debootstrap", "--variant=minbase", "bookworm", folder])
        container = run(["buildah", "from", "scratch"]).strip()
        try:
            run(["buildah", "add", "--quiet", container, folder, "/"])
            run(["buildah", "commit", "--quiet", container, BASE])
            paths.IMAGE_MARKS.mkdir(parents=True, exist_ok=True)
            BASE_MARK.touch()
        finally:
            run(["buildah", "rm", container])


def import_as(image: Image, name: str, folder: Path) -> None:
    """Build an image of another tree, and give it to containerd under a name of its own.

    Raises:
        ClusterError: a build or an import failed.
    """
    if name not in _imported_names():
        _build(image, name, folder)
        _import(name)


def _build(image: Image, name: str, folder: Path) -> None:
    command: list[str | Path] = ["buildah", "build", "--pull-never", "--isolation", "chroot", "--layers"]
    # Where TLS is intercepted, pip inside the build needs the host's certificates.
    command += ["-v", f"{_HOST_CERTIFICATES}:{_MOUNTED_CERTIFICATES}:ro"]
    command += ["--build-arg", f"PIP_CERT={_MOUNTED_CERTIFICATES}"]
    for argument, value in image.arguments:
        command += ["--build-arg", f"{argument}={value}"]
    run([*command, "-t", name, "-f", image.dockerfile, "."], cwd=folder)


def _import(name: str) -> None:
    """Stream the image from buildah to containerd: a file between them would cost its size again."""
    with subprocess.Popen(
        ["buildah", "push", "--quiet", name, f"docker-archive:/dev/stdout:{name}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as push:
        taken = subprocess.run(
            ctr_command("images", "import", "--local", "-"), stdin=push.stdout, capture_output=True, check=False
        )
        said = push.stderr.read() if push.stderr else b""
    if push.returncode != 0 or taken.returncode != 0:
        text = (said + taken.stderr).decode(errors="replace")[-2000:]
        raise ClusterError(f"{name} could not be handed to containerd:\n{text}")
