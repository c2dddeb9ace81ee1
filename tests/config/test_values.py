"""What a setting takes: its whole range with both ends, its own type, text as well as values."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest

from medimg_baseline_cls.config import Config, field_facts
from medimg_baseline_cls.config.contradictions import find_contradictions
from medimg_baseline_cls.config.messages import SettingsError
from medimg_baseline_cls.errors import ConfigError

# Smallest and largest sound value, by hand; None: without end.
ENDS: dict[str, tuple[float | None, float | None]] = {
    "limit": (1, None),
    "image_size": (32, 1024),
    "slices": (0, 512),
    "slice_neighbors": (0, 256),
    "slices_per_pass": (0, None),
    "val_fraction": (0.02, 0.5),
    "test_fraction": (0.05, 0.5),
    "num_folds": (2, 100),
    "fold": (0, 99),
    "fold_repeat": (0, None),
    "head_epochs": (0, 10_000),
    "finetune_epochs": (0, 10_000),
    "batch_size": (2, 4096),
    "head_lr": (math.ulp(0.0), 1),
    "finetune_lr": (math.ulp(0.0), 1),
    "weight_decay": (0, 1),
    "label_smoothing": (0, 0.5),
    "ema_decay": (0, math.nextafter(1, 0)),
    "clip_norm": (0, None),
    "patience": (0, None),
    "target_sensitivity": (math.ulp(0.0), 1),
    "target_prevalence": (math.ulp(0.0), math.nextafter(1, 0)),
    "num_resamples": (50, 100_000),
    "subgroup_min_images": (1, 100_000),
    "num_hard_examples": (0, 1000),
    "num_workers": (0, 256),
    "seed": (0, 4_294_967_295),
    "split_seed": (0, 4_294_967_295),
}
# Settings that mean nothing without another one.
NEEDS: dict[str, dict[str, object]] = {
    "fold": {"num_folds": 100},
    "fold_repeat": {"num_folds": 100},
    "test_site": {"site_column": "hospital"},
}
# Settings that are sound each alone and refused together, and how many sentences say so.
AT_ODDS = (
    ({"weights": "w.pth", "pretrained": False}, 1),
    ({"head_epochs": 0, "finetune_epochs": 0}, 1),
    ({"slices": 8, "slices_per_pass": 8, "batchnorm": "train"}, 1),
    ({"slices": 8, "slices_per_pass": 8, "pretrained": False}, 1),
    ({"class_names": ("A", "B"), "positive_class": "C"}, 1),
    ({"horizontal_flip": True, "augment": "none"}, 1),
    ({"head_augment": True, "augment": "none"}, 1),
    ({"head_augment": True, "head_epochs": 0}, 1),
    ({"num_folds": 5, "site_column": "hospital"}, 1),
    ({"split_files": ("test.txt",), "split_column": "split"}, 1),
    ({"head_augment": True, "horizontal_flip": True, "augment": "none"}, 2),
    ({"head_augment": True, "head_epochs": 0, "augment": "none"}, 2),
    ({"head_augment": True, "head_epochs": 0, "finetune_epochs": 0}, 2),
)


def read(**settings: object) -> Config:
    return Config(**settings)  # type: ignore[arg-type]


def with_needs(name: str, value: object) -> dict[str, object]:
    return {**NEEDS.get(name, {}), name: value}


def mistakes_of(**settings: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(**settings)
    return caught.value.mistakes


def beyond(value: float, *, direction: int, is_whole: bool) -> float:
    return value + direction if is_whole else math.nextafter(value, direction * math.inf)


def test_every_number_has_its_ends_here():
    numbers = {name for name, facts in field_facts().items() if facts.kind in (int, float)}
    assert set(ENDS) == numbers


@pytest.mark.parametrize("name", ENDS)
def test_both_ends_of_a_range_are_in_it_and_the_next_number_is_not(name: str):
    is_whole = field_facts()[name].kind is int
    for end, direction in zip(ENDS[name], (-1, 1), strict=True):
        if end is None:
            assert getattr(read(**with_needs(name, 10**9)), name) == 10**9
            continue
        assert getattr(read(**with_needs(name, end)), name) == end
        outside = beyond(end, direction=direction, is_whole=is_whole)
        (mistake,) = mistakes_of(**with_needs(name, outside))
        assert mistake.startswith(f"{name} = ")


@pytest.mark.parametrize("name", list(field_facts()))
def test_text_says_the_same_as_the_value_and_has_the_setting_s_type(name: str):
    facts = field_facts()[name]
    for value in facts.choices or (facts.example,):
        if value is None:
            assert getattr(read(**{name: "none"}), name) is None
            continue
        own = read(**with_needs(name, value))
        kept = getattr(own, name)
        assert isinstance(kept, facts.kind)
        assert type(kept) is not bool or facts.kind is bool
        if facts.kind is not tuple:
            assert read(**with_needs(name, str(value))) == own


@pytest.mark.parametrize("name", [n for n, facts in field_facts().items() if facts.is_optional])
def test_the_word_none_is_no_value_where_a_setting_may_have_none(name: str):
    for word in ("none", "None", "NONE", None):
        assert getattr(read(**{name: word}), name) is None


def test_the_word_none_stays_a_word_where_it_is_a_choice():
    config = read(augment="none", imbalance="none", group_regex="none")
    assert (config.augment, config.imbalance, config.group_regex) == ("none", "none", "none")


@pytest.mark.parametrize("name", list(field_facts()))
def test_blank_text_and_switches_are_no_values(name: str):
    for blank in ("", "  ", "\n"):
        assert len(mistakes_of(**{name: blank})) == 1
    if field_facts()[name].kind is not bool:
        assert len(mistakes_of(**{name: True})) == 1


@pytest.mark.parametrize("name", [n for n, f in field_facts().items() if f.kind is int])
def test_whole_numbers_may_come_as_floats_from_other_tools_but_are_never_rounded(name: str):
    assert type(getattr(read(**with_needs(name, 64.0)), name)) is int
    for broken in (64.5, "64.5", math.nan, math.inf):
        assert len(mistakes_of(**{name: broken})) == 1


@pytest.mark.parametrize("name", [n for n, f in field_facts().items() if f.kind is float])
def test_no_number_is_infinite_or_undefined(name: str):
    for broken in (math.nan, math.inf, -math.inf, "nan", "inf"):
        assert len(mistakes_of(**{name: broken})) == 1


@pytest.mark.parametrize("name", [n for n, f in field_facts().items() if f.kind is Path])
def test_the_home_folder_is_filled_in(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert getattr(read(**{name: "~/x"}), name) == Path("/somewhere/x")
    assert getattr(read(**{name: "a/~/x"}), name) == Path("a/~/x")


def test_a_project_is_a_file_name_on_every_system():
    for sound in ("a", "_", "2024", "a.b-c_d", "x" * 64):
        assert Config(project=sound).project == sound
    for broken in ("x" * 65, ".", "..", ".a", "a-", "a/b", "a\\b", "a:b", "a\n", "\u00e9", "a b"):
        assert len(mistakes_of(project=broken)) == 1


def test_a_device_is_a_whole_word():
    for sound in ("auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"):
        assert Config(device=sound).device == sound
    for broken in ("cpu\n", "cpu:1", "mps:0", "cuda:-1", "cuda:a", "xcuda", "CPU"):
        assert len(mistakes_of(device=broken)) == 1


@pytest.mark.parametrize(("settings", "num_sentences"), AT_ODDS)
def test_settings_are_at_odds_only_together_and_each_quarrel_is_told_once(
    settings: dict[str, object], num_sentences: int
):
    for name, value in settings.items():
        assert find_contradictions(read(**{name: value})) == ()
    sentences = mistakes_of(**settings)
    assert len(sentences) == len(set(sentences)) == num_sentences
    assert all(any(name in sentence for sentence in sentences) for name in settings)


def test_the_order_of_settings_does_not_matter():
    settings = {"seed": 3, "image_size": 96, "pretrained": False}
    configs = {read(**dict(order)) for order in itertools.permutations(settings.items())}
    assert len(configs) == 1
    broken = {"weights": "w", "pretrained": False, "head_lr": 7, "seeed": 1}
    told = {
        frozenset(mistakes_of(**dict(order))) for order in itertools.permutations(broken.items())
    }
    assert len(told) == 1
    assert len(next(iter(told))) == 3


def test_a_quarrel_of_sound_settings_is_told_next_to_a_broken_one():
    broken, quarrel = mistakes_of(batch_size=0, weights="w.pth", pretrained=False)
    assert broken.startswith("batch_size = 0: ")
    assert "weights = w.pth and pretrained = false" in quarrel


@pytest.mark.parametrize(
    "other",
    [
        {"head_epochs": 0},
        {"head_augment": True},
        {"imbalance": "focal"},
        {"imbalance": "balanced_sampler"},
    ],
)
def test_a_solved_head_allows_nothing_that_it_ignores(other):
    (sentence,) = mistakes_of(head_fit="logistic", **other)
    assert f"{next(iter(other))}" in sentence and "head_fit = logistic" in sentence


def test_classes_keep_their_order_and_may_be_numbers():
    config = read(class_names=[1, 0], positive_class=1)
    assert (config.class_names, config.positive_class) == (("1", "0"), "1")
    assert read(positive_class="SICK").class_names is None
    assert len(mistakes_of(class_names=["A", "A"], positive_class="B")) == 2
    assert len(mistakes_of(class_names=["A", " "])) == 1
    assert len(mistakes_of(class_names=[])) == 1


def test_a_changed_copy_is_checked_as_a_new_one():
    config = Config(horizontal_flip=True)
    with pytest.raises(ConfigError, match="has no effect with augment = none"):
        dataclasses.replace(config, augment="none")
    assert dataclasses.replace(config, seed=7) == Config(horizontal_flip=True, seed=7)
    assert dataclasses.replace(config) == config


def test_every_default_is_told_by_its_own_facts():
    config = Config()
    for name, facts in field_facts().items():
        assert getattr(config, name) == facts.default
        assert facts.default is not None or facts.is_optional
        assert not facts.choices or facts.default in facts.choices
