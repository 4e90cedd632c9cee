"""Single files out of a published wheel, by ranges: a vLLM wheel is half a gigabyte, its arguments are 1 MB."""

import io
import json
import ssl
import subprocess
import sys
import urllib.request
import zipfile
from dataclasses import dataclass

# pip matches these exactly; the newest that a published vLLM wheel bears comes first.
_GLIBC = (39, 38, 35, 34, 31, 28, 27, 17)
_PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC), "manylinux2014_x86_64", "manylinux1_x86_64")
_READ_AHEAD = 1 << 18


@dataclass(frozen=True, slots=True)
class WheelLink:
    """Where pip would download a wheel from, and what it must be."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def find_wheel(package: str, version: str) -> WheelLink:
    """Ask pip which wheel it would install.

    Raises:
        LookupError: pip finds none; the text has pip's own words.
    """
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", "--no-deps"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--target", "unused"]
    command += ["--python-version", "3.12", "--implementation", "cp", *platforms, f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LookupError(f"pip finds no wheel of {package} {version}: {done.stderr.strip()}")
    info = json.loads(done.stdout)["install"][0]["download_info"]
    return WheelLink(info["url"], info["archive_info"]["hashes"]["sha256"])


class RemoteWheel:
    """A wheel whose files are read where it lies. Nothing of it is run or installed."""

    def __init__(self, link: WheelLink) -> None:
        self._archive = zipfile.ZipFile(io.BufferedReader(_Ranges(link.url), _READ_AHEAD))
        self._names = frozenset(self._archive.namelist())

    def read(self, path: str) -> str | None:
        """The text of one file; None if the wheel does not hold it."""
        return self._archive.read(path).decode() if path in self._names else None


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
