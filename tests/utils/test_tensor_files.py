"""A file of tensors is read as it was written, or refused with one clause of ours."""

import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medimg_baseline_cls.utils.tensor_files import (
    UnreadableFileError,
    find_odd_tensor,
    read_tensor_file,
    read_torch_archive,
)

STATE = {"w": torch.arange(24.0).reshape(4, 6), "n": torch.tensor(3)}


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def saved(content, **settings):
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def zipped(compression=zipfile.ZIP_STORED, **files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), data)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, w=np.zeros(3))
    return buffer.getvalue()


def test_what_was_written_is_read_whatever_the_file_is_called(tmp_path):
    save_file(STATE, tmp_path / "a.pth")
    (tmp_path / "b.safetensors").write_bytes(saved(STATE))
    (tmp_path / "c").write_bytes(saved(STATE, _use_new_zipfile_serialization=False))
    for path in tmp_path.iterdir():
        found = read_tensor_file(path)
        assert found.keys() == STATE.keys()
        assert all(torch.equal(found[name], STATE[name]) for name in STATE)


NOT_TENSORS = {
    "empty": b"",
    "text": b"hello",
    "html": b"<!DOCTYPE html><html>404</html>",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "gzip": b"\x1f\x8b\x08" + bytes(64),
    "npy": b"\x93NUMPY\x01\x00" + bytes(64),
    "npz": npz(),
    "zip of text": zipped(readme="hello"),
    "zip without records": b"PK\x05\x06" + bytes(18),
    "compressed archive": zipped(zipfile.ZIP_DEFLATED, x__data_pkl=bytes(1 << 20)),
    "archive of nothing": zipped(x__data_pkl=b""),
    "archive of text": zipped(x__data_pkl=b"hello"),
    "archive without data": zipped(x__data_pkl=saved(STATE)),
    "torchscript": zipped(x__data_pkl=b"", x__constants_pkl=b""),
    "only zeros": bytes(4096),
    "plain pickle": pickle.dumps({"w": [1.0, 2.0]}),
    "pickled array": pickle.dumps({"w": np.zeros(3)}),
    "pickled code": pickle.dumps(Hostile()),
    "saved code": saved({"model": Hostile()}),
    "saved module": saved(torch.nn.Linear(1, 1)),
    "safetensors of nothing": b"\x10" + bytes(7) + b"{" + bytes(40),
    "safetensors with a huge header": b"\xff" * 7 + b"\x0f" + b"{" + bytes(40),
    "safetensors of text": (15).to_bytes(8, "little") + json.dumps({"a": "bcdefg"}).encode(),
    "deep pickle": b"\x80\x02" + b"(" * 100_000 + b"l.",
    "memo of nothing": b"\x80\x02h\x07.",
}


@pytest.mark.parametrize("name", NOT_TENSORS)
def test_anything_else_is_refused_by_one_clause(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pth").write_bytes(NOT_TENSORS[name])
    for read in (read_tensor_file, read_torch_archive):
        with pytest.raises(UnreadableFileError) as refusal:
            read(tmp_path / "x.pth")
        text = str(refusal.value)
        assert "weights_only" not in text and "\n" not in text and 5 < len(text) < 120
    assert not (tmp_path / "executed").exists()


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="is a folder"):
        read_tensor_file(tmp_path)
    with pytest.raises(UnreadableFileError, match="is not there"):
        read_tensor_file(tmp_path / "x")


def test_a_damaged_record_is_named(tmp_path):
    data = bytearray(saved(STATE))
    position = data.index(STATE["w"].numpy().tobytes())
    data[position + 9] ^= 1
    (tmp_path / "x.pt").write_bytes(data)
    assert torch.load(tmp_path / "x.pt", weights_only=True)  # torch itself does not notice
    with pytest.raises(UnreadableFileError, match="the checksum of '.*/data/0' does not match"):
        read_tensor_file(tmp_path / "x.pt")


@pytest.mark.parametrize("seed", range(60))
def test_every_flipped_bit_is_refused_or_is_of_no_consequence(tmp_path, seed):
    draw, data = random.Random(seed), bytearray(saved(STATE))
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    (tmp_path / "x.pt").write_bytes(data)
    try:
        found = read_torch_archive(tmp_path / "x.pt")
    except UnreadableFileError:
        return
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["archive", "pickle", "safetensors"])
def test_noise_behind_the_first_bytes_of_a_real_file_is_refused(tmp_path, kind, seed):
    if kind == "safetensors":
        save_file(STATE, tmp_path / "x")
    else:
        (tmp_path / "x").write_bytes(saved(STATE, _use_new_zipfile_serialization=kind == "archive"))
    whole, draw = (tmp_path / "x").read_bytes(), random.Random(seed)
    start = draw.randrange(8, 60)
    (tmp_path / "x").write_bytes(whole[:start] + draw.randbytes(draw.randrange(1, len(whole))))
    with pytest.raises(UnreadableFileError):
        read_tensor_file(tmp_path / "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_found(value):
    state = {"a": torch.zeros(2), "b": torch.tensor([1.0, value]), "n": torch.tensor(3)}
    assert find_odd_tensor(state) == "b"
    assert find_odd_tensor({"a": torch.zeros(2), "n": torch.tensor(True)}) is None
