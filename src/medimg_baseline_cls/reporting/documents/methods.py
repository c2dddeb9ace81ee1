"""What a methods section says of a run: network, training, choice of the model, software."""

from collections.abc import Iterator

from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping
from medimg_baseline_cls.reporting.page.headline import describe_weights
from medimg_baseline_cls.reporting.text.format import count_of, format_score, format_setting
from medimg_baseline_cls.reporting.text.names import name_stage

_SETTINGS = {
    "Preprocessing": {
        "image_size": "Image side, px",
        "keep_aspect": "Aspect ratio kept",
        "intensity": "Intensity range",
        "slices": "Slices of a volume",
        "spacing": "Spacing, mm (slice/pixel)",
    },
    "Training": {
        "batch_size": "Batch size",
        "weight_decay": "Weight decay",
        "label_smoothing": "Label smoothing",
        "imbalance": "Class imbalance",
        "augment": "Augmentation",
        "horizontal_flip": "Horizontal flips",
        "ema_decay": "Weight averaging, decay",
        "clip_norm": "Maximum gradient norm",
        "batchnorm": "BatchNorm statistics",
        "frozen_stem": "First layers frozen",
        "patience": "Patience, epochs (0: off)",
        "precision": "Precision",
        "seed": "Seed",
    },
    "Evaluation": {
        "operating_point": "Operating point",
        "target_sensitivity": "Target sensitivity",
        "num_resamples": "Resamples",
    },
}
# Settings that "auto" leaves to training, which writes what it chose.
_CHOSEN = ("precision", "batchnorm")
# Settings without effect where nothing is learned in epochs.
_OF_EPOCHS = (
    *("batch_size", "weight_decay", "augment", "horizontal_flip", "ema_decay", "clip_norm"),
    *("batchnorm", "frozen_stem", "patience"),
)
_PACKAGES = ("medimg-baseline-cls", "torch", "timm", "monai", "scikit-learn", "numpy")

_POOLED = {
    "attention": "gated attention over their features",
    "mean": "the mean of their features",
    "max": "the highest of their logits, for each class",
    "lse": "the log-mean-exp of their logits, for each class",
}

Fact = tuple[str, str, str]


def list_methods(content: RunContent) -> list[Fact]:
    """Return (part, name, value) of each setting that a methods section needs."""
    # What the thresholds were chosen by, should config.json have been edited since.
    target = content.target_sensitivity
    config = dict(content.config) | ({} if target is None else {"target_sensitivity": target})
    config |= {k: content.provenance[k] for k in _CHOSEN if k in content.provenance}
    if config.get("finetune_epochs") == 0 and config.get("head_fit") == "logistic":
        for name in _OF_EPOCHS:
            config.pop(name, None)
    for name in ("slices", "spacing"):
        if not config.get(name):
            config.pop(name, None)
    facts = [*_describe_model(content), *_describe_split(content)]
    for part, names in _SETTINGS.items():
        if part == "Training" and content.is_judged:  # the seed is that of the resamples
            continue
        facts += _describe_stages(config) if part == "Training" else ()
        facts += [
            (part, name, format_setting(config[key]))
            for key, name in names.items()
            if key in config
        ]
    return [*facts, *_describe_choice(content), *_describe_software(content.environment)]


def _describe_model(content: RunContent) -> Iterator[Fact]:
    if not content.is_judged:
        yield "Model", "Network", str(content.config.get("arch", "unknown"))
        yield "Model", "Initial weights", describe_weights(content)
    if content.num_slices and not content.is_3d:
        pooling = str(content.config.get("slice_pooling"))
        yield "Model", "Slices joined by", _POOLED.get(pooling, pooling)
        if neighbors := content.config.get("slice_neighbors"):
            yield "Model", "Neighbors of a slice, on each side", str(neighbors)
    yield "Model", "Task", content.task
    yield "Model", "Classes", ", ".join(content.class_names) or "unknown"
    if content.positive_class is not None:
        yield "Model", "Positive class", content.positive_class


