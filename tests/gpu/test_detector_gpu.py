"""The detector on a CUDA GPU: it learns, answers as on the CPU, and gives the memory back."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from napari_cellal.core.geometry import iou_matrix
from napari_cellal.core.progress import run_job
from napari_cellal.detect.average_precision import ap50
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import TrainImage, TrainRequest
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.detect.train import train_detector
from napari_cellal.networks.points import TrainPoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


def squares(seed, shape=(160, 200)):
    """Return uint8[1, Y, X] and the boxes of bright squares on a grid."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(50, 8, (1, *shape))
    boxes = []
    for y in range(5, shape[0] - 35, 40):
        for x in range(5, shape[1] - 35, 40):
            if rng.random() < 0.5:
                side = int(rng.integers(16, 30))
                plane[:, y : y + side, x : x + side] += 120
                boxes.append((float(y), float(x), float(y + side), float(x + side)))
    return plane.clip(0, 255).astype(np.uint8), tuple(boxes)


def request_of(folder, n, architecture="mobilenet_v2", **settings):
    images, pixels = [], {}
    for k in range(n):
        pixels[str(k)], boxes = squares(k)
        images.append(TrainImage(str(k), boxes, (1,) * len(boxes)))
    request = TrainRequest(
        tuple(images),
        (1,),
        ("square",),
        str(folder),
        architecture=architecture,
        start="scratch",
        device="cuda",
        settings=TrainSettings(scale=1.0, batch_size=4, learning_rate=1.5e-3, **settings),
    )
    return request, lambda path, plane: pixels[path]


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "resnet50"])
def test_it_learns_and_answers_as_on_the_cpu(architecture, tmp_path):
    request, reader = request_of(tmp_path, 12, architecture, steps=150)
    trained = run_job(train_detector(request, reader=reader))
    on_gpu, on_cpu = (load_detector(trained.folder, d) for d in ("cuda", "cpu"))
    truth = [squares(100 + k) for k in range(4)]
    found = [on_gpu.detect(pixels, image_id="a") for pixels, _ in truth]
    boxes = [b for _, b in truth]
    assert ap50(found, boxes, [(1,) * len(b) for b in boxes], (1,))[1] > 0.8
    same = on_cpu.detect(truth[0][0], image_id="a")
    sure = [b for b, s in zip(same.boxes, same.scores, strict=True) if s > 0.6]
    # bfloat16 on the GPU: near, not equal
    assert (iou_matrix(sure, found[0].boxes).max(axis=1) > 0.8).all()


def test_a_cancelled_training_gives_the_memory_back(tmp_path):
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    request, reader = request_of(tmp_path, 3, steps=100)
    job = train_detector(request, reader=reader)
    while not isinstance(next(job).item, TrainPoint):
        pass
    assert torch.cuda.memory_allocated() > before
    job.close()
    del job
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 2**20
    assert list(tmp_path.iterdir()) == []
