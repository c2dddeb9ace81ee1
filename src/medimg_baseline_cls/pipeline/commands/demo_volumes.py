"""The demo of volumes: phantom CTs through the whole pipeline, and which slices it looked at.

Phantoms come with the mask of every lesion, so the demo can show what real data cannot: whether
the slice that says most is one with the lesion.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.loaders import to_unit_range
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.models.slices import weigh_slices
from medimg_baseline_cls.phantom.image_folder import MASK_FOLDER
from medimg_baseline_cls.phantom.volume_folder import POSITIVE, write_volumes
from medimg_baseline_cls.pipeline.commands.run import run
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

NUM_SLICES = 12
SETTINGS: dict[str, Any] = {
    "slices": NUM_SLICES,
    "slice_pooling": "max",  # from random weights attention learns later
    "intensity": "lung",
    "group_regex": r"patient\d+",
    "positive_class": POSITIVE,
    "arch": "test_resnet",  # timm's smallest
    "cam_layer": "layer2",  # 8 x 8 cells at 64 px; the last layer has but 2 x 2
    "pretrained": False,
    "batch_size": 16,
    "head_epochs": 0,
    "head_lr": 2e-3,
    "finetune_lr": 2e-3,
    "weight_decay": 0.05,
    "augment": "light",
}


@ending_plainly(is_resumable=True)
def demo_volumes(
    *,
    output_dir: Path = Path("outputs"),
    seed: int = 0,
    num_train: int = 440,
    num_test: int = 120,
    image_size: int = 64,
    finetune_epochs: int = 8,
) -> RunResult:
    """Draw phantom CTs, train on them from random weights, evaluate, explain and report.

    A lesion is in 2 of 12 slices of half of them.

    Args:
        output_dir: where phantoms, cache and run go.
        seed: of the phantoms and of the run.
        num_train, num_test: volumes of each part; a tenth of the first is VAL.
        image_size: side of the slices in pixels.
        finetune_epochs: epochs of training; no head-only stage, because there are no pretrained
            features.

    Returns:
        The run folder and demo.json's content: AUROC on TEST, and in what share of its volumes
        with a lesion the slice that says most shows it.

    Raises:
        DataError: nibabel is missing.
    """
    data_dir = output_dir / "phantoms" / f"volumes_{num_train}_{num_test}_{image_size}_{seed}"
    config = Config(
        project="demo",
        data_dir=data_dir,
        output_dir=output_dir,
        image_size=image_size,
        finetune_epochs=finetune_epochs,
        seed=seed,
        **SETTINGS,
    )
    if not is_marked(data_dir, DATA):
        write_volumes(
            data_dir,
            num_train=num_train,
            num_test=num_test,
            num_slices=NUM_SLICES,
            image_size=image_size,
            seed=seed,
        )
    result = run(config)
    session = reopen_session(result.run_dir)
    auroc = result.summary["headline"]["test"]["auroc"]["value"]
    num_lesions, found, chance = _measure_slices(session)
    content = {
        "test_auroc": auroc,
        "num_lesions": num_lesions,
        "slice_shows_lesion": found,
        "slice_shows_lesion_by_chance": chance,
    }
    write_json(result.run_dir / "demo.json", content)
    session.log.info(
        f"phantom CTs: test AUROC {say_score(auroc)}; in {found:.0%} of the {num_lesions} volumes "
        f"with a lesion the slice that says most shows it, a slice drawn at random in {chance:.0%}"
    )
    return RunResult(result.run_dir, content)


def _measure_slices(session: Session) -> tuple[int, float, float]:
    """Return how many volumes of TEST have a lesion, and how often their best slice shows it.

    The third number is how often a slice that is drawn at random would.
    """
    model, _ = load_model(session, "best.pt")
    data = reopen_data(session, read_provenance(session.run_dir))
    target = data.split.class_names.index(POSITIVE)
    rows = data.split.rows("test")
    positions = np.flatnonzero(data.split.labels(rows) == target)
    pixels = to_unit_range(data.image_set("test").batch(positions).pixels, session.device)
    targets = torch.full((len(positions),), target)
    best = weigh_slices(model, pixels, targets=targets).argmax(dim=1).tolist()
    assert session.config.data_dir is not None
    masks = session.config.data_dir / MASK_FOLDER
    paths = [masks / data.split.records[rows[place]].path for place in positions]
    shows = np.stack([decode_volume(path.read_bytes()).voxels.max(axis=(1, 2)) for path in paths])
    is_shown = shows > 0  # (n, K)
    return len(paths), float(is_shown[np.arange(len(paths)), best].mean()), float(is_shown.mean())
