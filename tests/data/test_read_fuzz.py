"""Whatever the bytes, the reader ends in pixels or in a BadImageError.

The damaged files are made by benchmarks/reader_robustness.py, which also prints the counts.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medimg_baseline_cls.data.read import decode_image
from medimg_baseline_cls.errors import BadImageError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reader_robustness.py"
KINDS = ("DICOM", "RLE DICOM", "PNG", "JPEG")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reader_robustness", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_foreign_dicom_files_end_in_pixels_or_a_refusal(script: ModuleType) -> None:
    outcomes = {path.name: script.outcome(path.read_bytes()) for path in script.bundled_files()}
    assert set(outcomes.values()) == {"pixels", "refused"}
    for name in ("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "image_dfl.dcm"):
        assert outcomes[name] == "pixels", name
    for name in ("MR_truncated.dcm", "rtplan.dcm", "examples_palette.dcm", "DICOMDIR"):
        assert outcomes[name] == "refused", name


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_file_is_refused_or_lost_nothing(kind: str, script: ModuleType) -> None:
    whole = script.seed_files()[kind]
    expected = decode_image(whole, color="grey").pixels
    num_refused = 0
    for data in script.cut(whole):
        try:
            pixels = decode_image(data, color="grey").pixels
        except BadImageError:
            num_refused += 1
        else:
            np.testing.assert_array_equal(pixels, expected)
    assert num_refused >= script.NUM_CUTS - 1


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_end_in_pixels_or_a_refusal(kind: str, script: ModuleType) -> None:
    outcomes = [script.outcome(data) for data in script.flip(script.seed_files()[kind])]
    assert len(outcomes) == script.NUM_FLIPS
    assert set(outcomes) == {"pixels", "refused"}


def test_an_error_of_another_kind_would_be_seen(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes, *, color: str) -> None:
        raise KeyError(color)

    monkeypatch.setattr(script, "decode_image", fail)
    assert script.outcome(b"") == "KeyError"
