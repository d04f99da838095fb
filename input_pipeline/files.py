"""Files: written whole or not at all, by one writer at a time, and checked when they are read.

Every module that writes or locks goes through here, and so does every reader of a file that may
have been cut, flipped or made by a stranger.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import socket
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import filelock

from input_pipeline.errors import DataError, MagnifierError, UserError, reason_of

_CHECKSUM = "checksum"
_PARTIAL = ".partial"
_LONG_NAME = 200  # bytes; most file systems allow 255
_COUNTER = itertools.count()


# --- Places -------------------------------------------------------------------------------------


def cache_folder() -> pathlib.Path:
    """Where the project keeps what can be made again: `magnifier_jax` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
    except RuntimeError:  # A container may run as a user who has no home.
        cache = pathlib.Path(tempfile.gettempdir())
    return cache / "magnifier_jax"


def default_data_dir() -> pathlib.Path:
    """Folder of prepared datasets: `prepared` in the cache folder."""
    return cache_folder() / "prepared"


def user_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """A path as people write it: `~`, `~name` and `$VARIABLES` are expanded.

    Raises:
        UserError: `~name` names nobody, or the path cannot be one.
    """
    try:
        path = pathlib.Path(os.path.expandvars(os.fspath(text))).expanduser()
    except RuntimeError as error:
        raise UserError(f"{os.fspath(text)!r}: there is no such user on this machine.") from error
    if "\0" in str(path):
        raise UserError(f"{os.fspath(text)!r} cannot be a path: it holds a null character.")
    return path


# --- Writing ------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_whole(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write to, which appears at `path` once all of it is safe on the disk.

    A link is written through. A device or pipe, which cannot be replaced, is written directly. A
    new file gets the permissions that the umask gives, a replaced one keeps its own.

    Args:
        path: The file; one that is there already stays until then.

    Raises:
        OSError: It cannot be written.
    """
    if _is_special(path):
        with path.open("wb") as file:
            yield file
        return
    target = pathlib.Path(os.path.realpath(path))
    partial = _partial(target)
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError, PermissionError):
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _is_special(path: pathlib.Path) -> bool:
    """Whether something is there that no file can take the place of, such as a device or a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file in one piece: it is the old one or the new one, never half of it.

    Raises:
        UserError: It cannot be written, as on a full disk; the old one stays.
    """
    with writing(path), open_whole(path) as file:
        file.write(data)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a UTF-8 text file as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: pathlib.Path, value: Any, *, checksum: bool = False) -> None:
    """Writes a JSON file as `write_bytes` does.

    Args:
        path: The file.
        value: What is written.
        checksum: Whether to add a field `checksum`, which `read_json` compares; the value then
            has to be a mapping.

    Raises:
        UserError: It cannot be written, as on a full disk; the old one stays.
        ValueError: The value is not JSON; infinite and undefined numbers are not.
    """
    if checksum:
        value = {**value, _CHECKSUM: json_checksum(value)}
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # A name that is not UTF-8.
            text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    write_text(path, text + "\n")


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write into one line that says what to do.

    Raises:
        UserError: Instead of an `OSError` in the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror or error}): make room on the disk, check its "
            "permissions, or choose another place."
        ) from error


# --- Outputs that a person names ------------------------------------------------------------------


@contextlib.contextmanager
def claim_output(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> Iterator[pathlib.Path]:
    """Holds an output that a command was asked for, until the block ends.

    Missing folders above it are made, and what a killed process left of it is removed.

    Args:
        path: The file or folder that will be written.
        force: Whether it may replace a file that is there.
        sources: What it is made from; it is never one of these.

    Yields:
        Its absolute path.

    Raises:
        UserError: It is there already, is one of the sources, is being written by another
            process, or cannot be written.
    """
    output = user_path(path).absolute()
    check_output(output, force=force, sources=sources)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(os.fsencode(os.path.realpath(output))).hexdigest()[:32]
    with exclusive(_lock_folder() / f"{key}.lock", what=str(output)):
        check_output(output, force=force, sources=sources)
        _remove_leftovers(output)
        yield output


def check_output(
    path: pathlib.Path,
    *,
    force: bool = False,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Refuses an output that would destroy something; see `claim_output`.

    Raises:
        UserError: It is there already, or is one of the sources.
    """
    for source in sources:
        with contextlib.suppress(OSError):
            if path.samefile(source):
                raise UserError(f"{path} is what the output is made from: give another output.")
    if path.is_file() and not force:
        raise UserError(f"{path} exists already: give another output, or --force to replace it.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give another output, or remove it.")


