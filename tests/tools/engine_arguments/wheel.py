"""The Python sources of a published wheel, by ranges: a vLLM wheel is half a gigabyte, its sources are 10 MB."""

import io
import json
import re
import ssl
import subprocess
import sys
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

# pip matches these exactly; the newest that a published vLLM wheel bears comes first.
_GLIBC = (39, 38, 35, 34, 31, 28, 27, 17)
_PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC), "manylinux2014_x86_64", "manylinux1_x86_64")
_READ_AHEAD = 1 << 22


@dataclass(frozen=True, slots=True)
class WheelLink:
    """Where pip would download a wheel from, and what it must be."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def find_wheel(package: str, version: str | None) -> WheelLink:
    """Ask pip which wheel it would install; without a version, the newest.

    Raises:
        LookupError: pip finds none; the text has pip's own words.
    """
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", "--no-deps"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--target", "unused"]
    wanted = f"{package}=={version}" if version else package
    command += ["--python-version", "3.12", "--implementation", "cp", *platforms, wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LookupError(f"pip finds no wheel of {package} {version}: {done.stderr.strip()}")
    info = json.loads(done.stdout)["install"][0]["download_info"]
    return WheelLink(info["url"], info["archive_info"]["hashes"]["sha256"])


def read_sources(link: WheelLink, package: str, kept: Path) -> dict[str, str]:
    """The Python sources of a package in a wheel, by their paths; from the file `kept` once they were read."""
    if not kept.is_file():
        archive = zipfile.ZipFile(io.BufferedReader(_Ranges(link.url), _READ_AHEAD))
        members = (info for info in archive.infolist() if re.match(rf"{package}/.*\.py$", info.filename))
        # In the order of the archive, so that what is read ahead is used.
        texts = {info.filename: archive.read(info) for info in sorted(members, key=lambda info: info.header_offset)}
        with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as copy:
            for name, text in texts.items():
                copy.writestr(name, text)
    with zipfile.ZipFile(kept) as copy:
        return {name: copy.read(name).decode() for name in copy.namelist()}


class _Ranges(io.RawIOBase):
    """A file behind HTTP that answers ranges."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._context = ssl.create_default_context()
        self._position = 0
        with self._open({}, "HEAD") as response:
            self._size = int(response.headers["Content-Length"])

    def _open(self, headers: dict[str, str], method: str = "GET"):
        request = urllib.request.Request(self._url, headers=headers, method=method)
        return urllib.request.urlopen(request, context=self._context)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        return self._position

    def readinto(self, buffer) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        with self._open({"Range": f"bytes={self._position}-{end - 1}"}) as response:
            data = response.read(end - self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
