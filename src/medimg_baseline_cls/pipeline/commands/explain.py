"""The explanation command: a heat map for exactly the mistakes that were mined, or any image.

One map per image and kind, whichever operating points it was mistaken at; the panels sort
by confidence, the worst first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from medimg_baseline_cls.data.image_bytes import open_source
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.mistakes import read_mistakes
from medimg_baseline_cls.evaluation.operating_points import Thresholds, read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.interpret.methods import DEFAULT, CamMethod, find_method
from medimg_baseline_cls.interpret.panels import PanelText
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.decisions import Decider
from medimg_baseline_cls.pipeline.steps.listing import find_root
from medimg_baseline_cls.pipeline.steps.panel_drawing import Explained, draw_panels, safe_name
from medimg_baseline_cls.pipeline.steps.panel_folders import open_panel_folder
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


@ending_plainly(is_resumable=False)
def explain(
    run: Path | str = "latest",
    *,
    output_dir: Path = Path("outputs"),
    anonymous_ids: bool = False,
    method: str = DEFAULT,
    model: nn.Module | None = None,
) -> RunResult:
    """Draw a panel for each mined mistake: Grad-CAM into gradcam/FP and gradcam/FN.

    Other kinds of maps have folders of their own, named after them; the report shows those that
    were drawn last.

    Args:
        run: an evaluated run folder, or "latest".
        output_dir: where `latest` is looked up.
        anonymous_ids: name the panels, and the images on them, by pseudonyms; so does the setting
            of this name.
        method: the kind of map: gradcam, hirescam, layercam, gradcam++, eigencam, occlusion, or
            plugin:NAME of an installed package.
        model: a network of the class that the run was trained with, if that was passed.

    Raises:
        ConfigError: there is no such kind of map.
        RunError: the run was not evaluated yet, or another process writes to it.
    """
    kind = find_method(method)
    session = replace(reopen_session(run, output_dir=output_dir), module=model)
    with hold_run(session.run_dir, command="explain", log=session.log):
        return _explain(session, kind, name=method, anonymous_ids=anonymous_ids)


def _explain(session: Session, method: CamMethod, *, name: str, anonymous_ids: bool) -> RunResult:
    if not (session.run_dir / "mistakes.csv").is_file():
        raise RunError(
            f"{session.run_dir} was not evaluated yet, so no mistakes are known: "
            f"`medimg run --resume {session.run_dir}` does that and the rest."
        )
    mistakes = read_mistakes(session.run_dir / "mistakes.csv")
    warn_of_checkpoint(session, "the maps are of the new network, the mistakes of the one before")
    model, _ = load_model(session, "best.pt")
    data = reopen_data(session, read_provenance(session.run_dir))
    mark_outdated(session.run_dir)
    is_anonymous = anonymous_ids or session.config.anonymous_ids
    folder = open_panel_folder(session.run_dir, name, method=method)
    wanted = draw_mistakes(
        session,
        data,
        model=model,
        mistakes=mistakes,
        folder=folder,
        method=name,
        is_anonymous=is_anonymous,
    )
    write_thumbnails(session, data, panels=folder)
    if is_anonymous and not session.config.anonymous_ids:
        session.log.info(
            "these panels show pseudonyms; a report shows real names unless it has --anonymous-ids"
        )
    return RunResult(session.run_dir, {"num_panels": len(wanted)})


def draw_mistakes(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    mistakes: Sequence[Mistake],
    folder: Path,
    method: str,
    is_anonymous: bool,
) -> list[Explained]:
    """Draw the panels of mistakes into a folder of `open_panel_folder`, and return what they are.

    Args:
        session: its folder contains thresholds.json and predictions_test.csv.
        data: the images of TEST among others.
        model: the network.
        mistakes: which images.
        folder: with FP and FN.
        method: the kind of map.
        is_anonymous: show pseudonyms.
    """
    shown_name = load_pseudonyms().image if is_anonymous else str
    wanted = list(
        _plan_panels(session, data, mistakes=mistakes, shown_name=shown_name, folder=folder)
    )
    draw_panels(
        session,
        model,
        images=data.image_set("test"),
        wanted=wanted,
        method=method,
        read=_read_test(session, data),
    )
    session.log.info(f"{describe_panels(wanted)}: {folder}")
    return wanted


def _read_test(session: Session, data: PreparedData) -> Callable[[int], bytes]:
    """Return a function that gives the bytes of a file of TEST by its position there."""
    root, has_volumes = find_root(session.config), session.config.slices > 0
    source = open_source(root, cache_dir=session.cache_dir, has_volumes=has_volumes)
    rows = data.split.rows("test")
    return lambda position: source.read(data.split.records[rows[position]].path)


def describe_panels(drawn: Sequence[Explained]) -> str:
    """Return how many images were explained, and in how many panels where those are more."""
    num_images = len({item.position for item in drawn})
    images = "1 mistaken image" if num_images == 1 else f"{num_images} mistaken images"
    panels = f" in {len(drawn)} panels" if len(drawn) > num_images else ""
    return f"explained {images}{panels}, of all operating points"


def _plan_panels(
    session: Session,
    data: PreparedData,
    *,
    mistakes: Sequence[Mistake],
    shown_name: Callable[[str], str],
    folder: Path,
) -> Iterator[Explained]:
    """Yield one panel per (class, kind, image), numbered by confidence within its kind."""
    rows = data.split.rows("test")
    position_of = {data.split.records[row].image_id: i for i, row in enumerate(rows)}
    points = read_thresholds(session.run_dir / "thresholds.json")
    value_of = {(name, t.rule): t.value for name, ts in points.items() for t in ts}
    decision_of = _make_decisions(session, data, thresholds=points)
    favorite = session.config.operating_point
    for kind in ("FP", "FN"):
        ranked = _rank_images([m for m in mistakes if m.kind == kind], favorite=favorite)
        for rank, mistake in enumerate(ranked, start=1):
            row = int(rows[position_of[mistake.image_id]])
            record = data.split.records[row]
            is_binary = data.positive_class is not None
            prefix = "" if is_binary else f"{safe_name(mistake.class_name)}_"
            prefix += "" if folder.name == DEFAULT else f"{folder.name}_"
            image_id = shown_name(record.image_id)
            name = f"{rank:02d}_p{mistake.probability:.3f}_{prefix}{safe_name(image_id)}"
            yield Explained(
                position_of[mistake.image_id],
                data.split.class_names.index(mistake.class_name),
                folder / kind / f"{name}.png",
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
    """Return a function that gives the decisions on an image of TEST, at the rule of a mistake."""
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


def _rank_images(mistakes: Sequence[Mistake], *, favorite: str) -> list[Mistake]:
    """Return one mistake per (class, image), the most confident first.

    It is that at the preferred rule, if the image is a mistake there: the panel then shows the
    threshold that the image misses.
    """

    def confidence(mistake: Mistake) -> tuple[float, str, str]:
        sign = -1.0 if mistake.kind == "FP" else 1.0
        return sign * mistake.probability, mistake.class_name, mistake.image_id

    ordered = sorted(mistakes, key=lambda mistake: mistake.rule == favorite)
    chosen = {(m.class_name, m.image_id): m for m in ordered}  # the last one stays
    return sorted(chosen.values(), key=confidence)
