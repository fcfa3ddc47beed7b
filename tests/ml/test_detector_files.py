"""Model folders: what is written is read again, and what is damaged or foreign is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pickle
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import save_file

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import ModelRecord
from napari_cellal.detect.architectures import architecture
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.settings import NetworkSettings
from napari_cellal.detect.start import Start, find_start, put_in
from napari_cellal.detect.weights import load_model
from napari_cellal.networks import download, model_files
from napari_cellal.networks.download import fetch
from napari_cellal.networks.model_files import save_model
from napari_cellal.networks.normalization import Normalization

NORM = Normalization("uint8", (0.0,) * 3, (255.0,) * 3, (0.5,) * 3, (0.2,) * 3)
SHAPE = NetworkSettings(anchor_sizes=((16.0, 24.0),))


def network_of(name="mobilenet_v3", channels=3, classes=2, shape=SHAPE):
    torch.manual_seed(0)
    return build_detector(name, channels, classes, shape, [0.5] * channels, [0.2] * channels)


def record_of(**changes):
    record = ModelRecord(
        "m",
        "detector",
        "mobilenet_v3",
        (1, 2),
        ("a", "b"),
        ("red", "green", "blue"),
        normalization=NORM.as_dict(),
        settings={"network": SHAPE.model_dump(mode="json")},
    )
    return dataclasses.replace(record, **changes)


@pytest.fixture
def folder(tmp_path):
    save_model(record_of(), network_of().state_dict(), tmp_path / "m")
    return tmp_path / "m"


def test_a_model_comes_back_as_it_was(folder):
    record, network = load_model(folder)
    assert (record.class_ids, record.class_names) == ((1, 2), ("a", "b"))
    assert (
        record.weights_sha256
        == hashlib.sha256((folder / model_files.WEIGHTS).read_bytes()).hexdigest()
    )
    for key, value in network_of().state_dict().items():
        assert torch.equal(value, network.state_dict()[key])
    assert [p.name for p in folder.parent.iterdir()] == ["m"]


def test_a_model_is_never_overwritten(folder):
    with pytest.raises(ModelError, match="already"):
        save_model(record_of(), {}, folder)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(model_files, "save_file", full)
    with pytest.raises(ModelError, match="disk full"):
        save_model(record_of(), {}, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def changed(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.write_bytes(bytes(data))


def pickled(path):
    path.write_bytes(pickle.dumps({"a": 1}))


@pytest.mark.parametrize("harm", [cut, changed, pickled, lambda path: path.unlink()])
def test_damaged_weights_are_refused(folder, harm):
    harm(folder / model_files.WEIGHTS)
    with pytest.raises(ModelError):
        load_detector(folder, "cpu")


@pytest.mark.parametrize("harm", [cut, pickled])
def test_damaged_weights_are_refused_without_a_checksum_too(folder, harm):
    card = folder / model_files.CARD
    card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_sha256": ""}))
    harm(folder / model_files.WEIGHTS)
    with pytest.raises(ModelError, match="damaged"):
        load_detector(folder, "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "mobilenet_v2"}, "do not fit"),
        ({"architecture": "huge"}, "huge"),
        ({"class_ids": (1, 2, 3)}, "do not fit"),
        ({"kind": "classifier"}, "not a detector"),
        ({"settings": {}}, "not a detector"),
        ({"normalization": {}}, "normalization"),
    ],
)
def test_a_card_for_something_else_is_refused(tmp_path, changes, words):
    save_model(record_of(**changes), network_of().state_dict(), tmp_path / "m")
    with pytest.raises(ModelError, match=words):
        load_detector(tmp_path / "m", "cpu")


def test_a_folder_that_is_no_model_is_refused(tmp_path, folder):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ModelError, match="not a model"):
            load_detector(place, "cpu")
    (folder / model_files.CARD).write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        load_detector(folder, "cpu")


def test_a_start_file_is_taken_under_any_usual_name(tmp_path):
    arch = architecture("mobilenet_v2")
    network = network_of("mobilenet_v2", shape=SHAPE.model_copy(update={"norm": "frozen"}))
    body = {
        "features." + k: torch.full_like(v, 0.25)
        for k, v in network.backbone.body.state_dict().items()
    }
    save_file(body, tmp_path / "body.safetensors")
    begun = run_job(find_start(str(tmp_path / "body.safetensors"), arch))
    put_in(network, begun, (1, 2))
    assert all((v == 0.25).all() for v in network.backbone.body.state_dict().values())
    other = network_of("mobilenet_v3", shape=SHAPE.model_copy(update={"norm": "frozen"}))
    with pytest.raises(ModelError, match="another architecture"):
        put_in(other, begun, (1, 2))


def test_a_pickle_to_start_from_is_refused(tmp_path):
    for name in ("w.pt", "w.safetensors"):
        torch.save({"a": torch.zeros(1)}, tmp_path / name)
        with pytest.raises(ModelError):
            run_job(find_start(str(tmp_path / name), architecture("mobilenet_v3")))


def test_known_classes_keep_their_rows():
    old = network_of(classes=2)
    new = network_of(classes=3)
    begun = Start("model m", old.state_dict(), record_of())
    put_in(new, begun, (5, 2, 1), record_of().class_ids)
    mine, theirs = (n.roi_heads.box_predictor for n in (new, old))
    for row, known in ((0, 0), (2, 2), (3, 1)):
        assert torch.equal(mine.cls_score.weight[row], theirs.cls_score.weight[known])
        assert torch.equal(mine.bbox_pred.weight[4 * row], theirs.bbox_pred.weight[4 * known])


def test_the_first_layer_fits_other_channels():
    begun = Start("file", network_of(channels=3).state_dict())
    for channels in (1, 5):
        network = network_of(channels=channels)
        put_in(network, begun, (1, 2))
        assert network.backbone.body["0"][0].weight.shape[1] == channels


class Answer(io.BytesIO):
    """A download."""

    def __init__(self, data):
        super().__init__(data)
        self.headers = {"Content-Length": str(len(data))}


def published(data, monkeypatch, tmp_path, name=None):
    digest = hashlib.sha256(data).hexdigest()[:8]
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **k: Answer(data))
    return f"https://example.org/{name or 'body-' + digest}.pth"


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_published_weights_are_downloaded_once(monkeypatch, tmp_path):
    url = published(saved({"a": torch.ones(2)}), monkeypatch, tmp_path)
    assert torch.equal(run_job(fetch(url))["a"], torch.ones(2))
    monkeypatch.setattr(download.urllib.request, "urlopen", None)
    assert torch.equal(run_job(fetch(url))["a"], torch.ones(2))


def test_without_a_network_the_sentence_is_for_a_person(monkeypatch, tmp_path):
    url = published(b"", monkeypatch, tmp_path)

    def fail(*_args, **_kinds):
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(download.urllib.request, "urlopen", fail)
    with pytest.raises(ModelError) as caught:
        run_job(fetch(url))
    assert "Errno" not in str(caught.value)
    assert urlsplit(url).netloc in str(caught.value)


def test_a_damaged_download_is_thrown_away(monkeypatch, tmp_path):
    url = published(b"half", monkeypatch, tmp_path, "body-00000000")
    with pytest.raises(ModelError, match="damaged"):
        run_job(fetch(url))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_cancelled_download_leaves_nothing(monkeypatch, tmp_path):
    job = fetch(published(saved({"a": torch.ones(9)}), monkeypatch, tmp_path))
    next(job)
    job.close()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_published_weights_cannot_run_programs(monkeypatch, tmp_path):
    url = published(saved(Evil()), monkeypatch, tmp_path)
    with pytest.raises(ModelError, match="damaged"):
        run_job(fetch(url))


def test_only_https(monkeypatch, tmp_path):
    published(b"", monkeypatch, tmp_path)
    with pytest.raises(ModelError, match="https"):
        run_job(fetch("http://example.org/a-1.pth"))
