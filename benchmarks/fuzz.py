"""Mutated files through every reader: no crash, no hang, no flood of memory.

    python benchmarks/fuzz.py --files 250 --seed 0 [--readers coco,csv]

A crash is anything but a result or a `CellalError`. Each reader works in a process of its
own; a file that takes longer than 10 s or needs more than 2 GB counts as a failure.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import ImageRecord, new_id
from napari_cellal.io.exchange.formats import FORMATS
from napari_cellal.io.exchange.report import ExportBox, ExportClass, ExportImage, ReadOptions
from napari_cellal.io.store import Project
from napari_cellal.workflows import annotating

if TYPE_CHECKING:
    from collections.abc import Callable

HANG_S = 10
MEMORY_BYTES = 2_000_000_000

TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"99999999999999999999", b"9" * 5000,
    b"../../../../etc/passwd", b"\0", b"\xff\xfe", b"\xed\xa0\x80", "é😀".encode(), b"x" * 100_000,
    b"[" * 5000, b'{"a":' * 2000, b"<a>" * 2000, b'"', b"'", b",", b"\n", b"\r", b";", b"\t",
    b"null", b"true", b"[]", b"{}", b'""', b"<!DOCTYPE a [<!ENTITY b \"c\">]>", b"&b;", b"%s",
]  # fmt: skip
"""What is put into a file, or in the place of a part of it."""


@dataclass(frozen=True)
class Reader:
    """One reader to be fuzzed.

    ``make(folder)`` writes whole files and returns those to be mutated, one at a time;
    ``read(folder)`` reads the folder and may raise a `CellalError` only.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


def _images() -> list[ExportImage]:
    rng = np.random.default_rng(0)
    images = []
    for k in range(3):
        corners = rng.integers(0, 300, (6, 2))
        boxes = tuple(
            ExportBox(
                (float(y), float(x), y + 20.5, x + 30.0),
                ("RBC", "WBC", None)[n % 3],
                (None, 0.5)[n % 2],
                (("RBC", 0.5), ("WBC", 0.5)) if n % 2 else (),
                ("proposed", "confirmed", "unsure")[n % 3],
                reviewed_by="ann",
                note="ä note",
            )
            for n, (y, x) in enumerate(corners)
        )
        images.append(ExportImage(f"image {k}.png", (3, 400, 400), boxes, finished=k == 0))
    return images


def _annotations(name: str) -> Reader:
    def make(folder: Path) -> list[Path]:
        classes = [ExportClass("RBC", "#E69F00"), ExportClass("WBC", "#56B4E9")]
        report = run_job(FORMATS[name].write(folder, _images(), classes))
        files = list(report.files)
        if name == "coco":
            content = json.loads(files[0].read_text())
            for k, item in enumerate(content["annotations"]):
                if k % 3 == 1:
                    item["segmentation"] = [[1, 2, 30, 4, 5, 40]]
                    del item["bbox"]
                if k % 3 == 2:
                    item["segmentation"] = {"size": [400, 400], "counts": [810, 90, 159_100]}
                    del item["bbox"]
            files[0].write_text(json.dumps(content))
        return files

    def read(folder: Path) -> Any:
        found = run_job(FORMATS[name].read([folder], ReadOptions(split_parts=True)))
        with _project(folder.parent / "fuzz.cellal") as project:
            for dry_run in (True, False):
                annotating.import_annotations(project, *found, confirm=True, dry_run=dry_run)
            project.history.undo()

    return Reader(make, read)


def _project(folder: Path) -> Project:
    """Return a project that has the images, whose files nobody opens."""
    if folder.exists():
        return Project.open(folder)
    project = Project.create(folder)
    project.add_images(
        ImageRecord(new_id(), i.name, i.shape, "uint8", ("red", "green", "blue"), rgb=True)
        for i in _images()
    )
    return project


