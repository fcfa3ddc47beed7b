"""Images as a project knows them: a plane or a projection of one file, or of one a channel.

Every reader of pixels comes through here, so that all of them see the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import Plane, Projection

from .fingerprint import joined_fingerprint
from .freshness import check_unchanged
from .pixels import ALL, ImageInfo, check_index, open_image, probe_image, read_pixels, read_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

    from .axes import Window

_CHUNK_PX = 1024  # side of what a lazy image reads at once, at least
_LARGE_PLANE = 64_000_000  # px; smaller planes are quicker read whole
_SAMPLE_SIDE_PX = 2000


def probe_plane(path: str | Path, plane: Plane, names: Sequence[str] = ()) -> ImageInfo:
    """Return what an image holds.

    Parameters
    ----------
    names : sequence of str
        The channels' names where each has a file of its own.

    Raises
    ------
    ImageError
        If a file cannot be read, or the channels' files do not fit together.
    """
    if not plane.files:
        return probe_image(path, scene=plane.scene)
    infos = [probe_image(file, scene=plane.scene) for file in plane.files]
    first = infos[0]
    for info, file in zip(infos, plane.files, strict=True):
        _check_single(Path(file), info.shape[0], rgb=info.rgb)
        size, wanted = info.shape[1:], first.shape[1:]
        if size != wanted:
            raise ImageError(
                f"{Path(file).name} is {size[1]} x {size[0]} px and {Path(plane.files[0]).name} "
                f"{wanted[1]} x {wanted[0]}: the channels of an image must be of one size."
            )
        if (info.dtype, info.n_t, info.n_z) != (first.dtype, first.n_t, first.n_z):
            raise ImageError(
                f"{Path(file).name} and {Path(plane.files[0]).name} differ in their numbers "
                f"({info.dtype}, {first.dtype}) or planes: the channels of an image must be alike."
            )
    return replace(
        first,
        shape=(len(infos), *first.shape[1:]),
        channels=tuple(names) or tuple(f"Ch{k}" for k in range(1, len(infos) + 1)),
        rgb=False,
        fingerprint=joined_fingerprint(info.fingerprint for info in infos),
        stamp="/".join(info.stamp for info in infos),
        colors=(),
        levels=first.levels[: min(len(info.levels) for info in infos)],
        block=first.block if all(info.block for info in infos) else None,
    )


def read_plane(path: str | Path, plane: Plane) -> NDArray[Any]:
    """Return an image's pixels, [C, Y, X], in the file's own number type.

    Raises
    ------
    ImageError
        If a file cannot be read, or has changed since it was added.
    """
    check_unchanged(path, plane)

    def read(file: str | Path, t: int, z: int) -> NDArray[Any]:
        return read_pixels(file, scene=plane.scene, t=t, z=z)

    return _gather(path, plane, read)


def read_plane_region(
    path: str | Path, plane: Plane, window: Window, *, level: int = 0, channels: slice = ALL
) -> NDArray[Any]:
    """Return a part of an image, [c, y, x]; see `pixels.read_region`."""

    def read(file: str | Path, t: int, z: int) -> NDArray[Any]:
        chosen = ALL if plane.files else channels
        return read_region(file, window, level=level, scene=plane.scene, t=t, z=z, channels=chosen)

    return _gather(path, replace(plane, files=plane.files[channels]), read)


def open_levels(path: str | Path, plane: Plane) -> list[da.Array]:
    """Return an image's levels, full size first, as lazy [C, Y, X] for multiscale layers.

    Nothing but headers is read before a part is computed. What cannot be read in parts
    is one chunk.

    Raises
    ------
    ImageError
        If a file cannot be read, or has changed since it was added.
    """
    import dask.array as da

    check_unchanged(path, plane)
    files = plane.files or (str(path),)
    with open_image(files[0], scene=plane.scene) as image:
        image.check()
        for number, word, role in ((plane.t, "time point", "T"), (plane.z, "z-plane", "Z")):
            if not isinstance(number, Projection):
                check_index(Path(files[0]), word, number, image.layout.size(role))
        layout, levels, block = image.layout, image.levels, image.block
        dtype = "uint8" if image.dtype.kind == "b" else image.dtype.newbyteorder("=")
    n_channels = len(plane.files) or layout.plane_shape[0]
    result = []
    for level, (height, width) in enumerate(levels):
        array = _Lazy(str(path), plane, level, (n_channels, height, width), np.dtype(dtype))
        side = block or (height, width)
        chunks = [
            min(length, max(1, round(_CHUNK_PX / b)) * b)
            for b, length in zip(side, (height, width), strict=True)
        ]
        result.append(
            da.from_array(array, chunks=(1 if block else n_channels, *chunks), asarray=False)
        )
    return result


class _Lazy:
    """What dask slices."""

    ndim = 3

    def __init__(
        self, path: str, plane: Plane, level: int, shape: tuple[int, int, int], dtype: Any
    ) -> None:
        self.path, self.plane, self.level = path, plane, level
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        given = index if isinstance(index, tuple) else (index,)
        outer: list[tuple[int, int]] = []
        inner: list[Any] = []
        for each, length in zip([*given, *[ALL] * (3 - len(given))], self.shape, strict=True):
            if isinstance(each, slice) and (each.step or 1) > 0:
                start, stop, step = each.indices(length)
                outer.append((start, stop))
                inner.append(slice(None, None, step))
            elif isinstance(each, int | np.integer):
                outer.append((int(each), int(each) + 1))
                inner.append(0)
            else:  # a list of places, or backwards
                outer.append((0, length))
                inner.append(each)
        channels, ys, xs = outer
        part = read_plane_region(
            self.path,
            self.plane,
            (ys[0], xs[0], ys[1], xs[1]),
            level=self.level,
            channels=slice(*channels),
        )
        return np.asarray(part[tuple(inner)])


def is_large(path: str | Path, plane: Plane) -> bool:
    """Return whether an image should be read in parts: large, and of a format that allows it."""
    first = plane.files[0] if plane.files else path
    with open_image(first, scene=plane.scene) as image:
        height, width = image.levels[0]
        return image.block is not None and height * width > _LARGE_PLANE


def plane_size(path: str | Path, plane: Plane) -> tuple[int, int]:
    """Return an image's height and width, px, without reading it."""
    with open_image(plane.files[0] if plane.files else path, scene=plane.scene) as image:
        return image.levels[0]


