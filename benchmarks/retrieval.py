"""Measures ranking, re-ranking and search: time and peak memory, against plain NumPy.

    python -m benchmarks.retrieval rank --size market1501 --width 4096 --plain
    python -m benchmarks.retrieval rerank --size cuhk03 --width 4096 --plain
    python -m benchmarks.retrieval rerank --size msmt17 --width 512
    python -m benchmarks.retrieval search

Every contender runs in a process of its own, on the same descriptors, drawn around one center an
identity. "Beyond" is its time minus that of its bare matrix product of the same sizes in the same
process; processor seconds, of all cores together, depend less on what else runs. Memory is the peak
above what the process held once the descriptors were made, compilation included.
"""

import argparse
import dataclasses
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Size:
    """Images and identities of a test set; `pool` is the gallery that re-ranking papers use."""

    queries: int
    gallery: int
    identities: int
    pool: int
    cameras: int


SIZES = {
    "tiny": Size(200, 1000, 50, 1000, 4),
    "cuhk03": Size(1400, 5328, 700, 5328, 2),
    "market1501": Size(3368, 19732, 751, 15913, 6),
    "msmt17": Size(11659, 82161, 3060, 82161, 15),
}
SEARCH_TOP = 100


@dataclasses.dataclass(frozen=True)
class Data:
    """Descriptors [n, D], identities [n] and cameras [n] of queries and gallery."""

    query: np.ndarray
    gallery: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray

    def arguments(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def draw_data(*, queries: int, gallery: int, identities: int, cameras: int, width: int) -> Data:
    """Unit vectors around one center an identity, drawn in blocks so that nothing else is held."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((identities, width), dtype=np.float32)

    def draw(ids: np.ndarray) -> np.ndarray:
        values = np.empty((len(ids), width), np.float32)
        for start in range(0, len(ids), 1024):
            part = values[start : start + 1024]
            generator.standard_normal(out=part, dtype=np.float32)
            part *= 1.6
            part += centers[ids[start : start + 1024]]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return values

    ids = generator.integers(0, identities, queries + gallery)
    seen = generator.integers(0, cameras, queries + gallery)
    return Data(
        query=draw(ids[:queries]),
        gallery=draw(ids[queries:]),
        query_ids=ids[:queries],
        gallery_ids=ids[queries:],
        query_cameras=seen[:queries],
        gallery_cameras=seen[queries:],
    )


def resident_bytes(*, peak: bool) -> int:
    """Memory of this process now, or its peak since `reset_peak`."""
    wanted = "VmHWM" if peak else "VmRSS"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the memory of a process; run this on Linux")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def clock() -> np.ndarray:
    """Seconds of the wall and of this process's processor time: [2]."""
    return np.array([time.perf_counter(), time.process_time()])


def xla_product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Seconds [2] of the bare product in retrieval's blocks, operands already in place."""
    import jax

    dot = jax.jit(
        lambda a, b: jax.lax.dot_general(
            a, b, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
        )
    )
    step, few = 1024, 512
    queries = [jax.device_put(rows[start : start + few]) for start in range(0, len(rows), few)]
    total = np.zeros(2)
    for start in range(0, len(columns), step):
        part = jax.device_put(columns[start : start + step])
        for query in (*queries[-1:], queries[0]) if start == 0 else ():
            dot(query, part).block_until_ready()
        if len(part) < step:
            dot(queries[-1], part).block_until_ready()
            dot(queries[0], part).block_until_ready()
        began = clock()
        for query in queries:
            dot(query, part).block_until_ready()
        total += clock() - began
    return total


def numpy_product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Seconds [2] of the bare product by NumPy, a block of rows at a time."""
    began = clock()
    for start in range(0, len(rows), 1024):
        rows[start : start + 1024] @ columns.T
    return clock() - began


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process measures."""

    task: str
    contender: str
    queries: int
    gallery: int
    identities: int
    cameras: int
    width: int
    repeats: int
    offset: float = 0.0


def run_ours(job: Job, data: Data) -> Callable[[], object]:
    from magnifier_jax import retrieval

    if job.task == "rank":
        return lambda: retrieval.evaluate(*data.arguments()).summary()
    if job.task == "rerank":

        def rerank() -> int:
            return sum(block.values.size for block in retrieval.rerank(data.query, data.gallery))

        return rerank
    names = np.arange(len(data.gallery)).astype(str)
    gallery = retrieval.Gallery.build(data.gallery, names=names)
    searcher = gallery.searcher(device_bytes=0)
    return lambda: searcher.search(data.query, top=SEARCH_TOP)


def run_plain(job: Job, data: Data) -> Callable[[], object]:
    from benchmarks import retrieval_reference as plain

    if job.task == "rerank":
        return lambda: plain.rerank_in_full(data.query, data.gallery)
    if job.task == "rank":

        def rank() -> object:
            distances = plain.distance_matrix(data.query, data.gallery)
            return plain.evaluate_by_sorting(distances, *data.arguments()[2:], kind="quicksort")

        return rank

    def search() -> None:
        for start in range(0, len(data.query), 100):
            distances = plain.distance_matrix(data.query[start : start + 100], data.gallery)
            near = np.argpartition(distances, SEARCH_TOP, axis=1)[:, :SEARCH_TOP]
            np.sort(np.take_along_axis(distances, near, axis=1), axis=1)

    return search


def run_torchreid(job: Job, data: Data) -> Callable[[], object]:
    """Torchreid's Cython evaluation, on a distance matrix made by NumPy."""
    evaluate_cy = torchreid_evaluation()
    from benchmarks import retrieval_reference as plain

    labels = [np.asarray(values, np.int64) for values in data.arguments()[2:]]

    def rank() -> object:
        distances = plain.distance_matrix(data.query, data.gallery).astype(np.float32)
        return evaluate_cy(distances, *labels, 50)

    return rank


def measure(job: Job) -> dict[str, float]:
    """Runs in a process of its own."""
    data = draw_data(
        queries=job.queries,
        gallery=job.gallery,
        identities=job.identities,
        cameras=job.cameras,
        width=job.width,
    )
    for side in (data.query, data.gallery):
        side += np.float32(job.offset)
    make = {"ours": run_ours, "numpy": run_plain, "torchreid": run_torchreid}[job.contender]
    product = xla_product if job.contender == "ours" else numpy_product
    rows, columns = data.query, data.gallery
    if job.task == "rerank":
        rows = columns = np.concatenate([rows, columns])
    if job.contender == "ours":
        import jax

        jax.block_until_ready(jax.device_put(np.ones(4, np.float32)))
    run = make(job, data)
    products = []
    if job.task == "rerank":
        del rows, columns
    reset_peak()
    before = resident_bytes(peak=False)
    times = []
    for _ in range(job.repeats):
        began = clock()
        run()
        times.append(clock() - began)
        if len(times) == 1:
            peak = resident_bytes(peak=True) - before
        if job.task == "rerank":
            rows = columns = np.concatenate([data.query, data.gallery])
        products.append(product(rows, columns))
        if job.task == "rerank":
            del rows, columns
    best, bare = np.min(times, axis=0), np.min(products, axis=0)
    return {
        "first": times[0][0],
        "seconds": best[0],
        "product": bare[0],
        "beyond": best[0] - bare[0],
        "processor": best[1],
        "processor_beyond": best[1] - bare[1],
        "peak_mb": peak / 2**20,
    }


def measure_in_child(job: Job) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.retrieval", "--child"]
    done = subprocess.run(
        [*command, json.dumps(dataclasses.asdict(job))], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def torchreid_evaluation() -> Callable[..., object] | None:
    """Torchreid's compiled evaluation, wherever its releases put it; None if not installed."""
    for package in ("torchreid", "torchreid.reid"):
        try:
            module = importlib.import_module(f"{package}.metrics.rank_cylib.rank_cy")
        except ImportError:
            continue
        return module.evaluate_cy
    return None


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(Job(**json.loads(sys.argv[2])))))
        return
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retrieval",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["rank", "rerank", "search"])
    parser.add_argument("--size", choices=sorted(SIZES), default="market1501")
    parser.add_argument("--width", type=int, help="numbers in a descriptor")
    parser.add_argument("--plain", action="store_true", help="also plain NumPy, which is slow")
    parser.add_argument("--repeats", type=int, default=2, help="runs; the fastest counts")
    parser.add_argument("--queries", type=int, help="for search")
    parser.add_argument("--gallery", type=int, help="for search")
    parser.add_argument(
        "--offset", type=float, default=0.0, help="added to all numbers; needs float64"
    )
    options = parser.parse_args()
    size = SIZES[options.size]
    job = Job(
        task=options.task,
        contender="ours",
        queries=size.queries,
        gallery=size.pool if options.task == "rerank" else size.gallery,
        identities=size.identities,
        cameras=size.cameras,
        width=options.width or (4096 if options.task == "rank" else 512),
        repeats=options.repeats,
        offset=options.offset,
    )
    if options.task == "search":
        job = dataclasses.replace(
            job,
            queries=options.queries or 1000,
            gallery=options.gallery or 1_000_000,
            identities=50_000,
        )
    contenders = ["ours"] + (["numpy"] if options.plain else [])
    if options.plain and options.task == "rank":
        if torchreid_evaluation():
            contenders.append("torchreid")
        else:
            print("torchreid's compiled evaluation is not installed, and so not compared with")
    print(f"{job.task}: {job.queries} x {job.gallery}, D = {job.width}")
    print(
        f"{'':10}{'first s':>9}{'best s':>9}{'product s':>11}{'beyond s':>10}{'/ product':>11}"
        f"{'processor s':>13}{'beyond s':>10}{'peak MB':>9}"
    )
    results = {}
    for contender in contenders:
        repeats = job.repeats if contender == "ours" else 1
        result = measure_in_child(dataclasses.replace(job, contender=contender, repeats=repeats))
        results[contender] = result
        print(
            f"{contender:10}{result['first']:9.2f}{result['seconds']:9.2f}"
            f"{result['product']:11.2f}{result['beyond']:10.2f}"
            f"{result['beyond'] / result['product']:11.0%}{result['processor']:13.2f}"
            f"{result['processor_beyond']:10.2f}{result['peak_mb']:9.0f}",
            flush=True,
        )
    for contender in contenders[1:]:
        ours, theirs = results["ours"]["beyond"], results[contender]["beyond"]
        # Re-ranking on a CPU computes fewer products than there are.
        ratio = f"{theirs / ours:.1f} times" if ours > 0 else f"nothing against {theirs:.1f} s"
        whole = results[contender]["seconds"] / results["ours"]["seconds"]
        memory = results[contender]["peak_mb"] / results["ours"]["peak_mb"]
        print(
            f"{contender} / ours: beyond the product {ratio}, in all {whole:.1f} times, "
            f"peak memory {memory:.1f} times"
        )


if __name__ == "__main__":
    main()
