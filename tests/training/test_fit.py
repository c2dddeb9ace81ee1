import csv
import io
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn import metrics as oracle

from medimg_baseline_cls.errors import RunInterrupted, TrainingError
from medimg_baseline_cls.training.callbacks import Callback
from medimg_baseline_cls.utils.log import RunLog, open_log


def read_history(run_dir):
    with (run_dir / "history.csv").open() as file:
        return list(csv.DictReader(file))


def load(path):
    return torch.load(path, weights_only=True)


def probabilities_of(toy, model, source):
    model.eval()
    with torch.no_grad():
        pixels = toy.to_unit_range(torch.from_numpy(source.pixels), torch.device("cpu"))
        return model(pixels).double().softmax(dim=1).numpy()


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_training_learns_and_keeps_the_best_epoch(toy, tmp_path, decay):
    result, model = toy.train_toy(tmp_path, settings=toy.make_settings(ema_decay=decay))
    rows = read_history(tmp_path)
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        (stage, str(epoch)) for stage in ("head", "finetune") for epoch in (1, 2, 3)
    ]
    ranked = max(rows, key=lambda row: (float(row["val_ap"]), -float(row["val_loss"])))
    assert (result.best_stage, result.best_epoch) == (ranked["stage"], int(ranked["epoch"]))
    assert result.best_val_ap == float(ranked["val_ap"]) > 0.9
    assert (result.num_epochs, result.stopped_early) == (6, False)
    best = load(tmp_path / "best.pt")
    assert all(torch.equal(best["model"][k], v) for k, v in model.net.state_dict().items())


def test_written_figures_belong_to_the_weights_in_best(toy, tmp_path):
    data = toy.make_data()
    result, model = toy.train_toy(tmp_path, data=data, settings=toy.make_settings(ema_decay=0.8))
    row = next(
        row
        for row in read_history(tmp_path)
        if (row["stage"], int(row["epoch"])) == (result.best_stage, result.best_epoch)
    )
    found = probabilities_of(toy, model, data.val)
    labels = data.val.labels
    scores = found[:, 1]
    assert float(row["val_ap"]) == pytest.approx(oracle.average_precision_score(labels, scores))
    assert float(row["val_auroc"]) == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert float(row["val_loss"]) == pytest.approx(oracle.log_loss(labels, found), rel=1e-5)


def test_stressed_validation_chooses_the_epoch_and_is_the_mean_of_its_parts(toy, tmp_path):
    stresses = [lambda pixels: 1 - pixels, lambda pixels: 0.9 - pixels]
    data = replace(toy.make_data(), stresses=stresses)
    result, model = toy.train_toy(tmp_path, data=data, log=open_log(tmp_path / "log.txt"))
    rows = read_history(tmp_path)
    ranked = max(rows, key=lambda row: (float(row["stressed_ap"]), -float(row["val_loss"])))
    assert (result.best_stage, result.best_epoch) == (ranked["stage"], int(ranked["epoch"]))
    # Upside down, the best of VAL is not the best of all: the two rules differ.
    assert ranked != max(rows, key=lambda row: (float(row["val_ap"]), -float(row["val_loss"])))
    pixels, model = toy.to_unit_range(torch.from_numpy(data.val.pixels), "cpu"), model.eval()
    with torch.no_grad():
        scores = [model(stress(pixels)).double().softmax(dim=1)[:, 1] for stress in stresses]
    expected = [oracle.average_precision_score(data.val.labels, part.numpy()) for part in scores]
    assert float(ranked["stressed_ap"]) == pytest.approx(np.mean(expected))
    assert load(tmp_path / "best.pt")["val_ap"] == float(ranked["val_ap"])
    header, *lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert "stressed AP" in header
    shown = [line for line in lines if f"{float(ranked['stressed_ap']):.4f}" in line]
    assert any(f"{ranked['stage']}" in line and f"{ranked['epoch']}/3" in line for line in shown)


def test_the_head_checkpoint_is_the_best_head_epoch_on_the_old_backbone(toy, tmp_path):
    before = {k: v.clone() for k, v in toy.build_toy().net.state_dict().items()}
    toy.train_toy(tmp_path, settings=toy.make_settings(head_epochs=4))
    head = load(tmp_path / "best_head.pt")
    rows = [row for row in read_history(tmp_path) if row["stage"] == "head"]
    ranked = max(rows, key=lambda row: (float(row["val_ap"]), -float(row["val_loss"])))
    assert (head["stage"], head["epoch"]) == ("head", int(ranked["epoch"]))
    changed = {k for k, v in before.items() if not torch.equal(v, head["model"][k])}
    assert changed == {"fc.weight", "fc.bias"}


