"""What a methods section says: from the run folder alone, nothing invented, no path of the user."""

from collections.abc import Callable
from typing import Any

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.checklist_answers import answer_topics
from medimg_baseline_cls.reporting.documents.methods import list_methods
from medimg_baseline_cls.reporting.documents.model_card import format_model_card
from medimg_baseline_cls.reporting.documents.sentences import describe_data, describe_performance
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.report_page import write_report


def facts_of(run: Any) -> dict[tuple[str, str], str]:
    return {(part, name): value for part, name, value in list_methods(read_run(run.folder))}


def test_settings_and_versions_are_those_of_the_run(make_run: Callable[..., Any]) -> None:
    facts = facts_of(make_run())
    assert facts["Model", "Network"] == "resnet18"
    assert facts["Model", "Classes"] == "NORMAL, PNEUMONIA"
    assert facts["Model", "Positive class"] == "PNEUMONIA"
    assert facts["Preprocessing", "Image side, px"] == "224"
    assert facts["Training", "Batch size"] == "32"
    assert facts["Training", "Seed"] == "7"
    assert facts["Training", "Stage head only"] == "2 epochs, learning rate 0.001"
    assert facts["Training", "Stage fine-tuning"] == "3 epochs"
    assert facts["Software", "torch"] == "2.10.0"
    assert facts["Software", "Python"] == "3.12.1"
    assert "resnet18.safetensors" in facts["Model", "Initial weights"]


def test_volumes_have_slices_and_how_they_are_joined(make_run: Callable[..., Any]) -> None:
    run = make_run()
    plain = facts_of(run)
    of_volumes = {"slices": 24, "slice_pooling": "attention", "spacing": "5/0.8"}
    run.write_json("config.json", run.json("config.json") | of_volumes)
    facts = facts_of(run)
    assert set(facts.items()) - set(plain.items()) == {
        (("Preprocessing", "Slices of a volume"), "24"),
        (("Preprocessing", "Spacing, mm (slice/pixel)"), "5/0.8"),
        (("Model", "Slices joined by"), "gated attention over their features"),
    }
    content = read_run(run.folder)
    assert "Each image is a volume of 24 slices." in describe_data(content)
    assert summarize_run(content).sentence.endswith("; each image is a volume of 24 slices.")
    run.write_json("config.json", run.json("config.json") | {"arch": "monai3d:resnet18"})
    assert ("Model", "Slices joined by") not in facts_of(run)


def test_a_head_that_was_solved_has_no_learning_rate(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("config.json", run.json("config.json") | {"head_fit": "logistic"})
    facts = facts_of(run)
    assert facts["Training", "Stage head only"].startswith("logistic regression with an L2 penalty")
    assert facts["Training", "Stage fine-tuning"] == "3 epochs"
    assert ("Training", "Batch size") in facts
    run.write_json("config.json", run.json("config.json") | {"finetune_epochs": 0})
    assert ("Training", "Batch size") not in facts_of(run)


def test_checkpoint_is_the_evaluated_one(make_run: Callable[..., Any]) -> None:
    run = make_run()
    facts = facts_of(run)
    checkpoint = run.json("eval_summary.json")["checkpoint"]
    assert facts["Model choice", "Checkpoint"] == "Fine-tuning, epoch 2"
    assert facts["Model choice", "Checkpoint sha256"] == checkpoint["sha256"]
    assert not [key for key in facts_of(make_run(stages=(), name="b")) if key[0] == "Model choice"]


def test_what_a_run_does_not_hold_is_left_out(make_run: Callable[..., Any]) -> None:
    run = make_run(stages=())
    run.write_json("config.json", {"arch": "resnet18"})
    run.write_json("env_report.json", {})
    parts = {part for part, _ in facts_of(run)}
    assert parts == {"Model"}


def test_each_name_stands_once_in_its_part_and_parts_hang_together(
    make_run: Callable[..., Any],
) -> None:
    listed = list_methods(read_run(make_run().folder))
    keys = [(part, name) for part, name, _ in listed]
    assert len(set(keys)) == len(keys)
    order = [part for part, _ in keys]
    assert order == sorted(order, key=order.index)


def test_no_path_of_the_user(make_run: Callable[..., Any]) -> None:
    run = make_run()
    config = run.json("config.json") | {"intensity": "/home/ada/secret", "precision": "~/x/bf16"}
    run.write_json("config.json", config)
    text = " ".join(facts_of(run).values())
    assert "/home" not in text
    assert "~/x" not in text


def test_what_auto_became_is_shown(make_run: Callable[..., Any]) -> None:
    run = make_run()
    config = run.json("config.json") | {"precision": "auto", "batchnorm": "auto"}
    run.write_json("config.json", config)
    assert facts_of(run)["Training", "Precision"] == "auto"  # a run that did not write it down
    chosen = {"precision": "bf16", "batchnorm": "frozen", "patients_by": "the data and group_regex"}
    run.write_json("config.json", config | {"provenance": config["provenance"] | chosen})
    facts = facts_of(run)
    assert facts["Training", "Precision"] == "bf16"
    assert facts["Training", "BatchNorm statistics"] == "frozen"
    assert facts["Data", "Validation set"] == "balanced"
    told = f"the data and file name: {config['group_regex']}"
    assert facts["Data", "Patients from"] == told


def test_kaggle_names_are_said_to_tell_patients(make_run: Callable[..., Any]) -> None:
    run = make_run()
    config = run.json("config.json")
    found = config["provenance"] | {"patients_by": "the Kaggle file names"}
    run.write_json("config.json", config | {"group_regex": "auto", "provenance": found})
    assert facts_of(run)["Data", "Patients from"] == "file name: Kaggle pattern"


CHOSEN = {
    "objective": "val_ap",
    "num_trials": 6,
    "num_complete": 4,
    "value": 0.9123,
    "optimism": {"optimism": 0.0101, "num_models": 4, "num_resamples": 50},
}


def test_a_run_that_a_sweep_chose_says_from_how_many_and_by_how_much_that_misleads(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    assert ("Model choice", "Settings") not in facts_of(run)
    run.write_json("selection.json", CHOSEN)
    said = (
        "the best of 4 complete trials (6 in all) by average precision on VAL, 0.912; the choice "
        "makes it too high by about 0.010 (bootstrap of patients); 0.902 is to be expected"
    )
    assert facts_of(run)["Model choice", "Settings"] == said
    content = read_run(run.folder)
    assert f"The settings are {said}." in describe_performance(content)
    assert f"The settings are {said}." in format_model_card(content, {})
    assert said in answer_topics(content, set())["choice"]
    assert said in write_report(run.folder).read_text(encoding="utf-8")


def test_without_an_estimate_nothing_is_said_of_optimism(make_run: Callable[..., Any]) -> None:
    run = make_run()
    nothing = {"optimism": None, "num_models": 1, "num_resamples": 50}
    run.write_json("selection.json", CHOSEN | {"optimism": nothing, "objective": "stressed_val"})
    said = facts_of(run)["Model choice", "Settings"]
    assert said.endswith("by average precision on stressed VAL, 0.912")