def _describe_split(content: RunContent) -> Iterator[Fact]:
    provenance = content.provenance
    for key, name in (
        ("layout", "Data"),
        ("val_strategy", "Validation set"),
        ("color", "Color"),
    ):
        if provenance.get(key):
            yield "Data", name, format_setting(provenance[key])
    if content.config.get("group_regex"):
        yield "Data", "Patients from", _describe_patients(content)
    if content.config.get("aggregate"):
        yield "Data", "Probability of a patient", str(content.config["aggregate"])


def _describe_patients(content: RunContent) -> str:
    """Return how patients were identified; the bare setting for a run of an earlier version."""
    regex = str(content.config["group_regex"])
    told = content.provenance.get("patients_by")
    if told is None:
        return regex
    return (
        str(told)
        .replace("the Kaggle file names", "file name: Kaggle pattern")
        .replace("group_regex", f"file name: {regex}")
    )


def _describe_stages(config: Json) -> Iterator[Fact]:
    for stage in ("head", "finetune"):
        if f"{stage}_epochs" in config:
            epochs, rate = config[f"{stage}_epochs"], config.get(f"{stage}_lr")
            text = count_of(epochs, "epoch")
            if epochs and config.get(f"{stage}_fit") == "logistic":
                text = "logistic regression with an L2 penalty by cross-validation over patients"
            elif epochs and rate:
                text += f", learning rate {rate:g}"
            yield "Training", f"Stage {name_stage(stage).lower()}", text


def _describe_choice(content: RunContent) -> Iterator[Fact]:
    checkpoint = content.checkpoint
    if checkpoint:
        stage = name_stage(str(checkpoint.get("stage", "")))
        is_stressed = content.config.get("select") == "stressed_val"
        changed = " (mean over six fixed changes of the images)" if is_stressed else ""
        rule = f"highest VAL average precision{changed}, ties by lower VAL loss"
        yield "Model choice", "Rule", rule
        yield "Model choice", "Checkpoint", f"{stage}, epoch {checkpoint.get('epoch', '?')}"
        yield "Model choice", "Checkpoint sha256", str(checkpoint.get("sha256", "unknown"))
    if content.selection:
        yield "Model choice", "Settings", describe_selection(content.selection)


def describe_selection(selection: Json) -> str:
    """Return what a sweep chose a run from, on VAL, and how much its value there owes to that."""
    value, found = selection["value"], selection["optimism"]
    where = "stressed VAL" if selection["objective"] == "stressed_val" else "VAL"
    num_complete, num_trials = selection["num_complete"], selection["num_trials"]
    of_all = "" if num_complete == num_trials else f" ({num_trials} in all)"
    text = (
        f"the best of {count_of(num_complete, 'complete trial')}{of_all} by average precision on "
        f"{where}, {format_score(value)}"
    )
    if found["optimism"] is None:
        return text
    return (
        f"{text}; the choice makes it too high by about {format_score(found['optimism'])} "
        f"(bootstrap of patients); {format_score(value - found['optimism'])} is to be expected"
    )


def _describe_software(environment: Json) -> Iterator[Fact]:
    packages = as_mapping(environment.get("packages"))
    if as_mapping(environment.get("python")).get("version"):
        yield "Software", "Python", str(as_mapping(environment["python"])["version"])
    for name in _PACKAGES:
        if packages.get(name):
            yield "Software", name, str(packages[name])
    revision = as_mapping(environment.get("git")).get("revision")
    if revision:
        yield "Software", "Code revision", str(revision)
    processor = as_mapping(environment.get("cpu"))
    for key, name in (("model", "Processor"), ("num_threads", "Threads")):
        if processor.get(key):
            yield "Hardware", name, format_setting(processor[key])
    if environment.get("gpu"):
        yield "Hardware", "Graphics processor", format_setting(environment["gpu"])
