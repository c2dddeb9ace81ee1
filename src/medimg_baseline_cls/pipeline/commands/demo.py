"""The demo command: phantom radiographs through the whole pipeline, and a check of its maps.

Phantoms come with the mask of every opacity, so the demo can show what real data cannot: whether
Grad-CAM looks where the finding is.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.operating_points import read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.interpret.mass_in_mask import dilate_masks, measure_mass_in_mask
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.commands.run import run
from medimg_baseline_cls.pipeline.steps.panel_drawing import compute_maps
from medimg_baseline_cls.pipeline.steps.prepare import reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    read_provenance,
    reopen_session,
)
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.own_output import DATA, is_marked
from medimg_baseline_cls.utils.quantities import say_score

POSITIVE = "PNEUMONIA"
NUM_MAPS = 64


@ending_plainly(is_resumable=True)
def demo(
    *,
    output_dir: Path = Path("outputs"),
    seed: int = 0,
    shortcut: bool = False,
    num_train: int = 900,
    num_test: int = 240,
    image_size: int = 112,
    finetune_epochs: int = 8,
) -> RunResult:
    """Draw phantoms, train on them from random weights, evaluate, explain and report.

    Args:
        output_dir: where phantoms, cache and run go.
        seed: of the phantoms and of the run.
        shortcut: plant a corner marker that betrays the class.
        num_train, num_test: images of each part.
        image_size: side in pixels.
        finetune_epochs: epochs of training; no head-only stage, because there are no pretrained
            features.

    Returns:
        The run folder and demo.json's content: test AP, and how many times as much of the
        maps' mass is inside the lesions as a uniform map would put there.
    """
    data_dir = output_dir / "phantoms" / f"{num_train}_{num_test}_{image_size}_{seed}_{shortcut:d}"
    config = Config(
        project="demo",
        data_dir=data_dir,
        output_dir=output_dir,
        pretrained=False,
        image_size=image_size,
        cam_layer="layer3",  # 7 x 7 cells at 112 px; the last layer has but 4 x 4
        head_epochs=0,
        finetune_epochs=finetune_epochs,
        head_lr=2e-3,
        finetune_lr=2e-3,
        weight_decay=0.05,
        augment="light",
        seed=seed,
    )
    # The mark comes with the whole set; sets of earlier versions have a file of this name instead.
    if not (is_marked(data_dir, DATA) or (data_dir / "complete").is_file()):
        write_phantoms(
            data_dir,
            num_train=num_train,
            num_test=num_test,
            image_size=image_size,
            seed=seed,
            shortcut=shortcut,
        )
    result = run(config)
    session = reopen_session(result.run_dir)
    average_precision = result.summary["headline"]["test"]["average_precision"]["value"]
    inside, uniform = _measure_maps(session)
    content = {
        "test_average_precision": average_precision,
        "num_maps": NUM_MAPS,
        "mass_inside_lesions": inside,
        "mass_inside_lesions_uniform": uniform,
        "ratio": inside / uniform if uniform else None,
    }
    write_json(result.run_dir / "demo.json", content)
    session.log.info(
        f"phantoms: test AP {say_score(average_precision)}; of the Grad-CAM mass of correctly "
        f"found positives {inside:.0%} is in or next to the lesions, "
        f"{inside / uniform:.1f} times the {uniform:.0%} of a uniform map"
    )
    return RunResult(result.run_dir, content)


def _measure_maps(session: Session) -> tuple[float, float]:
    """Return the share of Grad-CAM mass in the lesions of found positives, and a uniform map's."""
    model, _ = load_model(session, "best.pt")
    data = reopen_data(session, read_provenance(session.run_dir))
    predictions = read_predictions(session.run_dir / "predictions_test.csv", split="test")
    points = read_thresholds(session.run_dir / "thresholds.json")[POSITIVE]
    threshold = next(t.value for t in points if t.rule == "max_f1")
    found = predictions.truth(POSITIVE) & (predictions.scores(POSITIVE) >= threshold)
    positions = np.flatnonzero(found)[:NUM_MAPS]
    target = data.split.class_names.index(POSITIVE)
    _, evidence = compute_maps(
        session,
        model,
        images=data.image_set("test"),
        positions=positions,
        targets=[target] * len(positions),
    )
    assert session.config.data_dir is not None
    paths = [session.config.data_dir / "masks" / predictions.paths[i] for i in positions]
    masks = dilate_masks(_read_masks(paths), session.config.image_size // 8)
    return measure_mass_in_mask(torch.from_numpy(evidence.heats), masks)


def _read_masks(paths: list[Path]) -> Tensor:
    masks: list[Tensor] = []
    for path in paths:
        with Image.open(path.with_suffix(".png")) as image:
            masks.append(torch.from_numpy(np.array(image) > 0))
    return torch.stack(masks)
