"""The cluster with the images of this tree, made of what the machine has of it already."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from cluster import node
from cluster.errors import ClusterError
from cluster.images import ALL, Image, build, ensure_images, is_marked
from cluster.progress import say

_WORTH_SAYING_SECONDS: Final = 2.0


def bring_up(wanted: tuple[Image, ...] = ALL) -> None:
    """Start the cluster and give it the images.

    What no cluster is needed for is done meanwhile: Go compiles on all processors, and an image is mostly
    downloaded and unpacked, on one.

    Raises:
        ClusterError: this machine cannot run the cluster, or something could not be built or started.
    """
    node.prepare_packages()
    with ThreadPoolExecutor(1, "images") as pool:
        # One after another: some are built from others.
        builds = {image: pool.submit(_build_aside, image) for image in wanted if not is_marked(image)}
        try:
            node.start()
            ensure_images(wanted, lambda image: _finish(builds.get(image), image))
        except ClusterError as error:
            say(f"error: {error}\nthe image that is being built is awaited")
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _build_aside(image: Image) -> None:
    began = time.monotonic()
    try:
        build(image)
    except ClusterError:
        say(f"{image.name} could not be built, which is told once the cluster has started")
        raise
    if (took := time.monotonic() - began) > _WORTH_SAYING_SECONDS:
        say(f"built meanwhile: {image.name}: {took:.1f} s")


def _finish(building: Future[None] | None, image: Image) -> None:
    if building is not None:
        building.result()
    # What it is built from may have changed since; what did not is not built again.
    build(image)
