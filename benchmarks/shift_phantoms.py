"""Pairs of phantoms: another acquisition, a marker that says nothing any more, a rarer disease.

Phantoms are drawn with a fixed seed, so that what differs between training side and test is known.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from shift_pairs import Images, Pair, finish_pair
from stress import STRESSES

from medimg_baseline_cls.phantom.image_folder import make_phantom

PREFIX = "phantom "  # of the names of these pairs
_SEED, _SIDE = 13, 96
_NEAR_SHARE = 0.25
_PLATE = slice(2, 9)
_KEPT = "marker kept"


@dataclass(frozen=True, kw_only=True)
class _Set:
    """Some phantoms: which, how many are ill, how many show the marker, and how they were taken."""

    first: int
    count: int = 400
    ill: float = 0.5
    marker: tuple[float, float] = (0.0, 0.0)  # share of the healthy and of the ill
    elsewhere: bool = False


_SETS = {
    "usual": _Set(first=0, count=800),
    "marked": _Set(first=0, count=800, marker=(0.15, 0.85)),
    "elsewhere": _Set(first=1000, elsewhere=True),
    "independent": _Set(first=2000, marker=(0.5, 0.5)),
    "kept": _Set(first=2000, marker=(0.15, 0.85)),
    "rare": _Set(first=3000, ill=0.1),
}
_PAIRS = {  # what differs, training side, shifted test
    "acquisition": ("tone, resolution, noise and a frame", "usual", "elsewhere"),
    "shortcut": ("marker on 85 % against 15 %; then 50 % of each class", "marked", "independent"),
    "prevalence": ("50 % PNEUMONIA; then 10 %", "usual", "rare"),
}

HEAD = """
## Phantoms

Not radiographs, and not in the means above: the drawn chests of `medimg demo`, of which it is known
what differs. About 600 images train, 200 are near. "Acquisition": the shifted test has another tone
curve, a third of the resolution, noise and a dark frame. "Shortcut": a bright plate in a corner is
on 85 % of PNEUMONIA and 15 % of NORMAL in TRAIN, VAL and near, and on half of each class in the
shifted test, where it says nothing. "Marker kept" is the same chests with the plate as in TRAIN:
the difference is what a network takes from the plate. "Prevalence": the shifted test has 10 %
PNEUMONIA (40 images) instead of 50 %. "Stressed" is every second image of near. VAL is 60 images,
so the choice of an epoch is noisy. Tone, resolution, noise and frame are also among the changes
that the robust recipe trains with and chooses its epoch by.
"""


def draw_phantoms(folder: Path) -> None:
    """Write the images of all sets, a folder for each class."""
    for name, one in _SETS.items():
        random = np.random.default_rng([_SEED, one.first])
        ill = random.permutation(one.count) < round(one.ill * one.count)
        images, order = [], np.zeros(one.count)
        for place in range(one.count):
            pixels = make_phantom(
                _SEED, one.first + place, is_positive=bool(ill[place]), image_size=_SIDE
            ).pixels.copy()
            images.append(_take_elsewhere(pixels, random) if one.elsewhere else pixels)
            order[place] = random.random()
        for label, is_ill in (("NORMAL", False), ("PNEUMONIA", True)):
            places = np.flatnonzero(ill == is_ill)
            places = places[np.argsort(order[places])]
            for place in places[: round(one.marker[is_ill] * len(places))]:
                images[place][_PLATE, _PLATE] = 235
            (folder / label).mkdir(parents=True, exist_ok=True)
            for place in places:
                Image.fromarray(images[place]).save(folder / label / f"{name}-{place:04d}.png")


def make_phantom_pairs(images: Images) -> list[Pair]:
    """Return the pairs of the images that `draw_phantoms` wrote."""
    sets = np.array([Path(path).name.split("-")[0] for path in images.paths])
    # The chests of "kept" are those of "independent".
    patients = np.array([path.replace("kept-", "independent-") for path in images.paths])
    images = replace(images, patients=patients)
    pairs = [
        finish_pair(
            images,
            PREFIX + name,
            what,
            sets == test,
            left_out=~np.isin(sets, (train, test)),
            near_share=_NEAR_SHARE,
        )
        for name, (what, train, test) in _PAIRS.items()
    ]
    kept = {PREFIX + "shortcut": {_KEPT: sets == "kept"}}
    return [replace(pair, others=kept.get(pair.name, {})) for pair in pairs]


def _take_elsewhere(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return the same chest from another device: every step differs a little between images."""
    coarse = Image.fromarray(pixels).resize((_SIDE // 3, _SIDE // 3), Image.Resampling.BOX)
    image = coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    gray = np.asarray(image.filter(ImageFilter.GaussianBlur(0.5)), dtype=np.float64) / 255
    steepness = random.uniform(6, 9)  # of a sigmoid: shadows and lights are compressed
    gray = 1 / (1 + np.exp(-steepness * (gray - random.uniform(0.5, 0.6))))
    gray += random.normal(0, random.uniform(0.04, 0.08), gray.shape)
    width, height = random.integers(4, 12, size=2)
    framed = np.full_like(gray, 0.04)
    framed[height:-height, width:-width] = gray[height:-height, width:-width]
    return np.rint(np.clip(framed, 0, 1) * 255).astype(np.uint8)


def describe_phantoms(rows: list[dict[str, Any]]) -> list[str]:
    """Return a row for each pair, recipe and network: means over seeds, and the range."""
    lines = [
        "| pair | recipe | network | runs | near AUROC | near AP | near log loss "
        "| shifted AUROC (range) | marker kept AUROC | shifted AP | shifted log loss "
        "| shifted sensitivity | shifted specificity | stressed AUROC "
        "| final not below head-only | seconds |",
        "|" + "---|" * 16,
    ]
    for pair in _PAIRS:
        of_pair = [row for row in rows if row["pair"] == PREFIX + pair]
        for recipe in dict.fromkeys(f"{row['recipe']}, {row['size']} px" for row in of_pair):
            own = [r for r in of_pair if f"{r['recipe']}, {r['size']} px" == recipe]
            for network in ("head-only", "final"):
                cells = [pair, recipe, network, *_describe_network(own, network)]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _describe_network(runs: list[dict[str, Any]], network: str) -> list[str]:
    def mean(part: str, metric: str, digits: int) -> str:
        return f"{statistics.mean(run[network][part][metric] for run in runs):.{digits}f}"

    shifted = [run[network]["shifted"]["auroc"] for run in runs]
    stressed = [run[network][name]["auroc"] for run in runs for name in STRESSES]
    kept = [
        sum(run["final"][test]["auroc"] >= run["head-only"][test]["auroc"] for run in runs)
        for test in ("near", "shifted")
    ]
    return [
        str(len(runs)),
        mean("near", "auroc", 4),
        mean("near", "ap", 4),
        mean("near", "log_loss", 3),
        f"{statistics.mean(shifted):.4f} ({min(shifted):.4f} to {max(shifted):.4f})",
        mean(_KEPT, "auroc", 4) if _KEPT in runs[0][network] else "-",
        mean("shifted", "ap", 4),
        mean("shifted", "log_loss", 3),
        mean("shifted", "sensitivity", 3),
        mean("shifted", "specificity", 3),
        f"{statistics.mean(stressed):.4f}",
        f"near {kept[0]}, shifted {kept[1]} of {len(runs)} runs" if network == "final" else "",
        f"{statistics.median(run['seconds'] for run in runs):.0f}",
    ]