@contextlib.contextmanager
def scratch_folder(output: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside an output in which it is made, removed when the block ends.

    One that a killed process left is removed by the next `claim_output` of that output.
    """
    folder = _partial(pathlib.Path(os.path.realpath(output)))
    with writing(output):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _partial(path: pathlib.Path) -> pathlib.Path:
    """Where a file or folder is made before it gets its name; another place each time."""
    return path.with_name(f"{_partial_prefix(path)}{os.getpid()}-{next(_COUNTER)}{_PARTIAL}")


def _partial_prefix(path: pathlib.Path) -> str:
    if len(os.fsencode(path.name)) <= _LONG_NAME:
        return f".{path.name}."
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}."


def _remove_leftovers(output: pathlib.Path) -> None:
    """Removes what processes that no longer run were making of an output."""
    target = pathlib.Path(os.path.realpath(output))
    prefix = _partial_prefix(target)
    with contextlib.suppress(OSError):  # What cannot be removed does no harm.
        for leftover in target.parent.iterdir():
            if not (leftover.name.startswith(prefix) and leftover.name.endswith(_PARTIAL)):
                continue
            process, _, number = leftover.name[len(prefix) : -len(_PARTIAL)].partition("-")
            if not process.isdigit() or not number.isdigit() or int(process) == os.getpid():
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _sync_folder(path: pathlib.Path) -> None:
    """Makes sure that a new name is on the disk, where the system can."""
    if os.name == "nt":  # Folders cannot be opened there.
        return
    with contextlib.suppress(OSError):  # The file is written; some file systems know no more.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- Locks --------------------------------------------------------------------------------------


@contextlib.contextmanager
def exclusive(lock: pathlib.Path, *, what: str) -> Iterator[None]:
    """Holds a lock in a block, or says at once who holds it.

    A killed process lets go by itself. The lock's file stays.

    Args:
        lock: File to hold; its folder must exist.
        what: What is protected, for the message.

    Raises:
        UserError: Another process holds it, or it cannot be made.
    """
    held = filelock.FileLock(lock, timeout=0, mode=0o666)
    try:
        held.acquire()
    except filelock.Timeout:
        raise UserError(
            f"{what} is in use by {_holder(lock)}: wait for it, stop it, or choose another place."
        ) from None
    except OSError as error:
        raise UserError(
            f"Cannot write {lock} ({error.strerror or error}): choose another place."
        ) from error
    try:
        with contextlib.suppress(OSError):  # Windows lets nobody write a locked file.
            lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        held.release()


@contextlib.contextmanager
def only_one(lock: pathlib.Path, *, doing: str) -> Iterator[None]:
    """Lets one process at a time do something; the others say that they wait, and do.

    A killed process lets go by itself.

    Args:
        lock: File to hold; created, in a folder that exists, and left there.
        doing: What is done, for the message of those that wait, such as `draws the images`.

    Raises:
        OSError: The file cannot be written or locked.
    """
    held = filelock.FileLock(lock, mode=0o666)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        print(f"waiting for another process that {doing}", file=sys.stderr, flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _holder(lock: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return lock.read_text(errors="replace")[:200].strip() or "another process"
    return "another process"


def _lock_folder() -> pathlib.Path:
    for folder in (cache_folder() / "locks", pathlib.Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise UserError("No folder for locks can be written: set XDG_CACHE_HOME or TMPDIR.")


# --- Reading --------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], *, what: str, advice: str = "") -> Iterator[None]:
    """The boundary around a parser: whatever it raises on a file's content has one name.

    Args:
        path: The file.
        what: What it should be, such as `gallery file`.
        advice: What to do about it, as the end of the message.

    Raises:
        DataError: Instead of anything that the block raises, except errors of this project.
    """
    try:
        yield
    except MagnifierError:
        raise
    except Exception as error:
        # A bare one without a number is no error of the system, but of a parser about the content.
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            reason = error.strerror or str(error)
            raise DataError(f"{os.fspath(path)} cannot be read: {reason}.") from error
        end = f": {advice}" if advice else "."
        what = f"{what} ({reason_of(error)[:200]})"
        raise DataError(f"{os.fspath(path)} is not a sound {what}{end}") from error


def read_json(
    path: pathlib.Path,
    *,
    what: str,
    checksum: bool = False,
    required: bool = False,
    advice: str = "",
) -> Any:
    """Reads what `write_json` wrote.

    Args:
        path: The file.
        what: What it should be, for the message.
        checksum: Whether to compare the checksum, if the file has one, and to drop that field.
        required: Whether a file without a checksum is refused too.
        advice: As for `reading`.

    Raises:
        DataError: It cannot be read, is not JSON, or is not what was written.
    """
    with reading(path, what=what, advice=advice):
        value = json.loads(path.read_bytes())
        if checksum and isinstance(value, dict):
            expected = value.pop(_CHECKSUM, None)
            if expected is None and required:
                raise ValueError("it has no checksum")
            if expected is not None and expected != json_checksum(value):
                raise ValueError("its checksum differs")
        return value


def checksum(data: bytes | memoryview, *, start: int = 0) -> int:
    """CRC-32 of bytes; `start` is that of the bytes before them."""
    return zlib.crc32(data, start)


def json_checksum(value: Any) -> str:
    """Eight hexadecimal digits of a JSON value, whatever its layout in the file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{checksum(text.encode()):08x}"
