"""Measures a gallery that grows: appending, searching, and other embedded stores beside it.

    python -m benchmarks.gallery engines --folder /tmp/engines
    python -m benchmarks.gallery search --folder /tmp/gallery

`engines` appends 10,000 images at a time to a million in Lance, DuckDB, and SQLite beside a flat
file, and reads all vectors back in order, each in a process of its own. DuckDB has to be installed.

`search` makes a gallery of a million images by appending, and searches it: exact top 100 of 100
queries, in memory with `Gallery`, and from the store with `GalleryStore`, by turns, each time in a
process of its own. Processor seconds, of all cores together, depend less on what else runs. "Peak"
is the largest resident memory of the process. What there is already in the folder is used again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.retrieval import resident_bytes

WIDTH, BLOCK, QUERIES, TOP = 512, 10_000, 100, 100


def drawn(rows: int) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Names, cameras and unit vectors of some images at a time, the same in every process."""
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        vectors = np.random.default_rng(start).standard_normal((count, WIDTH), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        names = [f"camera{row % 6}/{row:08d}.jpg" for row in range(start, start + count)]
        yield names, np.arange(start, start + count) % 6, vectors


def queries() -> np.ndarray:
    # Of unit length like the gallery: where lengths differ widely, distances need float64.
    vectors = np.random.default_rng(2**40).standard_normal((QUERIES, WIDTH), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def peak_megabytes() -> float:
    return resident_bytes(peak=True) / 2**20


# --- Other stores ---------------------------------------------------------------------------------


def use_lance(folder: Path, rows: int) -> tuple[list[float], float]:
    import magnifier_jax as mj

    store = mj.Gallery.open(folder / "people.lance", create=True)
    times = []
    for names, cameras, vectors in drawn(rows):
        began = time.perf_counter()
        store.append(vectors, names=names, cameras=cameras)
        times.append(time.perf_counter() - began)
    dataset = store._filled().dataset
    began, total = time.perf_counter(), 0.0
    scanner = dataset.scanner(columns=["descriptor"], batch_size=8192, scan_in_order=True)
    for batch in scanner.to_batches():
        total += float(batch.column(0).flatten().to_numpy()[::WIDTH].sum())
    return times, time.perf_counter() - began


def use_duckdb(folder: Path, rows: int) -> tuple[list[float], float]:
    import duckdb
    import pyarrow as pa

    database = duckdb.connect(str(folder / "people.duckdb"))
    database.execute(
        f"create table image (name varchar primary key, camera int, descriptor float[{WIDTH}])"
    )
    times = []
    for names, cameras, vectors in drawn(rows):
        began = time.perf_counter()
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH)
        block = pa.table({"name": names, "camera": cameras, "descriptor": lists})
        database.register("block", block)
        database.execute("insert into image select * from block")
        database.unregister("block")
        times.append(time.perf_counter() - began)
    began, total = time.perf_counter(), 0.0
    reader = database.sql("select descriptor from image").to_arrow_reader(8192)
    for batch in reader:
        total += float(batch.column(0).flatten().to_numpy()[::WIDTH].sum())
    return times, time.perf_counter() - began


def use_sqlite(folder: Path, rows: int) -> tuple[list[float], float]:
    """Knowledge in SQLite; vectors at the end of a file, made durable before the row is."""
    import os
    import sqlite3

    database = sqlite3.connect(folder / "people.sqlite")
    database.execute("pragma journal_mode = wal")
    database.execute("create table image (row integer primary key, name unique, camera int)")
    times = []
    with (folder / "descriptors.f32").open("ab") as file:
        for names, cameras, vectors in drawn(rows):
            began = time.perf_counter()
            file.write(vectors.tobytes())
            file.flush()
            os.fsync(file.fileno())
            with database:
                database.executemany(
                    "insert into image (name, camera) values (?, ?)",
                    zip(names, cameras.tolist(), strict=True),
                )
            times.append(time.perf_counter() - began)
    began, total = time.perf_counter(), 0.0
    with (folder / "descriptors.f32").open("rb") as file:
        while data := file.read(8192 * WIDTH * 4):
            total += float(np.frombuffer(data, np.float32)[::WIDTH].sum())
    return times, time.perf_counter() - began


ENGINES = {"lance": use_lance, "duckdb": use_duckdb, "sqlite": use_sqlite}


def run_engine(name: str, folder: Path, rows: int) -> dict[str, float]:
    place = folder / name
    place.mkdir(parents=True)
    began = time.process_time()
    times, scan = ENGINES[name](place, rows)
    processor = time.process_time() - began
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return {
        "append, median s": float(np.median(times)),
        "append, last s": times[-1],
        "read all, s": scan,
        "processor, s": processor,
        "on disk, MB": size / 2**20,
        "peak, MB": peak_megabytes(),
    }


# --- Search ---------------------------------------------------------------------------------------


def run_append(folder: Path, rows: int) -> dict[str, float]:
    import magnifier_jax as mj

    store = mj.Gallery.open(folder / "people.lance", create=True)
    times = []
    for number, (names, cameras, vectors) in enumerate(drawn(rows)):
        if number * BLOCK < len(store):
            continue
        began = time.perf_counter()
        store.append(vectors, names=names, cameras=cameras)
        times.append(time.perf_counter() - began)
    if not times:
        return {}
    return {
        "append 10,000, median s": float(np.median(times)),
        "append 10,000, last s": times[-1],
        "peak, MB": peak_megabytes(),
    }


def run_memory(folder: Path, rows: int) -> dict[str, float]:
    from magnifier_jax import retrieval

    vectors = np.empty((rows, WIDTH), np.float32)
    for number, (_, _, block) in enumerate(drawn(rows)):
        vectors[number * BLOCK : number * BLOCK + len(block)] = block
    names = np.arange(rows).astype(str)
    began = time.perf_counter()
    gallery = retrieval.Gallery.build(vectors, names=names)
    searcher = gallery.searcher(device_bytes=0)
    return timed(lambda: searcher.search(queries(), top=TOP), began)


def run_store(folder: Path, rows: int) -> dict[str, float]:
    import magnifier_jax as mj

    began = time.perf_counter()
    store = mj.Gallery.open(folder / "people.lance", device_bytes=0)
    return timed(lambda: store.search(queries(), top=TOP), began)


def run_filtered(folder: Path, rows: int) -> dict[str, float]:
    import magnifier_jax as mj

    began = time.perf_counter()
    store = mj.Gallery.open(folder / "people.lance", device_bytes=0)
    return timed(lambda: store.search(queries(), top=TOP, where="camera = 3"), began)


def timed(search, began: float) -> dict[str, float]:
    found = search()
    first = time.perf_counter() - began
    times = []
    for _ in range(3):
        began, processor = time.perf_counter(), time.process_time()
        search()
        times.append((time.perf_counter() - began, time.process_time() - processor))
    return {
        "first, with opening, s": first,
        "search, s": min(wall for wall, _ in times),
        "processor, s": min(processor for _, processor in times),
        "peak, MB": peak_megabytes(),
        "sum of distances": float(np.sum(found.distances, dtype=np.float64)),
    }


RUNS = {
    **{name: name for name in ENGINES},
    "append": run_append,
    "memory": run_memory,
    "store": run_store,
    "filtered": run_filtered,
}


def in_child(name: str, options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "benchmarks.gallery", name, f"--folder={options.folder}"]
    command += [f"--rows={options.rows}", "--child"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    print(f"{name:9}", "   ".join(f"{what}: {value:,.3f}" for what, value in said.items()))
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["engines", "search", *RUNS])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.child and options.task in ENGINES:
        print(json.dumps(run_engine(options.task, options.folder, options.rows)))
    elif options.child:
        print(json.dumps(RUNS[options.task](options.folder, options.rows)))
    elif options.task == "engines":
        for name in ENGINES:
            in_child(name, options)
    elif options.task == "search":
        in_child("append", options)
        for name in ("memory", "store") * options.turns:
            in_child(name, options)
        in_child("filtered", options)
    else:
        in_child(options.task, options)


if __name__ == "__main__":
    main()
