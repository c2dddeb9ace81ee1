"""New images get recalibrated probabilities beside their own, and the same decisions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests import independent

from medimg_baseline_cls import predict
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.recalibration import read_recalibration

POSITIVE = "PNEUMONIA"


def rows_of(run: Path, data: Path, target: Path, method: str | None) -> list[dict[str, str]]:
    predict(run, [data / "test"], output=target, recalibrate=method)
    return independent.read_rows(target)


def test_platts_column_is_his_line_and_decisions_stay(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    plain = rows_of(finished_run, phantoms, tmp_path / "a.csv", None)
    mapped = rows_of(finished_run, phantoms, tmp_path / "b.csv", "platt")
    assert [row["decision"] for row in mapped] == [row["decision"] for row in plain]
    added = {f"platt_{POSITIVE}", f"platt_threshold_{POSITIVE}"}
    assert set(mapped[0]) - set(plain[0]) == added
    stored = independent.read_json(finished_run / "recalibration.json")["classes"][POSITIVE]
    line = stored["platt"]["parameters"]
    scores = np.array([float(row[f"prob_{POSITIVE}"]) for row in mapped])
    logits = line["intercept"] + line["slope"] * np.log(scores / (1 - scores))
    found = [float(row[f"platt_{POSITIVE}"]) for row in mapped]
    assert found == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-9)
    # The carried threshold decides on the recalibrated probabilities as the run does.
    cut = stored["platt"]["thresholds"]["max_f1"]["threshold"]
    assert {float(row[f"platt_threshold_{POSITIVE}"]) for row in mapped} == {cut}
    calls = [value >= cut for value in found]
    assert calls == [row["decision"] == POSITIVE for row in mapped]


def test_a_map_that_val_does_not_determine_is_warned_of_where_it_is_used(
    finished_run: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "copy")
    content = independent.read_json(run / "recalibration.json")
    warning = {"methods": ["platt"], "text": "VAL has only 7 NORMAL: and so on."}
    for warnings, method, is_told in (
        ({POSITIVE: warning}, "platt", True),
        ({POSITIVE: warning}, "temperature", False),
        ({}, "platt", False),
    ):
        (run / "recalibration.json").write_text(json.dumps(content | {"warnings": warnings}))
        rows_of(run, phantoms, tmp_path / "new.csv", method)
        said = " ".join("".join(capsys.readouterr()).split())
        assert ("VAL has only 7 NORMAL" in said) == is_told


def test_an_unknown_method_names_those_there_are(finished_run: Path, phantoms: Path) -> None:
    with pytest.raises(RunError, match="choose from temperature, platt, isotonic"):
        predict(finished_run, [phantoms / "test"], recalibrate="beta")


def test_a_run_without_maps_and_a_garbled_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recalibration.json"
    with pytest.raises(RunError, match="run `medimg evaluate"):
        read_recalibration(path, "platt")
    path.write_text('{"classes": {"A": {"before": {}}}}')
    with pytest.raises(RunError, match="VAL does not define one"):
        read_recalibration(path, "platt")
    for text in ("{}", '{"classes": []}', '{"classes": {"A": {"platt": {}}}}'):
        path.write_text(text)
        with pytest.raises(RunError, match="not as it was written"):
            read_recalibration(path, "platt")