def read_sample(path: str | Path, plane: Plane) -> NDArray[Any]:
    """Return [C, y, x] to tell an image's brightness from: all of it, unless it is large.

    Of a large one the first level of the pyramid that is small enough, or else the middle.
    """
    if not is_large(path, plane):
        return read_plane(path, plane)
    with open_image(plane.files[0] if plane.files else path, scene=plane.scene) as image:
        levels = image.levels
    sizes = [height * width for height, width in levels]
    small = [k for k, size in enumerate(sizes) if size <= _SAMPLE_SIDE_PX**2]
    level = small[0] if small else len(levels) - 1
    y, x = (length // 2 for length in levels[level])
    side = _SAMPLE_SIDE_PX // 2
    window = (max(0, y - side), max(0, x - side), y + side, x + side)
    return read_plane_region(path, plane, window, level=level)


def sharpest_z(path: str | Path, plane: Plane, n_z: int) -> int:
    """Return the z-plane in focus: that where fine detail is strongest, all channels together.

    Detail is the variance of differences between neighbours over the squared mean
    (Brenner's gradient, normalised), each channel relative to its own best plane.
    """
    t = 0 if isinstance(plane.t, Projection) else plane.t
    scores = np.stack(
        [_detail(read_plane(path, replace(plane, t=t, z=z))) for z in range(n_z)]
    )  # [Z, C]
    best = scores.max(axis=0)
    return int((scores / np.where(best > 0, best, 1)).sum(axis=1).argmax())


def _detail(pixels: NDArray[Any]) -> NDArray[np.float64]:
    values = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)
    steps = values[:, :, 2:] - values[:, :, :-2] if values.shape[2] > 2 else values * 0
    power = np.square(steps).mean(axis=(1, 2), dtype=float)
    return np.asarray(power / np.maximum(values.mean(axis=(1, 2), dtype=float) ** 2, 1e-12))


def _gather(
    path: str | Path, plane: Plane, read: Callable[[str | Path, int, int], NDArray[Any]]
) -> NDArray[Any]:
    """Return all channels of an image, its planes projected, by reading single planes."""
    if not plane.files:
        return _project(path, plane, read)
    parts = []
    for file in plane.files:
        part = _project(file, plane, read)
        _check_single(Path(file), len(part), rgb=len(part) == 3)
        # a stain saved as a colour picture: its brightness in the colour it was given
        parts.append(part.max(axis=0))
    shapes = {(p.shape, str(p.dtype)) for p in parts}
    if len(shapes) > 1:
        raise ImageError(
            f"{Path(plane.files[0]).name} and its other channels are not of one size and kind "
            "any more: put the first files back."
        )
    return np.stack(parts)


def _project(
    file: str | Path, plane: Plane, read: Callable[[str | Path, int, int], NDArray[Any]]
) -> NDArray[Any]:
    ts = _numbers(file, plane, plane.t, "T")
    zs = _numbers(file, plane, plane.z, "Z")
    if not isinstance(plane.t, Projection) and not isinstance(plane.z, Projection):
        return read(file, plane.t, plane.z)

    def over(kind: int | Projection, planes: Iterator[NDArray[Any]]) -> NDArray[Any]:
        return _combine(kind, planes)

    return over(plane.t, (over(plane.z, (read(file, t, z) for z in zs)) for t in ts))


def _combine(kind: int | Projection, planes: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Return the projection of planes, held one at a time; a mean is rounded for integers."""
    first = next(planes)
    if kind is Projection.MEAN:
        total, count = first.astype(np.float64), 1
        for plane in planes:
            total += plane
            count += 1
        total /= count
        whole = first.dtype.kind in "iu"
        return (np.rint(total) if whole else total).astype(first.dtype)
    for plane in planes:
        np.maximum(first, plane, out=first)
    return first


def _numbers(file: str | Path, plane: Plane, chosen: int | Projection, role: str) -> Sequence[int]:
    if not isinstance(chosen, Projection):
        return [chosen]
    path = Path(file)
    return range(_size(path, plane.scene, role, path.stat().st_mtime_ns))


@lru_cache(maxsize=256)
def _size(path: Path, scene: int, role: str, _modified: int) -> int:
    with open_image(path, scene=scene) as image:
        return image.layout.size(role)


def _check_single(file: Path, n_channels: int, *, rgb: bool) -> None:
    if n_channels != 1 and not rgb:
        raise ImageError(
            f"{file.name} has {n_channels} channels, but by the pattern it should be one channel "
            "of an image: add it without a pattern."
        )
