"""Which pictures are learned from, which say when to stop, and which measure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .requests import Patch

SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
FILE = "pictures.json"
LEAST = 3
"""A class with fewer pictures cannot stand in every split, and is only learned from."""


def with_splits(
    patches: Sequence[Patch], class_names: Mapping[int, str], *, seed: int = 0
) -> tuple[list[Patch], list[str]]:
    """Return the patches, each with its split, and what the person should know.

    80 % train, 10 % val, 10 % test, in every class alike; a group stays together. Splits that
    are there are kept; if some are but ``val`` is missing, a tenth of ``train`` becomes it.
    The draw depends on the names and the seed alone. A new picture can move others, since a split
    takes its share of each class; a model remembers its own, see `as_taught`.
    """
    notes: list[str] = []
    known = {p.split for p in patches if p.split}
    if known:
        missing = [p for p in patches if not p.split]
        done = [replace(p, split=p.split or "train") for p in patches]
        if missing:
            notes.append(f"{len(missing)} pictures without a split are learned from.")
        if "val" in known:
            return done, notes
        wanted = {"train": 0.9, "val": 0.1}
        train = [p for p in done if p.split == "train"]
        drawn = dict(zip([p.key for p in train], _drawn(train, wanted, seed), strict=True))
        return [replace(p, split=drawn.get(p.key, p.split)) for p in done], notes
    few = [
        f"'{class_names[c]}' has only {n} picture{'s' * (n != 1)}"
        for c, n in Counter(c for p in patches for c in p.class_ids).items()
        if n < LEAST
    ]
    if few:
        notes.append(f"{'; '.join(few)}: learned from, but too few to be measured.")
    splits = _drawn(patches, SHARES, seed)
    return [replace(p, split=s) for p, s in zip(patches, splits, strict=True)], notes


def remembered(patches: Sequence[Patch]) -> bytes:
    """Return the splits as a file of the model, so that it is never measured on what it learned."""
    return json.dumps({p.key: p.split for p in patches}).encode()


def remembered_by(model_folder: Path) -> dict[str, str] | None:
    """Return {key: split} of the pictures that a model was made with; None where it has no such.

    Models of earlier versions have none.
    """
    try:
        found = json.loads((model_folder / FILE).read_bytes())
        return {str(key): str(split) for key, split in found.items()}
    except (OSError, ValueError, AttributeError):
        return None


def as_taught(patches: Sequence[Patch], known: Mapping[str, str]) -> list[Patch]:
    """Return the patches with the splits that they had for a model.

    What it learned from stays learned from, and so does what is new in a group of these. Other
    pictures keep their split; those without one were never shown to it, and can test it.
    """
    groups: dict[str, str] = {}
    for p in patches:
        told = known.get(p.key, "")
        if p.group and told and groups.get(p.group) != "train":
            groups[p.group] = told
    done = []
    for p in patches:
        told = known.get(p.key) or groups.get(p.group, "")
        split = told if told in ("train", "val") else p.split or told or "test"
        done.append(replace(p, split=split))
    return done


def _order(text: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()


def _drawn(patches: Sequence[Patch], shares: Mapping[str, float], seed: int) -> list[str]:
    """Return a split a patch.

    Groups are dealt one by one, the largest first, to a held-out split that lacks at least half
    of what they hold. Where all are too large for that, each held-out split gets one of the
    smallest, unless that is more than a third of everything.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for k, p in enumerate(patches):
        groups[p.group or f"\0{p.key}"].append(k)
    total = Counter(c for p in patches for c in p.class_ids)
    held = [name for name in shares if name != "train"]
    lack = {
        name: {
            c: _quota(n, shares[name]) if name in held else float("inf") for c, n in total.items()
        }
        for name in shares
    }
    out = ["train"] * len(patches)
    ordered = sorted(groups, key=lambda g: (-len(groups[g]), _order(g, seed)))
    for name in ordered:
        members = groups[name]
        n = Counter(c for k in members for c in patches[k].class_ids)
        for split in held:
            wanted = sum(min(max(lack[split][c], 0), m) for c, m in n.items())
            if 2 * wanted >= n.total() > 0:
                for c, m in n.items():
                    lack[split][c] -= m
                for k in members:
                    out[k] = split
                break
    dealt = [name for name in reversed(ordered) if name[0] != "\0"]
    for split in held:
        left = [g for g in dealt if out[groups[g][0]] == "train"]
        if split not in out and len(left) > 1 and 3 * len(groups[left[0]]) <= len(patches):
            for k in groups[left[0]]:
                out[k] = split
    return out


def _quota(n: int, share: float) -> float:
    """Return how many of a class's ``n`` pictures a held-out split takes."""
    return 0 if n < LEAST else max(1, round(n * share))
