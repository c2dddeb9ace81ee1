"""The judge command: predictions of any model in, an ordinary run folder without weights out.

The steps are those of `evaluate`: thresholds from VAL are on disk before TEST is scored. A file is
read once; what follows works on the predictions as they are written.
"""

import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import JUDGE_SETTINGS, Config, config_to_dict
from medimg_baseline_cls.data.index import find_groups
from medimg_baseline_cls.data.label_mapping import parse_maps
from medimg_baseline_cls.data.patients import infer_patients
from medimg_baseline_cls.data.splitting.split import check_leakage, summarize_split, write_split
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.score_columns import ScoreSettings
from medimg_baseline_cls.data.tables.score_table import ScoreTable, read_scores
from medimg_baseline_cls.evaluation.eval_summary import summarize_evaluation
from medimg_baseline_cls.evaluation.evaluation_log import require_settled
from medimg_baseline_cls.evaluation.inverted import INVERTED, find_inverted
from medimg_baseline_cls.evaluation.prediction_files import collect_predictions
from medimg_baseline_cls.pipeline.commands.report import report
from medimg_baseline_cls.pipeline.steps.anonymous import (
    hide_inferences,
    load_pseudonyms,
    make_hider,
)
from medimg_baseline_cls.pipeline.steps.early_checks import require_evaluable
from medimg_baseline_cls.pipeline.steps.evaluation import (
    Scored,
    complete_evaluation,
    write_and_read,
    write_images,
    write_metrics,
)
from medimg_baseline_cls.pipeline.steps.inferences import (
    find_positive_class,
    require_positive_class,
    show_inferences,
)
from medimg_baseline_cls.pipeline.steps.listing import require_patients
from medimg_baseline_cls.pipeline.steps.session import RunResult, Session, open_session
from medimg_baseline_cls.pipeline.steps.test_lock import (
    EvaluationReason,
    LockedDecision,
    settle_points,
    write_points,
    write_test,
)
from medimg_baseline_cls.schema import ImageRecord, Inference, Predictions, Split
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import sha256_file, write_json
from medimg_baseline_cls.utils.runs import hold_run, write_status

_DEFAULT = Config()


@ending_plainly(is_resumable=False)
def judge(
    test: Path | str,
    val: Path | str | None = None,
    *,
    config: Config = _DEFAULT,
    probability_columns: Sequence[str] = (),
    logits: bool = False,
    maps: Sequence[str] = (),
) -> RunResult:
    """Evaluate the predictions of any model: thresholds from VAL, then TEST with them.

    Args:
        test: table (.csv, .tsv, .parquet) with a row for each TEST image: image or patient,
            label, probabilities. With a split column it may contain VAL too.
        val: the table of VAL; without VAL there are only metrics that need no threshold.
        config: columns, classes and statistics; settings of training have no effect.
        probability_columns: one for each class, or one for the positive class; empty: found.
        logits: the scores are logits, to which softmax or sigmoid is applied.
        maps: which label means which class, such as "0=NORMAL"; "2=" leaves its images out.

    Returns:
        The run folder and the content of eval_summary.json; `status` is 3 if an AUROC is surely
        below 0.5, as with swapped classes.

    Raises:
        DataError: a table cannot be used; nothing is written.
        ConfigError: a setting or a mapping does not fit, or the positive class has to be named.
    """
    files = {"val": None if val is None else Path(val), "test": Path(test)}
    how = _set_columns(config, probability_columns=probability_columns, logits=logits)
    how = replace(how, maps=parse_maps(maps))
    table = read_scores(Path(test), files["val"], settings=how)
    split, positive, inferences = _describe_images(table, config)
    columns = require_evaluable(config, split)
    if config.anonymous_ids:
        load_pseudonyms()
    session = open_session(replace(config, device="cpu", precision="fp32"))
    run_dir = session.run_dir
    with _removed_unless_done(run_dir), hold_run(run_dir, command="judge", log=session.log):
        write_split(run_dir / "split.csv", split)
        hider = make_hider([r.path for r in split.records], is_anonymous=config.anonymous_ids)
        inferences = hide_inferences(inferences, hider)
        provenance = _describe_source(split, files, positive_class=positive, how=how)
        provenance["inferences"] = [asdict(item) for item in inferences]
        provenance["patients_by"] = inferences[-1].reason
        _begin(session, provenance)
        for note in table.listing.notes:
            session.log.info(hider.text(note))
        show_inferences(session.log, inferences)
        header, rows = summarize_split(split)
        session.log.table("Split", header=header, rows=[r for r in rows if r[0] != "train"])
        decision, parts = _lock(session, _collect(split, table), positive_class=positive)
        result = _evaluate(session, Scored(split, decision, parts, columns))
        report(run_dir)
    return result


@contextmanager
def _removed_unless_done(run_dir: Path) -> Generator[None, None, None]:
    """Remove a run that fails before its evaluation is complete: no command can resume it."""
    try:
        yield
    except BaseException:
        if not (run_dir / "eval_summary.json").is_file():
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


