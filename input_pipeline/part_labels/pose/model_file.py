"""Finding the pose network: a `.tflite` file, or one inside an archive that people have."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import reading, user_path

_SUFFIX = ".tflite"
_MARK = "pose_landmark"  # in the name of the file that is wanted, where there are several
_USUAL = "pose_landmark_full.tflite"
_LARGEST_MODEL = 200_000_000  # bytes
_LARGEST_ARCHIVE = 2_000_000_000  # bytes of an archive that are unpacked to find it
_MAGIC = b"TFL3"  # at byte 4

HOW_TO_GET = (
    "by pip: `pip download --no-deps --python-version 3.11 --only-binary=:all: "
    "mediapipe==0.10.21`, and give the .whl (it is read, never installed)",
    "by npm: `npm pack @mediapipe/pose@0.5.1675469404`, and give the .tgz",
)
"""The two ways to a model file, a line each."""


@dataclasses.dataclass(frozen=True)
class PoseModel:
    """A pose network.

    Attributes:
        name: Its file name.
        data: The file.
        sha256: Its digest, 64 hexadecimal digits.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)
    sha256: str


def find_pose_model(place: str | pathlib.Path) -> PoseModel:
    """Reads the pose network from a file.

    Args:
        place: A `.tflite` file, or a `.task`, `.whl`, `.zip`, `.tgz`, `.tar.gz` or `.tar` that
            holds one. `archive/path/of/member.tflite` names one of several; otherwise
            `pose_landmark_full.tflite` is taken, or the only one.

    Raises:
        UserError: None is given, or there is no such file; the message says how to get one.
        DataError: The file is damaged, or holds no such network.
    """
    if not str(place).strip():
        raise UserError("a pose network is needed, and none is named:", details=HOW_TO_GET)
    path, member = _split(user_path(place))
    if path is None:
        raise UserError(f"there is no pose network {place}. Get one", details=HOW_TO_GET)
    with reading(path, what="pose network", advice="get the file again, or give another one"):
        with path.open("rb") as file:
            head = file.read(8)
        if head[4:8] == _MAGIC:
            return _model(path.name, _read_bounded(path))
        if zipfile.is_zipfile(path):
            return _from_archive(path, member, _zip_members)
        if tarfile.is_tarfile(path):
            return _from_archive(path, member, _tar_members)
        raise ValueError("neither a .tflite file nor a zip or tar archive")


def _split(path: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """The file that is there, and what the rest of the path names in it."""
    for candidate in (path, *path.parents):
        try:
            if candidate.is_file():
                inside = path.relative_to(candidate).as_posix()
                return candidate, "" if inside == "." else inside
        except OSError:
            continue
    return None, ""


def _model(name: str, data: bytes) -> PoseModel:
    if data[4:8] != _MAGIC:
        raise ValueError(f"{name} is not a TFLite model")
    return PoseModel(name, data, hashlib.sha256(data).hexdigest())


def _read_bounded(path: pathlib.Path) -> bytes:
    if path.stat().st_size > _LARGEST_MODEL:
        raise ValueError(f"larger than {_LARGEST_MODEL // 1_000_000} MB")
    return path.read_bytes()


# --- Archives -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Member:
    """A model in an archive; `read` gives at most so many bytes of it."""

    name: str
    size: int
    read: Callable[[int], bytes]


def _from_archive(
    path: pathlib.Path, member: str, members: Callable[[pathlib.Path], Iterator[_Member]]
) -> PoseModel:
    found: dict[str, bytes] = {}
    seen: list[str] = []
    for one in members(path):
        seen.append(one.name)
        base = one.name.rsplit("/", 1)[-1]
        wanted = one.name == member if member else _MARK in base
        if wanted:
            if one.size > _LARGEST_MODEL:
                raise ValueError(f"{one.name} is larger than {_LARGEST_MODEL // 1_000_000} MB")
            data = one.read(_LARGEST_MODEL + 1)
            if len(data) > _LARGEST_MODEL:
                raise ValueError(f"{one.name} unpacks to more than it says")
            found[one.name] = data
    usual = next((name for name in found if name.rsplit("/", 1)[-1] == _USUAL), None)
    if len(found) > 1 and usual is not None:
        found = {usual: found[usual]}
    if len(found) == 1:
        ((name, data),) = found.items()
        return _model(name.rsplit("/", 1)[-1], data)
    if found:
        raise DataError(
            f"{path} holds several pose networks: name one, such as {path / next(iter(found))}"
        )
    what = f"no {member}" if member else f"no {_MARK}*{_SUFFIX}"
    others = f" (only {', '.join(sorted(seen)[:3])})" if seen else ""
    raise DataError(
        f"{path} holds {what}{others}. mediapipe's wheels from 0.10.30 on hold none; get another",
        details=HOW_TO_GET,
    )


def _zip_members(path: pathlib.Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(_SUFFIX):

                def read(limit: int, info: zipfile.ZipInfo = info) -> bytes:
                    with archive.open(info) as file:
                        data = file.read(limit)
                        if len(data) < limit and file.read(1):
                            raise ValueError(f"{info.filename} is longer than it says")
                    return data

                yield _Member(info.filename, info.file_size, read)


def _tar_members(path: pathlib.Path) -> Iterator[_Member]:
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if file.read(2) == b"\x1f\x8b":
            file.seek(0)
            file = io.BufferedReader(_Gunzipped(file))
        else:
            file.seek(0)
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="r|"))
        for info in archive:
            if info.isfile() and info.name.endswith(_SUFFIX):

                def read(limit: int, info: tarfile.TarInfo = info) -> bytes:
                    opened = archive.extractfile(info)
                    assert opened is not None
                    return opened.read(limit)

                yield _Member(info.name, info.size, read)


class _Gunzipped(io.RawIOBase):
    """Unpacks a gzip stream, up to a bound: a small file may unpack to a disk full of zeros."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpack = zlib.decompressobj(wbits=31)
        self._total = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fills a buffer.

        Raises:
            ValueError: The stream is larger than the bound, or damaged.
        """
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = b""
        while not data and not self._unpack.eof:
            packed = self._unpack.unconsumed_tail or self._file.read(1 << 16)
            if not packed:
                raise ValueError("the archive is cut off")
            data = self._unpack.decompress(packed, len(view))
        self._total += len(data)
        if self._total > _LARGEST_ARCHIVE:
            raise ValueError("it unpacks to more than 2 GB")
        view[: len(data)] = data
        return len(data)
