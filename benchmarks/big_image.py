"""Opening and reading a 40,000 x 40,000 px OME-Zarr: time and memory.

    python benchmarks/big_image.py [--folder DIR] [--side 40000] [--repeat 5]

The image is made in seconds: chunks that were never written hold the fill value, some hold
a drawn field of cells. Every reading is done in a process of its own, so that nothing is
warm but the disk's cache, and the memory is that process's peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHUNK = 1024
CHANNELS = ("DNA", "ER", "AGP")
REAL = 40  # fields of cells, spread over the image


def make(folder: Path, side: int) -> Path:
    """Write the pyramid."""
    import zarr  # not above: the readings shall count what opening a Zarr needs to import

    from napari_cellal.io.samples.fluorescence import make_field

    path = folder / f"big_{side}.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    levels = []
    while not levels or levels[-1].shape[1] > 1024:
        size = side >> len(levels)
        levels.append(
            group.create_array(
                str(len(levels)),
                shape=(len(CHANNELS), size, size),
                chunks=(1, CHUNK, CHUNK),
                dtype="uint16",
                fill_value=60,
            )
        )
    drawn = make_field(0, (CHUNK, CHUNK)).pixels[: len(CHANNELS)]
    rng = np.random.default_rng(0)
    # chunks at the middle, for the region that is read, and elsewhere
    middle = side // CHUNK // 2
    places = {(middle + dy, middle + dx) for dy in range(-1, 2) for dx in range(-1, 2)}
    while len(places) < REAL:
        places.add((int(rng.integers(side // CHUNK)), int(rng.integers(side // CHUNK))))
    for y, x in places:
        for k, level in enumerate(levels):
            part = drawn[:, :: 1 << k, :: 1 << k]
            top, left = (y * CHUNK) >> k, (x * CHUNK) >> k
            level[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    scale = [{"type": "scale", "scale": [1, 0.3 * 2**k, 0.3 * 2**k]} for k in range(len(levels))]
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": a, "type": "space", "unit": "micrometer"} for a in "yx"
    ]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": axes,
                "datasets": [
                    {"path": str(k), "coordinateTransformations": [scale[k]]}
                    for k in range(len(levels))
                ],
            }
        ],
        "omero": {"channels": [{"label": name, "color": "00FF00"} for name in CHANNELS]},
    }
    return path


def memory_mb() -> float:
    """Return the most memory that this process ever held (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def read(path: Path, side: int) -> dict[str, float]:
    """Return seconds, and MB, of what a window does first."""
    from napari_cellal.core.records import WHOLE
    from napari_cellal.io.pixels import probe_image
    from napari_cellal.io.planes import open_levels, read_plane_region

    result = {"memory before, MB": memory_mb()}
    begun = time.perf_counter()
    info = probe_image(path)
    result["look at it (add), s"] = time.perf_counter() - begun
    assert info.shape == (len(CHANNELS), side, side)
    begun = time.perf_counter()
    levels = open_levels(path, WHOLE)
    small = next(level for level in levels if level.shape[1] <= 2048)
    overview = small.compute()
    result["first overview, s"] = time.perf_counter() - begun
    assert overview.max() > 1000
    middle = side // 2 // CHUNK * CHUNK
    times = []
    for k in range(8):  # as a person moves: neither the first one nor a place seen before
        at = middle - 1000 + 10 * k
        begun = time.perf_counter()
        region = read_plane_region(path, WHOLE, (at, at, at + 2000, at + 2000))
        times.append(time.perf_counter() - begun)
        assert region.shape == (len(CHANNELS), 2000, 2000)
        assert region.max() > 1000
    result["2,000 px region, first, s"] = times[0]
    result["2,000 px region, median, s"] = float(np.median(times[1:]))
    result["memory, peak, MB"] = memory_mb()
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.read:
        print(json.dumps(read(a.read, a.side)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        begun = time.perf_counter()
        path = make(a.folder or Path(temporary), a.side)
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 2**20
        print(f"made in {time.perf_counter() - begun:.1f} s, {size:.0f} MB on disk")
        command = [sys.executable, __file__, "--side", str(a.side), "--read", str(path)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(a.repeat)
        ]
    for key in runs[0]:
        values = sorted(run[key] for run in runs)
        middle = values[len(values) // 2]
        print(f"{key:32} median {middle:8.3f}   {values[0]:.3f} to {values[-1]:.3f}")


if __name__ == "__main__":
    main()