def test_finetuning_starts_from_the_best_head_epoch(toy, tmp_path):
    still = {"head_lr": 0.0, "backbone_lr": 0.0, "batchnorm": "frozen"}
    settings = toy.make_settings(head_epochs=5, finetune_epochs=1, stage=still, weight_decay=0.0)
    toy.train_toy(tmp_path, settings=settings)
    rows = read_history(tmp_path)
    best = load(tmp_path / "best_head.pt")
    assert best["epoch"] != 5, "the last epoch is the best: this seed proves nothing"
    last = load(tmp_path / "last.pt")["model"]
    assert all(torch.equal(last[name], tensor) for name, tensor in best["model"].items())
    assert float(rows[-1]["val_loss"]) == pytest.approx(best["val_loss"], abs=1e-6)


@pytest.mark.parametrize(("head", "finetune"), [(0, 2), (2, 0)])
def test_either_stage_may_be_left_out(toy, tmp_path, head, finetune):
    settings = toy.make_settings(head_epochs=head, finetune_epochs=finetune)
    result, _ = toy.train_toy(tmp_path, settings=settings)
    assert result.num_epochs == 2
    assert {row["stage"] for row in read_history(tmp_path)} == {"head" if head else "finetune"}
    assert (tmp_path / "best_head.pt").exists() == bool(head)


def test_no_epoch_at_all_is_refused(toy, tmp_path):
    with pytest.raises(TrainingError, match="set head_epochs or finetune_epochs"):
        toy.train_toy(tmp_path, settings=toy.make_settings(head_epochs=0, finetune_epochs=0))


def test_early_stopping_names_the_best_epoch(toy, tmp_path):
    settings = toy.make_settings(head_epochs=30, finetune_epochs=0, patience=2)
    log = open_log(tmp_path / "log.txt")
    result, _ = toy.train_toy(tmp_path, settings=settings, log=log)
    rows = read_history(tmp_path)
    assert result.stopped_early and len(rows) == result.best_epoch + 2 < 30
    text = (tmp_path / "log.txt").read_text()
    assert f"best of stage head: epoch {result.best_epoch} (val AP" in text
    assert f"stopped early at epoch {len(rows)}" in text


def test_the_log_has_one_line_per_epoch_and_no_bar(toy, tmp_path):
    toy.train_toy(tmp_path, log=open_log(tmp_path / "log.txt"))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0].split()[:3] == ["stage", "epoch", "lr"] and "stressed" not in lines[0]
    assert [line.split()[:2] for line in lines if "/3" in line] == [
        [stage, f"{epoch}/3"] for stage in ("head", "finetune") for epoch in (1, 2, 3)
    ]
    assert len(lines) == 1 + 6 + 2


