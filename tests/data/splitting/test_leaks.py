"""TEST keeps what it has; whole patients leave the training side, and each file has its reason."""

from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.splitting.leaks import drop_leaks
from medimg_baseline_cls.data.splitting.split import check_leakage
from medimg_baseline_cls.schema import ImageRecord, Split

SIDES = ("train", "val", "test")


def record(name: str, split: str, *, group: str = "", sha256: str = "") -> ImageRecord:
    return ImageRecord(
        image_id=name,
        path=name,
        label="A",
        group=group or name,
        split=split,
        sha256=sha256 or name,
        width=1,
        height=1,
    )


@given(st.lists(st.tuples(st.sampled_from(SIDES), st.integers(0, 6), st.integers(0, 9))))
@settings(deadline=None, derandomize=True)
def test_what_is_left_has_no_leak_and_the_whole_of_test(rows: list[tuple[str, int, int]]) -> None:
    records = [
        record(f"{i}.png", side, group=f"p{g}", sha256=f"{g}-{c}")
        for i, (side, g, c) in enumerate(rows)
    ]
    cleaned = drop_leaks(records)
    check_leakage(Split(cleaned.records, ("A",)))
    before, after = ([r for r in some if r.split == "test"] for some in (records, cleaned.records))
    assert before == after
    gone = dict(cleaned.left_out)
    assert {r.path for r in cleaned.records} | set(gone) == {r.path for r in records}
    for r in records:  # a patient leaves a side whole, and only for a later side
        sides = {SIDES.index(o.split) for o in records if o.group == r.group}
        assert (r.path in gone) == (max(sides) > SIDES.index(r.split))


def test_the_reason_names_the_side_and_what_is_shared() -> None:
    records = [
        record("train/1.png", "train", group="p1"),
        record("train/2.png", "train", sha256="same"),
        record("train/3.png", "train", group="p3"),
        record("train/4.png", "train", group="p3"),
        record("val/5.png", "val", group="p1"),
        record("test/6.png", "test", sha256="same"),
        record("test/7.png", "test"),
        record("train/8.png", "train"),
    ]
    cleaned = drop_leaks(records, near=[(2, 6), (0, 7)])
    near = "the patient has a nearly identical image in test"
    assert dict(cleaned.left_out) == {
        "train/1.png": "left out of train: the patient is also in val (--on-leak)",
        "train/2.png": "left out of train: an identical file is in test (--on-leak)",
        "train/3.png": f"left out of train: {near} (--on-leak)",
        "train/4.png": f"left out of train: {near} (--on-leak)",
    }


def test_images_without_a_split_are_left_alone() -> None:
    records = [record("1.png", "", sha256="x"), record("2.png", "", sha256="x")]
    assert drop_leaks(records, near=[(0, 1)]).records == tuple(records)
