"""Explanations lie on planted signs, and name the channel that they are planted in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from napari_cellal.classify import explain as explaining
from napari_cellal.classify.architectures import ARCHITECTURES, Architecture
from napari_cellal.classify.network import Classifier
from napari_cellal.classify.predict import load
from napari_cellal.classify.requests import ClassifierRequest, Patch
from napari_cellal.classify.settings import ClassifySettings, NetworkSettings, ViewSettings
from napari_cellal.classify.train import train_classifier
from napari_cellal.core.progress import run_job

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE, SIGN = 64, 16
IDS = (1, 2, 3)


class Signs:
    """Noise with a sign somewhere, in one channel of three: stripes along, across, or none.

    A disc that says nothing stands elsewhere, in another channel. Without pictures that have no
    sign, a network may learn one kind alone and answer the other where it does not find it.
    """

    def __init__(self, channel=1):
        self.pixels, self.where, self.channel = {}, {}, channel

    def read(self, path, plane):
        return self.pixels[path]

    def add(self, n, split, seed):
        rng = np.random.default_rng(seed)
        made = []
        stripes = np.tile((np.arange(SIGN) % 4 < 2).astype(float), (SIGN, 1))
        for k in range(n):
            image = rng.normal(0.4, 0.05, (3, SIDE, SIDE))
            y, x = rng.integers(0, SIDE - SIGN, 2)
            sign = (0 * stripes, stripes, stripes.T)[k % 3]
            image[self.channel, y : y + SIGN, x : x + SIGN] += 0.6 * sign
            v, u = rng.integers(8, SIDE - 8, 2)
            yy, xx = np.mgrid[:SIDE, :SIDE]
            image[(self.channel + 1) % 3][(yy - v) ** 2 + (xx - u) ** 2 < 36] += 0.4
            path = f"{split}{k}"
            self.pixels[path] = (image.clip(0, 1) * 255).astype(np.uint8)
            self.where[path] = (y, x)
            made.append(Patch(path, path, (IDS[k % 3],), split=split))
        return made

    def is_hit(self, path, heat):
        """Return whether the hottest place lies on the sign, 4 px around it allowed."""
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        v, u = self.where[path]
        return v - 4 <= y < v + SIGN + 4 and u - 4 <= x < u + SIGN + 4


def small_transformer(norm, size_px):
    from torchvision.models import VisionTransformer

    network = VisionTransformer(
        image_size=size_px, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128
    )
    network.heads = nn.Identity()
    return network


def small_stack(norm, size_px):
    """Return a network whose last map has stride 4, as signs of 16 px want."""

    def block(a, b, stride):
        return [nn.Conv2d(a, b, 3, stride, 1), norm(b), nn.ReLU()]

    body = nn.Sequential()
    body.features = nn.Sequential(*block(3, 16, 2), *block(16, 32, 2), *block(32, 32, 1))
    body.avgpool = nn.AdaptiveAvgPool2d(1)
    body.flatten = nn.Flatten()
    return body


SMALL = {
    "small_stack": Architecture(
        "", small_stack, 32, (("features",),), "features", "", target_stride=4
    ),
    "small_transformer": Architecture(
        "", small_transformer, 64, (("conv_proj", "encoder"),), "", "", multiple_px=8
    ),
}


def learned(signs, folder, architecture, monkeypatch, **more):
    for name, arch in SMALL.items():
        monkeypatch.setitem(ARCHITECTURES, name, arch)
    settings = ClassifySettings(
        **{
            "steps": 400, "batch_size": 16, "learning_rate": 3e-3, "validate_every": 100,
            "turns": False, "flips": False, "shear": 0, "zoom_jitter": 1, "average": 0.9,
            "frozen_share": 0, "dropout": 0, **more,
        }
    )  # fmt: skip
    request = ClassifierRequest(
        tuple(signs.add(256, "train", 0)), IDS, ("none", "across", "along"), str(folder),
        architecture=architecture, start="scratch", device="cpu", settings=settings,
        view=ViewSettings(size_px=SIDE),
    )  # fmt: skip
    return load(Path(run_job(train_classifier(request, reader=signs.read)).folder), "cpu")


def explained(model, signs, patches):
    """Return explanations of the signs that are classed right, and the share of these."""
    found = {}
    patches = [p for p in patches if p.class_ids != (1,)]
    for p in patches:
        said = explaining.explain(model, model.show(signs.pixels[p.path]))
        if model.record.class_ids[said.class_index] == p.class_ids[0]:
            found[p.path] = said
    return found, len(found) / len(patches)


def test_grad_cam_lies_on_the_sign_and_the_channel_is_named(tmp_path, monkeypatch):
    signs = Signs(channel=1)
    model = learned(signs, tmp_path, "small_stack", monkeypatch)
    found, right = explained(model, signs, signs.add(60, "test", 1))
    assert right >= 0.9
    assert {e.method for e in found.values()} == {"grad-cam"}
    assert np.mean([signs.is_hit(path, e.heat) for path, e in found.items()]) >= 0.9
    assert np.mean([e.channels.argmax() == 1 for e in found.values()]) >= 0.9
    assert all(e.heat.shape == (SIDE, SIDE) and e.heat.min() >= 0 for e in found.values())


def test_attention_lies_on_the_sign(tmp_path, monkeypatch):
    signs = Signs(channel=0)
    model = learned(signs, tmp_path, "small_transformer", monkeypatch)
    found, right = explained(model, signs, signs.add(60, "test", 1))
    assert right >= 0.9
    assert {e.method for e in found.values()} == {"attention"}
    assert np.mean([signs.is_hit(path, e.heat) for path, e in found.items()]) >= 0.8


def test_a_model_without_gradients_is_explained_by_covering(tmp_path, monkeypatch):
    signs = Signs(channel=2)
    model = learned(signs, tmp_path, "small_stack", monkeypatch)
    hits = []
    for k in range(1, 30, 3):
        heat = explaining.covering(model, model.show(signs.pixels[f"train{k}"]), 1)
        hits.append(signs.is_hit(f"train{k}", heat))
    assert np.mean(hits) >= 0.9


def test_looking_at_attention_changes_no_answer(monkeypatch):
    network = small_transformer(None, SIDE).eval()
    layers = [m for m in network.modules() if isinstance(m, nn.MultiheadAttention)]
    picture = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        plain = network(picture)
        with explaining._attention_of(layers) as seen:
            looked_at = network(picture)
    assert torch.allclose(plain, looked_at, atol=1e-5)
    assert [tuple(w.shape) for w in seen] == [(1, 4, 65, 65)] * 2
    assert torch.allclose(seen[0].sum(3), torch.ones(1, 4, 65), atol=1e-5)


@pytest.mark.parametrize("name", sorted(n for n, a in ARCHITECTURES.items() if a.target))
def test_every_network_of_convolutions_has_a_map_of_its_stride(name):
    network = Classifier(name, 2, 3, 64, NetworkSettings(), [0.5] * 2, [0.2] * 2).eval()
    arch = network.architecture
    shapes = []
    layer = network.body.get_submodule(arch.target)
    hook = layer.register_forward_hook(lambda m, args, out: shapes.append(out.shape[2:]))
    classifier = SimpleNamespace(network=network, device=torch.device("cpu"))
    heat = explaining.grad_cam(classifier, torch.rand(2, 64, 64), 1)
    hook.remove()
    assert heat.shape == (64, 64)
    assert {tuple(s) for s in shapes} == {(256 // arch.target_stride,) * 2}