def test_a_terminal_sees_a_bar_that_disappears(toy, tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    toy.train_toy(tmp_path, log=RunLog(console, None))
    assert "finetune 3/3" in screen.getvalue()  # the bar
    assert "\x1b[2K" in screen.getvalue()  # erased


def test_equal_seeds_give_equal_files_and_other_seeds_others(toy, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        toy.train_toy(tmp_path / name, settings=toy.make_settings(seed=seed))
    a, b, c = ((tmp_path / name / "history.csv").read_bytes() for name in "abc")
    assert a == b != c
    assert (tmp_path / "a/best.pt").read_bytes() == (tmp_path / "b/best.pt").read_bytes()


def test_global_randomness_is_neither_used_nor_moved(toy, tmp_path):
    torch.manual_seed(1)
    toy.train_toy(tmp_path / "a")
    torch.manual_seed(2)
    np.random.seed(2)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    toy.train_toy(tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()
    same = [(tmp_path / name / "history.csv").read_bytes() for name in "ab"]
    assert same[0] == same[1]


def test_dropout_is_drawn_anew_in_every_step(toy, tmp_path):
    model, masks = toy.build_toy(dropout=0.5), []
    model.net.drop.register_forward_hook(
        lambda module, inputs, output: masks.append(output == 0) if module.training else None
    )
    still = {"head_lr": 0.0, "backbone_lr": 0.0}
    settings = toy.make_settings(head_epochs=0, finetune_epochs=2, stage=still)
    toy.train_toy(tmp_path, model=model, settings=settings)
    assert len(masks) == 10
    full = [mask for mask in masks if len(mask) == 8]
    assert not any(torch.equal(a, b) for i, a in enumerate(full) for b in full[:i])


def test_the_model_comes_back_in_its_modes(toy, tmp_path):
    model = toy.build_toy().train()
    model.net.norm.eval()
    toy.train_toy(tmp_path, model=model)
    assert model.training and model.net.conv1.training and not model.net.norm.training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("imbalance", ["class_weights", "balanced_sampler", "focal"])
def test_every_imbalance_setting_trains(toy, tmp_path, imbalance):
    settings = toy.make_settings(imbalance=imbalance, label_smoothing=0.1)
    result, _ = toy.train_toy(tmp_path, settings=settings)
    assert result.best_val_ap > 0.9


def test_three_classes_are_judged_by_the_mean_of_their_ap(toy, tmp_path):
    data = toy.make_data(num_classes=3)
    settings = toy.make_settings(class_names=("A", "B", "C"), positive_class="B")
    result, model = toy.train_toy(
        tmp_path, data=data, model=toy.build_toy(num_classes=3), settings=settings
    )
    found = probabilities_of(toy, model, data.val)
    truth = np.eye(3)[data.val.labels]
    expected = oracle.average_precision_score(truth, found, average="macro")
    assert result.best_val_ap == pytest.approx(expected)


def test_a_validation_set_of_one_class_is_judged_by_its_loss(toy, tmp_path):
    data = toy.make_data()
    data.val.labels[:] = 0
    result, _ = toy.train_toy(tmp_path, data=data)
    rows = read_history(tmp_path)
    assert result.best_val_ap is None and {row["val_ap"] for row in rows} == {""}
    losses = [float(row["val_loss"]) for row in rows]
    assert load(tmp_path / "best.pt")["val_loss"] == min(losses)


def test_bfloat16_trains(toy, tmp_path):
    settings = toy.make_settings(ema_decay=0.5)
    result, model = toy.train_toy(
        tmp_path, settings=settings, accelerator=toy.open_accelerator("bf16")
    )
    assert result.best_val_ap > 0.9
    assert all(v.dtype != torch.bfloat16 for v in model.net.state_dict().values())


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("batch", [2, 4])
def test_a_loss_that_is_not_finite_names_the_images_of_its_batch(toy, tmp_path, clip_norm, batch):
    data = toy.make_data()
    rows = list(data.train.epoch("finetune", 2))[batch][2]

    def poison(pixels, found, stage, epoch):
        hit = epoch == 2 and np.array_equal(found, rows)
        return pixels * float("inf") if hit else pixels

    ids = [f"person{i}.png" for i in range(200)]
    settings = toy.make_settings(clip_norm=clip_norm)
    with pytest.raises(
        TrainingError, match=rf"step {batch + 1} of the epoch.*person{rows[0]}\.png"
    ):
        toy.train_toy(
            tmp_path, data=replace(data, augment=poison, image_ids=ids), settings=settings
        )
    saved = json.loads((tmp_path / "nonfinite_batch.json").read_text())
    assert saved["rows"] == rows.tolist()
    assert saved["images"] == [ids[row] for row in rows]
    assert len(read_history(tmp_path)) == 3 + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("call", "num_rows"), [(2, 0), (12, 2), (17, 3), (24, 4)])
def test_a_signal_ends_after_the_step_and_the_run_goes_on(toy, tmp_path, number, call, num_rows):
    whole, _ = toy.train_toy(tmp_path / "whole")
    run_dir, data, calls = tmp_path / "stopped", toy.make_data(), []

    def tick():
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)

    data.train.on_batch = tick
    before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RunInterrupted, match=f"medimg run --resume {run_dir}"):
        toy.train_toy(run_dir, data=data)
    assert len(calls) == call
    assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == before
    assert (run_dir / "history.csv").exists() == bool(num_rows)
    assert not num_rows or len(read_history(run_dir)) == num_rows
    resumed, _ = toy.train_toy(run_dir, resume=True)
    assert resumed == whole
    for name in ("history.csv", "best.pt"):
        assert (run_dir / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_signal_during_the_last_write_is_not_lost(toy, tmp_path):
    data = toy.make_data()
    ends = iter(range(10))

    class Stopper(Callback):
        def on_epoch(self, row):
            if next(ends) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    stopping = replace(data, callbacks=[Stopper()])
    with pytest.raises(RunInterrupted, match="after epoch 3"):
        toy.train_toy(tmp_path, data=stopping)
    assert len(read_history(tmp_path)) == 6


def test_a_signal_during_validation_or_features_is_not_lost(toy, tmp_path):
    data = toy.make_data()
    genuine = data.val.ordered

    def ordered():
        os.kill(os.getpid(), signal.SIGINT)
        yield from genuine()

    data.val.ordered = ordered
    with pytest.raises(RunInterrupted, match="stopped in features"):
        toy.train_toy(tmp_path / "head", data=data)
    with pytest.raises(RunInterrupted, match="stopped in validation"):
        toy.train_toy(tmp_path / "tune", data=data, settings=toy.make_settings(head_epochs=0))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("std::bad_alloc"),
    ],
)
def test_lack_of_memory_comes_with_advice(toy, tmp_path, error):
    def exhaust(pixels, rows, stage, epoch):
        raise error

    with pytest.raises(TrainingError, match="8 images per process; halve the batch size"):
        toy.train_toy(tmp_path, data=replace(toy.make_data(), augment=exhaust))


def test_an_image_that_is_not_counted_once_is_refused(toy, tmp_path):
    data = toy.make_data()
    data.val.rows[3] = data.val.rows[4]
    with pytest.raises(TrainingError, match="each of 21 images once"):
        toy.train_toy(tmp_path, data=data, settings=toy.make_settings(head_epochs=0))