READERS: dict[str, Reader] = {name: _annotations(name) for name in FORMATS}
"""A further reader is one entry here."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy: cut short, bits turned, parts doubled, dropped or replaced."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        n = len(data)
        a, b = sorted(int(v) for v in rng.integers(0, n + 1, 2))
        b = min(b, a + int(rng.integers(1, 200)))
        kind = int(rng.integers(0, 8))
        token = TOKENS[int(rng.integers(0, len(TOKENS)))]
        if kind == 0:
            del data[a:]
        elif kind == 1:
            del data[a:b]
        elif kind == 2:
            data[a:a] = data[a:b] * int(rng.integers(1, 50))
        elif kind == 3:
            data[a:b] = token
        elif kind == 4:
            data[a:a] = token
        elif kind == 5:
            data[a:b] = rng.bytes(b - a)
        elif n:
            for place in rng.integers(0, n, int(rng.integers(1, 20))).tolist():
                data[place] ^= 1 << int(rng.integers(0, 8))
        # a number instead of a number is the cruellest change of a text
        if kind == 7:
            digits = [k for k, c in enumerate(data[:20_000]) if 48 <= c <= 57]
            if digits:
                place = digits[int(rng.integers(0, len(digits)))]
                data[place : place + 1] = token
    return bytes(data)


class Hang(Exception):
    """A file took too long."""


def _alarm(*_: object) -> None:
    raise Hang


def fuzz(name: str, n_files: int, seed: int) -> dict[str, Any]:
    """Return what became of ``n_files`` mutated files of one reader; keeps on after a failure."""
    reader = READERS[name]
    rng = np.random.default_rng([seed, sum(name.encode())])
    failures: list[str] = []
    slowest = 0.0
    refused = 0
    signal.signal(signal.SIGALRM, _alarm)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        folder.mkdir()
        files = reader.make(folder)
        whole = {file: file.read_bytes() for file in files}
        for k in range(n_files):
            file = files[int(rng.integers(0, len(files)))]
            file.write_bytes(mutate(whole[file], rng))
            begun = time.perf_counter()
            signal.alarm(HANG_S)
            try:
                reader.read(folder)
            except CellalError as error:
                refused += 1
                if "\n" in str(error) or len(str(error)) > 1000:
                    failures.append(f"file {k}: no sentence: {str(error)[:200]!r}")
            except Hang:
                failures.append(f"file {k}: more than {HANG_S} s")
            except Exception:  # noqa: BLE001 - a crash is what is looked for
                failures.append(f"file {k}: {traceback.format_exc()}")
            finally:
                signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - begun)
            file.write_bytes(whole[file])
    # kilobytes on Linux, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    if peak > MEMORY_BYTES:
        failures.append(f"{peak / 1e9:.1f} GB of memory")
    return {
        "reader": name,
        "files": n_files,
        "refused": refused,
        "slowest_s": round(slowest, 2),
        "peak_mb": round(peak / 1e6),
        "failures": failures,
    }


def _in_child(name: str, n_files: int, seed: int, out: Any) -> None:
    out.put(fuzz(name, n_files, seed))


def run(names: list[str], n_files: int, seed: int) -> list[dict[str, Any]]:
    """Return `fuzz` of every reader, each in a fresh process, so that memory is its own."""
    context = multiprocessing.get_context("spawn")
    results = []
    for name in names:
        queue = context.Queue()
        child = context.Process(target=_in_child, args=(name, n_files, seed, queue))
        child.start()
        while child.is_alive() and queue.empty():
            child.join(0.2)
        if queue.empty():
            child.join()
            failures = [f"the process died ({child.exitcode})"]
            results.append({"reader": name, "files": n_files, "failures": failures})
        else:
            results.append(queue.get())
            child.join()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=250, help="mutated files a reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default=",".join(READERS))
    arguments = parser.parse_args()
    begun = time.perf_counter()
    results = run(arguments.readers.split(","), arguments.files, arguments.seed)
    for result in results:
        print({k: v for k, v in result.items() if k != "failures"})
        for failure in result["failures"][:5]:
            print(failure)
    files = sum(r["files"] for r in results)
    failed = sum(len(r["failures"]) for r in results)
    print(f"{files} files, {failed} failures, {time.perf_counter() - begun:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
