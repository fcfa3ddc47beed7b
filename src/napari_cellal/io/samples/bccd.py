"""The BCCD blood smears: where they are on this computer, or from GitHub.

Shenggan, *BCCD Dataset* (MIT licence), https://github.com/Shenggan/BCCD_Dataset.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress

if TYPE_CHECKING:
    from napari_cellal.core.progress import Job

COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{COMMIT}.zip"
# Of the 732 files' names and SHA-256, see `digest_of`: the archive that GitHub packs may
# change its bytes, the files in it may not.
DIGEST = "59eb0d826c422ae58c4c46f2dac8de1af80c371950dbf0593d8aeb0c8f74f265"
PARTS = ("JPEGImages", "Annotations", "ImageSets/Main")
MEMBER = re.compile(r"[^/]+/BCCD/(JPEGImages|Annotations|ImageSets/Main)/([\w-]+\.(?:jpg|xml|txt))")
MAX_BYTES = 200_000_000  # unpacked; it is 9 MB


def cache_folder() -> Path:
    """Return where downloads are kept."""
    return Path(platformdirs.user_cache_dir("napari-cellal", appauthor=False)) / "bccd"


def find_bccd() -> Path | None:
    """Return the folder that holds BCCD's ``JPEGImages``, or None.

    Looks into ``NAPARI_CELLAL_DATA`` (a folder of data sets, or BCCD's own), then
    ``../shared/data`` from here and from the repository, then what was downloaded.
    """
    roots = [Path.cwd().parent / "shared" / "data"]
    roots += [p / "shared" / "data" for p in Path(__file__).resolve().parents[5:6]]
    if data := os.environ.get("NAPARI_CELLAL_DATA"):
        roots.insert(0, Path(data).expanduser())
    for root in [*roots, cache_folder()]:
        for folder in (root / "bccd" / "BCCD", root / "BCCD", root / "bccd", root):
            if (folder / "JPEGImages").is_dir() and (folder / "Annotations").is_dir():
                return folder
    return None


def fetch_bccd(folder: Path | None = None) -> Job[Path]:
    """Return the folder that holds ``JPEGImages``, from this computer or downloaded (8 MB).

    Parameters
    ----------
    folder : Path, optional
        Where downloads go; left out, the user's cache folder.

    Raises
    ------
    CellalError
        If the network cannot be reached, or what came is not BCCD.
    """
    if (found := find_bccd()) is not None:
        return found
    folder = folder or cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".bccd-", dir=folder))
    except OSError as error:
        raise CellalError(f"{folder} cannot be written to: free or unlock it.") from error
    try:
        yield from _download(work)
        yield Progress(0, 0, "Unpacking BCCD")
        unpack_bccd(work / "bccd.zip", work / "BCCD")
        final = folder / "BCCD"
        if final.exists():
            shutil.rmtree(final)
        os.replace(work / "BCCD", final)
        return final
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unpack_bccd(archive: Path, target: Path, digest: str = DIGEST) -> None:
    """Unpack BCCD's images, annotations and split lists, and nothing else, into a new folder.

    Raises
    ------
    CellalError
        If the archive is damaged or holds other files than BCCD's.
    """
    wrong = CellalError(
        "What was downloaded is not the BCCD data that this version knows: try again, or get it "
        "from github.com/Shenggan/BCCD_Dataset and set NAPARI_CELLAL_DATA to its folder."
    )
    try:
        with zipfile.ZipFile(archive) as zipped:
            # Only names of BCCD's own form, so none can point out of the folder.
            members = [(m, i) for i in zipped.infolist() if (m := MEMBER.fullmatch(i.filename))]
            if sum(info.file_size for _, info in members) > MAX_BYTES:
                raise wrong
            for match, info in members:
                file = target / match[1] / match[2]
                file.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(info) as source, file.open("wb") as out:
                    shutil.copyfileobj(source, out)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise wrong from error
    if digest_of(target) != digest:
        raise wrong


def digest_of(folder: Path) -> str:
    """Return the SHA-256 over the sorted lines ``name sha256`` of BCCD's files."""
    lines = []
    for part in PARTS:
        for file in (folder / part).glob("*.*"):
            sha = hashlib.sha256(file.read_bytes()).hexdigest()
            lines.append(f"{part}/{file.name} {sha}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


class _Bar:
    """What pooch takes for a progress bar; also the way to stop a download."""

    total: int | None = None

    def __init__(self) -> None:
        self.done = 0
        self.cancelled = False

    def update(self, n: int) -> None:
        if self.cancelled:
            raise OSError("cancelled")
        self.done += n

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _download(work: Path) -> Job[None]:
    import pooch

    bar = _Bar()
    failed: list[BaseException] = []

    def load() -> None:
        talk = pooch.get_logger()
        level = talk.level
        talk.setLevel("ERROR")  # it announces every download on stderr
        try:
            get = pooch.HTTPDownloader(progressbar=bar, timeout=20)
            pooch.retrieve(URL, None, "bccd.zip", work, downloader=get)
        # requests' errors are OSErrors; ValueError is pooch's for odd addresses.
        except (OSError, ValueError) as error:
            failed.append(error)
        finally:
            talk.setLevel(level)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            yield Progress(bar.done, bar.total or 0, "Downloading BCCD")
            thread.join(0.2)
    finally:
        bar.cancelled = True
        thread.join(2)  # lets go of its file before the folder is removed
    if failed or not (work / "bccd.zip").exists():
        raise CellalError(
            "BCCD could not be downloaded from github.com: check the network, or set "
            "NAPARI_CELLAL_DATA to a folder that holds it."
        ) from (failed[0] if failed else None)
