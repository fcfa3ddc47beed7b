"""Spoilt image files against every image reader: no crash, no hang, no flood of memory.

    python benchmarks/fuzz_images.py [-n 1000] [--seed 0]

Good files of every kind are spoilt in one of a dozen ways, drawn from the seed, and read as a
project reads them (looked at, one plane, a region, lazily). Either pixels come back or an
`ImageError` of one line; anything else is printed. Readers run in a child process, so that a
crash is seen and the next file goes on in a new one.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing as mp
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

HANG_S = 10.0
MEMORY_MB = 2000


def write_originals(folder: Path) -> list[Path]:
    """Write one good file (or Zarr folder) of every kind."""
    import zarr

    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (70, 90)).astype(np.uint8)
    color = rng.integers(0, 255, (70, 90, 3)).astype(np.uint8)
    stack = rng.integers(0, 60000, (2, 3, 70, 90)).astype(np.uint16)
    for suffix in ("png", "jpg", "bmp"):
        Image.fromarray(color).save(folder / f"color.{suffix}")
        Image.fromarray(gray).save(folder / f"gray.{suffix}")
    Image.fromarray(stack[0, 0]).save(folder / "deep.png")
    Image.fromarray(color).convert("P").save(folder / "palette.png")
    tifffile.imwrite(folder / "plain.tif", stack[0, 0])
    tifffile.imwrite(folder / "color.tif", color)
    tifffile.imwrite(folder / "ij.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(folder / "float.tif", gray.astype(np.float32), compression="lzw")
    tifffile.imwrite(folder / "big.tif", stack, bigtiff=True, compression="zlib")
    tifffile.imwrite(folder / "jpeg.tif", color, compression="jpeg", tile=(32, 32))
    for compression in ("zlib", "zstd", "lzw", None):
        tifffile.imwrite(
            folder / f"{compression}.ome.tif",
            stack,
            tile=(32, 32),
            compression=compression,
            predictor=compression == "lzw",
            metadata={"axes": "ZCYX", "PhysicalSizeX": 0.5, "Channel": {"Name": list("abc")}},
        )
    with tifffile.TiffWriter(folder / "pyramid.ome.tif") as tif:
        kept = {"tile": (32, 32), "compression": "zlib", "photometric": "minisblack"}
        tif.write(stack[0], subifds=1, metadata={"axes": "CYX"}, **kept)
        tif.write(stack[0, :, ::2, ::2], subfiletype=1, **kept)
    for fmt, codec in ((2, "auto"), (3, "auto"), (3, None)):
        group = zarr.open_group(folder / f"v{fmt}{codec}.zarr", mode="w", zarr_format=fmt)
        for name, step in (("0", 1), ("1", 2)):
            data = np.ascontiguousarray(stack[..., ::step, ::step])
            group.create_array(name, data=data, chunks=(1, 1, 32, 32), compressors=codec)
        axes = [{"name": a, "unit": "micrometer"} for a in "zcyx"]
        images = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]}
        group.attrs.update({"ome": images} if fmt == 3 else images)
    return sorted(folder.iterdir())


def spoil(data: bytearray, rng: np.random.Generator) -> str:
    """Change a file's bytes in place and return how."""
    n = len(data)
    way = str(rng.choice(["flip", "flips", "head", "cut", "zeros", "full", "noise", "number",
                          "splice", "repeat", "insert", "digits"]))  # fmt: skip
    at = int(rng.integers(n)) if n else 0
    size = int(min(n - at, rng.integers(1, 400)))
    if way == "cut" or not n:
        del data[at:]
    elif way in ("flip", "flips", "head"):
        for _ in range(1 if way == "flip" else int(rng.integers(2, 40))):
            data[int(rng.integers(min(n, 300) if way == "head" else n))] ^= 1 << rng.integers(8)
    elif way in ("zeros", "full"):
        data[at : at + size] = (b"\0" if way == "zeros" else b"\xff") * size
    elif way == "noise":
        data[at : at + size] = rng.bytes(size)
    elif way == "number":  # as sizes, counts and offsets in headers
        value = int(rng.choice([0, 1, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, n - 1, n]))
        at = int(rng.integers(min(n, 600)))
        data[at : at + 4] = value.to_bytes(4, str(rng.choice(["little", "big"])))
    elif way == "splice":
        other = int(rng.integers(n))
        data[at : at + size] = data[other : other + size]
    elif way == "repeat":
        data[at:at] = data[at : at + size] * int(rng.integers(1, 50))
    elif way == "insert":
        data[at:at] = rng.bytes(size)
    else:  # text: numbers in XML and JSON
        places = [k for k, b in enumerate(data) if 48 <= b <= 57]
        for _ in range(min(len(places), 4)):
            k = places[int(rng.integers(len(places)))]
            data[k : k + 1] = str(rng.choice(["-", "9", "0", "99999999", "1e9", "null"])).encode()
    return way


