import pytest

from medimg_baseline_cls.utils.rank import is_main_process


@pytest.mark.parametrize(("rank", "is_main"), [(None, True), ("0", True), ("1", False)])
def test_rank_zero_or_a_single_process_is_main(
    rank: str | None, is_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_main_process() == is_main
