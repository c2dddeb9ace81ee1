"""The explanation command: Grad-CAM for exactly the mistakes that were mined, or any image.

One map per image and kind, whichever operating points it was mistaken at; the panels sort
by confidence, the worst first.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medimg_baseline_cls.data.batches.loaders import ImageSet, to_unit_range
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.inference import INFERENCE_BATCH_SIZE
from medimg_baseline_cls.evaluation.mistakes import read_mistakes
from medimg_baseline_cls.evaluation.operating_points import Thresholds, read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.interpret.cam import Evidence, compute_evidence
from medimg_baseline_cls.interpret.panels import CLASS_NAME, PanelPainter, PanelText
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.decisions import Decider
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, reopen_data
from medimg_baseline_cls.pipeline.steps.run_model import load_model, warn_of_checkpoint
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    read_provenance,
    reopen_session,
)
from medimg_baseline_cls.pipeline.steps.thumbnails import write_thumbnails
from medimg_baseline_cls.reporting.outdated import mark_outdated
from medimg_baseline_cls.schema import Mistake
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.runs import hold_run
from medimg_baseline_cls.utils.visible import show_hidden

_FEW_CELLS = 5  # rows or columns of a map


@dataclass(frozen=True)
class Explained:
    """An image whose map is wanted: where it lies in a set, and what its panel says."""

    position: int
    target: int
    path: Path
    text: PanelText


@ending_plainly(is_resumable=False)
def explain(
    run: Path | str = "latest",
    *,
    output_dir: Path = Path("outputs"),
    anonymous_ids: bool = False,
    model: nn.Module | None = None,
) -> RunResult:
    """Draw a Grad-CAM panel for each mined mistake into gradcam/FP and gradcam/FN.

    Args:
        run: an evaluated run folder, or "latest".
        output_dir: where `latest` is looked up.
        anonymous_ids: name the panels, and the images on them, by pseudonyms; so does the setting
            of this name.
        model: a network of the class that the run was trained with, if that was passed.

    Raises:
        RunError: the run was not evaluated yet, or another process writes to it.
    """
    session = replace(reopen_session(run, output_dir=output_dir), module=model)
    with hold_run(session.run_dir, command="explain", log=session.log):
        return _explain(session, anonymous_ids=anonymous_ids)


def _explain(session: Session, *, anonymous_ids: bool) -> RunResult:
    if not (session.run_dir / "mistakes.csv").is_file():
        raise RunError(
            f"{session.run_dir} was not evaluated yet, so no mistakes are known: "
            f"`medimg run --resume {session.run_dir}` does that and the rest."
        )
    mistakes = read_mistakes(session.run_dir / "mistakes.csv")
    warn_of_checkpoint(session, "the maps are of the new network, the mistakes of the one before")
    model, _ = load_model(session, "best.pt")
    data = reopen_data(session, read_provenance(session.run_dir))
    folder = session.run_dir / "gradcam"
    mark_outdated(session.run_dir)
    for kind in ("FP", "FN"):
        # Panels of an earlier evaluation may show images that are no mistakes any more.
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
    is_anonymous = anonymous_ids or session.config.anonymous_ids
    shown_name = load_pseudonyms().image if is_anonymous else str
    wanted = list(_plan_panels(session, data, mistakes=mistakes, shown_name=shown_name))
    draw_panels(session, model, images=data.image_set("test"), wanted=wanted)
    write_thumbnails(session, data)
    session.log.info(f"{describe_panels(wanted)}: {folder}")
    if is_anonymous and not session.config.anonymous_ids:
        session.log.info(
            "these panels show pseudonyms; a report shows real names unless it has --anonymous-ids"
        )
    return RunResult(session.run_dir, {"num_panels": len(wanted)})


def describe_panels(drawn: Sequence[Explained]) -> str:
    """Return how many images were explained, and in how many panels where those are more."""
    num_images = len({item.position for item in drawn})
    images = "1 mistaken image" if num_images == 1 else f"{num_images} mistaken images"
    panels = f" in {len(drawn)} panels" if len(drawn) > num_images else ""
    return f"explained {images}{panels}, of all operating points"


def draw_panels(
    session: Session, model: Classifier, *, images: ImageSet, wanted: Sequence[Explained]
) -> None:
    """Compute the maps in batches and draw one panel each; note maps that show little."""
    painter, num_empty = PanelPainter(), 0
    with session.log.progress("drawing panels", len(wanted)) as bar:
        for start in range(0, len(wanted), INFERENCE_BATCH_SIZE):
            chunk = wanted[start : start + INFERENCE_BATCH_SIZE]
            positions = np.array([item.position for item in chunk], dtype=np.int64)
            pixels, evidence = compute_maps(
                session,
                model,
                images=images,
                positions=positions,
                targets=[i.target for i in chunk],
            )
            num_empty += int((~evidence.heats.any(axis=(1, 2))).sum())
            for i, (item, image) in enumerate(zip(chunk, pixels, strict=True)):
                text = _describe_map(item.text, evidence, number=i)
                painter.draw(item.path, image=image, heat=evidence.heats[i], record=text)
                bar.advance()
            if min(evidence.grid) < _FEW_CELLS:
                session.log.hint(
                    f"the maps have {_shape(evidence)}: too few to tell one place from another",
                    fix="train with a larger --image-size",
                )
    if num_empty:
        session.log.info(f"{num_empty} of {len(wanted)} maps are empty; each panel says why")


def compute_maps(
    session: Session,
    model: Classifier,
    *,
    images: ImageSet,
    positions: NDArray[np.int64],
    targets: Sequence[int],
) -> tuple[NDArray[np.float32], Evidence]:
    """Return the pixels (n, C, S, S) of some images of a set and their maps."""
    pixels = to_unit_range(images.batch(positions).pixels, session.device)
    layer = f"net.{model.cam_layer}"
    evidence = compute_evidence(model, pixels, targets=torch.tensor(targets), layer=layer)
    return pixels.cpu().numpy(), evidence


def _describe_map(text: PanelText, evidence: Evidence, *, number: int) -> PanelText:
    """Return what a panel says, with how fine its map is and why it may be empty."""
    if evidence.grid == (1, 1):
        reason = f"Empty: at this input size the map\nof {CLASS_NAME}\nhas a single cell."
    elif evidence.is_found[number]:
        reason = f"Empty: every place raised the score\nof {CLASS_NAME}\nalike."
    else:
        reason = f"Empty: no place in the image\nraised the score of\n{CLASS_NAME}."
    return replace(text, map_note=_shape(evidence), empty_note=reason)


def _shape(evidence: Evidence) -> str:
    height, width = evidence.grid
    cells = "1 cell" if height * width == 1 else f"{height} × {width} cells"
    return f"{cells} at {evidence.heats.shape[-1]} px input"


def safe_name(text: str) -> str:
    """Return a text as a part of a file name: its last path component, plain characters.

    >>> safe_name("test/NORMAL/IM 0001.jpeg")
    'IM_0001'
    """
    stem = Path(text.replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "_", show_hidden(stem))[:80] or "image"


def _plan_panels(
    session: Session,
    data: PreparedData,
    *,
    mistakes: Sequence[Mistake],
    shown_name: Callable[[str], str],
) -> Iterator[Explained]:
    """Yield one panel per (class, kind, image), numbered by confidence within its kind."""
    rows = data.split.rows("test")
    position_of = {data.split.records[row].image_id: i for i, row in enumerate(rows)}
    points = read_thresholds(session.run_dir / "thresholds.json")
    value_of = {(name, t.rule): t.value for name, ts in points.items() for t in ts}
    decision_of = _make_decisions(session, data, thresholds=points)
    favourite = session.config.operating_point
    for kind in ("FP", "FN"):
        ranked = _rank_images([m for m in mistakes if m.kind == kind], favourite=favourite)
        for rank, mistake in enumerate(ranked, start=1):
            row = int(rows[position_of[mistake.image_id]])
            record = data.split.records[row]
            is_binary = data.positive_class is not None
            prefix = "" if is_binary else f"{safe_name(mistake.class_name)}_"
            image_id = shown_name(record.image_id)
            name = f"{rank:02d}_p{mistake.probability:.3f}_{prefix}{safe_name(image_id)}"
            yield Explained(
                position_of[mistake.image_id],
                data.split.class_names.index(mistake.class_name),
                session.run_dir / "gradcam" / kind / f"{name}.png",
                PanelText(
                    kind=kind,
                    image_id=image_id,
                    class_name=mistake.class_name,
                    probability=mistake.probability,
                    label=data.split.label_text(row),
                    threshold=value_of[mistake.class_name, mistake.rule],
                    rule=mistake.rule,
                    decision=decision_of(mistake),
                ),
            )


def _make_decisions(
    session: Session, data: PreparedData, *, thresholds: Thresholds
) -> Callable[[Mistake], str]:
    """Return what says which classes an image of TEST was called, at the rule of a mistake."""
    test = read_predictions(
        session.run_dir / "predictions_test.csv", split="test", task=data.split.task
    )
    row_of = dict(zip(test.image_ids, test.probabilities, strict=True))
    rules = {t.rule for points in thresholds.values() for t in points}
    deciders = {
        rule: Decider(
            class_names=test.class_names,
            positive_class=data.positive_class,
            task=data.split.task,
            thresholds={n: t for n, ts in thresholds.items() for t in ts if t.rule == rule},
        )
        for rule in rules
    }
    return lambda mistake: deciders[mistake.rule].describe(row_of[mistake.image_id])


def _rank_images(mistakes: Sequence[Mistake], *, favourite: str) -> list[Mistake]:
    """Return one mistake per (class, image), the most confident first.

    It is that at the favourite rule, if the image is mistaken there, so that the panel shows a
    threshold on whose wrong side the image lies.
    """

    def confidence(mistake: Mistake) -> tuple[float, str, str]:
        sign = -1.0 if mistake.kind == "FP" else 1.0
        return sign * mistake.probability, mistake.class_name, mistake.image_id

    ordered = sorted(mistakes, key=lambda mistake: mistake.rule == favourite)
    chosen = {(m.class_name, m.image_id): m for m in ordered}  # the last one stays
    return sorted(chosen.values(), key=confidence)