def make_case(original: Path, folder: Path, rng: np.random.Generator) -> tuple[Path, str]:
    """Return a spoilt copy, and how it was spoilt."""
    target = folder / original.name
    if original.is_dir():
        shutil.copytree(original, target)
        files = sorted(f for f in target.rglob("*") if f.is_file())
        notes = [f for f in files if f.name.startswith((".z", "zarr.json"))]
        chosen = notes if rng.random() < 0.6 else files
        file = chosen[int(rng.integers(len(chosen)))]
    else:
        shutil.copy(original, target)
        file = target
    data = bytearray(file.read_bytes())
    ways = [spoil(data, rng) for _ in range(int(rng.integers(1, 4)))]
    file.write_bytes(data)
    return target, "+".join(ways)


def serve(pipe: Connection) -> None:
    """Read the files that are named until the pipe closes."""
    from napari_cellal.core.errors import CellalError
    from napari_cellal.core.records import WHOLE
    from napari_cellal.io.image_files import image_files
    from napari_cellal.io.pixels import probe_image, read_pixels, read_region
    from napari_cellal.io.planes import open_levels

    def attempt(path: Path) -> str:
        for image in image_files(path):
            info = probe_image(image)
            read_pixels(image)
            read_pixels(image, t=info.n_t - 1, z=info.n_z - 1)
            level = len(info.levels) - 1
            read_region(image, (0, 0, 20, 20), level=level)
            open_levels(image, WHOLE)[0][:1, :9, :9].compute()
        return "read"

    while True:
        try:
            path = Path(pipe.recv())
        except EOFError:
            return
        try:
            outcome = attempt(path)
        except CellalError as error:
            outcome = "refused" if "\n" not in str(error) else f"two lines: {error}"
        except Exception as error:  # noqa: BLE001  (finding these is what this is for)
            outcome = f"{type(error).__name__}: {error}"
        status = Path("/proc/self/status").read_text()
        pipe.send((outcome, int(status.split("VmHWM:")[1].split()[0]) // 1024))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=Path, nargs="+", help="spoil these files instead")
    a = parser.parse_args()
    context = mp.get_context("spawn")
    child: Any = None
    pipe: Any = None
    counts: collections.Counter[str] = collections.Counter()
    slowest = most_mb = 0.0
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        good = Path(temporary, "good")
        good.mkdir()
        originals = a.only or write_originals(good)
        for k in range(-len(originals), a.n):
            rng = np.random.default_rng([a.seed, k + len(originals)])
            original = originals[k % len(originals)]
            folder = Path(temporary, "case")
            folder.mkdir()
            # first the good ones themselves, which must all be read
            case, ways = (original, "") if k < 0 else make_case(original, folder, rng)
            if child is None:
                pipe, other = context.Pipe()
                child = context.Process(target=serve, args=(other,), daemon=True)
                child.start()
                other.close()
            since = time.perf_counter()
            pipe.send(str(case))
            try:
                # the first file of a process also waits for its imports
                outcome, mb = pipe.recv() if pipe.poll(HANG_S * 3) else ("hang", 0)
            except EOFError:
                child.join()
                outcome, mb = f"crash ({child.exitcode})", 0
            took = time.perf_counter() - since
            slowest, most_mb = max(slowest, took), max(most_mb, mb)
            if took > HANG_S and outcome != "hang":
                outcome = f"slow ({took:.0f} s): {outcome}"
            if mb > MEMORY_MB:
                outcome = f"memory ({mb} MB): {outcome}"
            if outcome in ("read", "refused") and not (k < 0 and outcome == "refused"):
                counts[outcome] += k >= 0
            else:
                counts["bad"] += 1
                print(f"case {k}, {original.name}, {ways}: {outcome}")
            if outcome == "hang" or outcome.startswith(("crash", "memory")):
                child.kill()
                child.join()
                child = None
            shutil.rmtree(folder)
        if child is not None:
            pipe.close()
            child.join()
    print(
        json.dumps(
            {
                "files": a.n,
                **counts,
                "slowest_s": round(slowest, 2),
                "memory_mb": most_mb,
                "seconds": round(time.perf_counter() - begun, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