def _set_columns(
    config: Config, *, probability_columns: Sequence[str], logits: bool
) -> ScoreSettings:
    """Return what columns are set; those that are as by default in the settings are looked for."""
    is_found = config.label_columns == _DEFAULT.label_columns
    return ScoreSettings(
        path_column=None if config.path_column == _DEFAULT.path_column else config.path_column,
        labels=LabelRule(
            columns=() if is_found else config.label_columns,
            separator=config.label_separator,
            task=config.task,
            class_names=config.class_names,
            uncertain=config.uncertain_labels,
            missing=config.missing_labels,
        ),
        probability_columns=tuple(probability_columns),
        group_column=config.group_column,
        split_column=config.split_column,
        subgroup_columns=config.subgroup_columns,
        positive_class=config.positive_class,
        are_logits=logits,
    )


def _describe_images(
    table: ScoreTable, config: Config
) -> tuple[Split, str | None, tuple[Inference, ...]]:
    """Return the images with their patients, the positive class, and what was inferred.

    Raises:
        LeakageError: a patient is in VAL and in TEST.
    """
    listing = table.listing
    rule = require_patients(config, listing)
    named = {file.path: file.group for file in listing.files if file.group is not None}
    paths = {file.path: file.path for file in listing.files}
    groups = find_groups(paths, group_regex=rule.pattern, known=named, depth=0)
    records = tuple(
        ImageRecord(
            image_id=image_id,
            path=file.path,
            label=file.label,
            group=groups[file.path],
            split=file.folder,
            sha256="",
            width=0,
            height=0,
            subgroups=file.subgroups,
        )
        for image_id, file in zip(table.image_ids, listing.files, strict=True)
    )
    split = Split(
        records=records,
        class_names=listing.class_names,
        task=listing.task,
        subgroup_names=listing.subgroup_names,
    )
    check_leakage(split, remedy="leave their rows out of VAL or out of TEST")
    positive, positive_class = find_positive_class(config, listing)
    if positive is None and table.positive_class is not None:  # its column names it
        positive = table.positive_class
        positive_class = replace(positive_class, found=positive, certainty="sure")
    require_positive_class(positive_class, listing.class_names)
    patients = infer_patients(records, listing, rule=rule, named=named)
    return split, positive, (*listing.inferences, positive_class, patients)


def _describe_source(
    split: Split, files: dict[str, Path | None], *, positive_class: str | None, how: ScoreSettings
) -> dict[str, Any]:
    """Return what config.json says of the predictions."""
    return {
        "class_names": list(split.class_names),
        "task": split.task,
        "layout": "predictions",
        "positive_class": positive_class,
        "judged": {
            **{
                name: None if path is None else {"file": path.name, "sha256": sha256_file(path)}
                for name, path in files.items()
            },
            "are_logits": how.are_logits,
            **({"maps": dict(how.maps)} if how.maps else {}),
        },
    }


def _begin(session: Session, provenance: dict[str, Any]) -> None:
    """Write the settings that were used, and what computes with them."""
    run_dir = session.run_dir
    settings = config_to_dict(session.config)
    used = {name: value for name, value in settings.items() if name in JUDGE_SETTINGS}
    digest = sha256_file(run_dir / "split.csv")
    write_json(
        run_dir / "config.json", {**used, "provenance": {**provenance, "split_sha256": digest}}
    )
    write_json(run_dir / "env_report.json", collect_environment(sys.argv))
    write_status(run_dir, "trained")  # finished where this comes to its end


def _collect(split: Split, table: ScoreTable) -> dict[str, Predictions]:
    """Return the predictions of each split that there is."""
    rows = {name: split.rows(name) for name in ("val", "test")}
    return {
        name: collect_predictions(
            split, name, rows=rows[name], probabilities=table.probabilities[rows[name]]
        )
        for name in rows
        if len(rows[name])
    }


def _lock(
    session: Session, parts: Mapping[str, Predictions], *, positive_class: str | None
) -> tuple[LockedDecision, tuple[Predictions, ...]]:
    """Settle the operating points on VAL, log TEST, and return both as they are written."""
    reason = EvaluationReason("predictions of another program")
    val = parts.get("val")
    decision = settle_points(session, val, positive_class=positive_class, reason=reason)
    written: list[Predictions] = []
    if val is not None:
        written.append(write_and_read(session.run_dir, val))
        write_points(session, decision)
        require_settled(session.run_dir)
    return decision, (*written, write_test(session, decision, test=parts["test"]))


def _evaluate(session: Session, scored: Scored) -> RunResult:
    summaries = write_metrics(session, scored)
    overview = summarize_evaluation(
        summaries.get("val"),
        summaries["test"],
        checkpoint={},
        thresholds=scored.decision.thresholds,
        mistakes=write_images(session, scored, summaries=summaries),
    )
    look_at = "which class each score is of, and the label column"
    alarms = [
        f"ALARM: on {part.split.upper()}, {text}"
        for part in scored.parts
        for text in find_inverted(summaries[part.split], part, look_at=look_at)
    ]
    overview = replace(overview, warnings=(*alarms, *overview.warnings))
    overview = complete_evaluation(session, scored, summaries=summaries, overview=overview)
    session.log.info(f"results: {session.run_dir}")
    return RunResult(session.run_dir, overview.to_json(), status=INVERTED if alarms else 0)
