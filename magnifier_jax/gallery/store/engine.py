"""The boundary to Lance, which keeps a store's tables: places, versions, commits, and its errors.

A store is a folder, or a prefix in object storage, with one Lance dataset for each network. Lance
writes new files first and then one manifest, which makes a new version: a process that is killed
leaves the version before. Readers keep the version that they opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from input_pipeline.errors import DataError, MagnifierError, UserError
from input_pipeline.files import json_checksum, only_one, user_path
from magnifier_jax.retrieval.descriptors import Metric

_FORMAT = 1
_HEADER = b"magnifier"
_TABLE = re.compile(r"network-[0-9a-f]{16}")
_NOT_THERE = ("was not found", "Not found", "NotFound")
_FULL = ("No space left", "os error 28", "Disk quota")
_TRIES = 10
_LOCK = ".lock"
_FOREIGN = "give another place, such as people.lance"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a table says about all of its rows.

    Attributes:
      metric: How descriptors are compared.
      model: Which network made them, as any text; empty if it is not known.
      width: Numbers in a descriptor.
      parts: P and E of part embeddings [N, P, E]; None if there are none.
      notes: What else is worth keeping, as JSON values; see `Gallery.notes`.
    """

    metric: Metric
    model: str
    width: int
    parts: tuple[int, int] | None
    notes: Mapping[str, Any]

    def metadata(self) -> dict[str, str]:
        """As a table keeps it, with a checksum."""
        value = {"format": _FORMAT, **dataclasses.asdict(self)}
        value["notes"] = dict(self.notes)
        value = json.loads(json.dumps(value))
        return {_HEADER.decode(): json.dumps({**value, "checksum": json_checksum(value)})}

    @classmethod
    def of(cls, schema: pa.Schema, *, place: str) -> Header:
        """Reads it from a table.

        Raises:
          DataError: if it is not there, or not as it was written.
        """
        text = (schema.metadata or {}).get(_HEADER)
        if text is None:
            raise DataError(f"{place} was not made by magnifier; {_FOREIGN}")
        try:
            value = json.loads(text)
            expected = value.pop("checksum")
            if expected != json_checksum(value):
                raise ValueError("its checksum differs")
            if value.pop("format") != _FORMAT:
                raise ValueError("it is of a later version of magnifier")
            parts = value.pop("parts")
            return cls(parts=None if parts is None else (parts[0], parts[1]), **value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{place} has a damaged header ({error}); restore a copy") from error


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the networks whose images a store holds.

    Attributes:
      model: What tells it from others; empty if it is not known.
      metric: How its descriptors are compared.
      width: Numbers in a descriptor.
      images: Number of images.
      notes: Where it came from.
    """

    model: str
    metric: Metric
    width: int
    images: int
    notes: Mapping[str, Any]

    def __str__(self) -> str:
        """Whatever tells it from others, for people."""
        said = [f"{name} {self.notes[name]}" for name in ("run", "step") if name in self.notes]
        return f"{' '.join(said) or self.model[:24] or 'unnamed'} ({self.metric})"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a store is.

    Attributes:
      uri: A folder, or a URL such as `s3://bucket/people.lance`.
      options: What object storage needs, as Lance names it; the environment counts too.
    """

    uri: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def named(cls, text: str | Path, *, options: Mapping[str, str] | None = None) -> Place:
        """The place that a person names.

        Raises:
          UserError: if it cannot be a store.
        """
        if "://" in str(text):
            return cls(str(text).rstrip("/"), dict(options or {}))
        path = user_path(text).absolute()
        if path.is_file():
            raise UserError(
                f"{path} is a file and no store; `Gallery.load` reads gallery files (.npz)"
            )
        if (path / "_versions").is_dir():
            raise UserError(f"{path} is a Lance dataset and no store of magnifier; {_FOREIGN}")
        return cls(str(path), dict(options or {}))

    def __str__(self) -> str:
        """The folder or URL."""
        return self.uri

    def table(self, *, model: str, metric: Metric) -> str:
        """The name of a network's table."""
        key = json.dumps([model, metric]).encode()
        return f"network-{hashlib.sha256(key).hexdigest()[:16]}"

    def tables(self) -> list[str]:
        """The names of all networks' tables."""
        if "://" not in self.uri:
            found = [path.stem for path in Path(self.uri).glob("*.lance") if path.is_dir()]
        else:
            from lance.namespace import DirectoryNamespace
            from lance_namespace import ListTablesRequest

            with self.errors():
                storage = {f"storage.{name}": value for name, value in self.options.items()}
                root = DirectoryNamespace(root=self.uri, manifest_enabled="false", **storage)
                found = list(root.list_tables(ListTablesRequest(id=[])).tables)
        return sorted(name for name in found if _TABLE.fullmatch(name))

    def networks(self) -> list[Network]:
        """The networks whose images the store holds.

        Raises:
          DataError: if a table is damaged.
        """
        found = []
        for table in self.tables():
            dataset = self.open(table)
            if dataset is None:
                continue
            header = Header.of(dataset.schema, place=self.uri)
            with self.errors():
                images = int(dataset.count_rows())
            found.append(
                Network(header.model, header.metric, header.width, images, notes=header.notes)
            )
        return found

    def open(self, table: str) -> lance.LanceDataset | None:
        """The latest version of a table; None if there is none."""
        with self.errors():
            try:
                return lance.dataset(self._table_uri(table), storage_options=self._options())
            except ValueError as error:
                if any(words in str(error) for words in _NOT_THERE):
                    return None
                raise

    def create(self, table: str, rows: pa.Table) -> bool:
        """Makes a table, and says whether: another process may have made it just before.

        For Lance, creating what another process has just created replaces it. Here one process at a
        time does it; in object storage, where none can wait, what was replaced is brought back.
        """
        with self.errors(), self._alone():
            if self.open(table) is not None:
                return False
            try:
                made = lance.write_dataset(
                    rows,
                    self._table_uri(table),
                    mode="create",
                    enable_stable_row_ids=True,
                    storage_options=self._options(),
                )
            except OSError as error:
                if "already exists" not in str(error):
                    raise
                return False
            if made.version > 1:
                made.checkout_version(made.version - 1).restore()
                return False
        return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lets one process of this machine at a time make a table."""
        if "://" in self.uri:
            yield
            return
        folder = Path(self.uri)
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / _LOCK, doing=f"makes {self.uri}"):
            yield

    def _table_uri(self, table: str) -> str:
        return f"{self.uri}/{table}.lance"

    def _options(self) -> dict[str, str] | None:
        return dict(self.options) or None

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Gives whatever Lance raises in a block one name, and one line.

        Raises:
          UserError: if the disk is full or the place cannot be written.
          DataError: for anything else.
        """
        try:
            yield
        except (MagnifierError, MemoryError):
            raise
        except BaseException as error:
            # What Rust calls a panic is no `Exception` in Python.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = _reason(error)
            if any(words in str(error) for words in _FULL):
                raise UserError(f"Cannot write {self.uri}: the disk is full") from error
            if isinstance(error, PermissionError) or "ermission denied" in str(error):
                raise UserError(f"Cannot use {self.uri}: its permissions forbid it") from error
            raise DataError(f"{self.uri} cannot be used: {reason}") from error


def _reason(error: BaseException) -> str:
    """What Lance says, without where in its own source."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r",? (?:location: )?/\S+\.rs:\d+:\d+", "", text)[:300]


def merge(
    dataset: lance.LanceDataset, rows: pa.Table, *, place: Place, replace: bool
) -> Mapping[str, int]:
    """Adds rows in one commit; those whose name is there already replace the old, or are dropped.

    Returns:
      Lance's counts, `num_inserted_rows` and others.
    """
    for attempt in range(_TRIES):
        with place.errors():
            try:
                builder = dataset.merge_insert("name").when_not_matched_insert_all()
                if replace:
                    builder = builder.when_matched_update_all()
                counts: Mapping[str, int] = builder.execute(rows)
                return counts
            except OSError as error:
                if "conflict" not in str(error).casefold() or attempt == _TRIES - 1:
                    raise
                dataset.checkout_latest()
    raise AssertionError("the last attempt returns or raises")
