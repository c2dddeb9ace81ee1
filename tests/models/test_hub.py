"""The hub cache without torch: every file of weights that is not one is named for what it is."""

import os
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from medimg_baseline_cls.models.hub import describe_foreign, list_cached_weights

STATE = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.zeros(3)}
REVISION = "0" * 40


def in_cache(cache, hub_id, filename):
    place = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / REVISION
    place.mkdir(parents=True, exist_ok=True)
    return place / filename


@pytest.fixture
def whole(tmp_path):
    """Files of weights as their libraries write them."""
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "b.pth")
    torch.save(STATE, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    return [tmp_path / name for name in ("a.safetensors", "b.pth", "c.pth")]


def test_files_of_weights_are_not_foreign(whole):
    assert [describe_foreign(path) for path in whole] == ["", "", ""]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <HTML><body>", "web page"),
        (b"<?xml version='1.0'?><Error>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"PK\x03\x04 and nothing more", "cut off or damaged"),
        (b"GIF89a", "neither"),
        (bytes(600), "neither"),
        ((5).to_bytes(8, "little") + b"{nope" + bytes(9), "neither"),
        ((2).to_bytes(8, "little") + b"{}", "cut off"),
        ((10**12).to_bytes(8, "little") + b"{}", "cut off"),
        ((4).to_bytes(8, "little") + b'{"a}', "neither"),
        ((9).to_bytes(8, "little") + b'{"a":[1]}', "neither"),
    ],
)
def test_what_a_foreign_file_is_is_said(tmp_path, content, said):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert describe_foreign(path).startswith("it is ")
    assert said in describe_foreign(path)


def test_a_foreign_archive_is_not_one_of_torch(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    assert "not one of torch.save" in describe_foreign(path)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_download_that_was_cut_off_is_damaged(whole, number, share):
    data = whole[number].read_bytes()
    whole[number].write_bytes(data[: int(share * len(data))])
    assert "cut off" in describe_foreign(whole[number])


def test_what_is_not_a_file_is_said(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    assert describe_foreign(tmp_path) == "it is a folder"
    assert describe_foreign(tmp_path / "none") == "it does not exist"
    assert describe_foreign(tmp_path / "link") == "it is a link to nothing"
    assert describe_foreign(tmp_path / "pipe") == "it is not a regular file"


def test_the_weights_of_the_cache_are_listed_by_their_names(tmp_path):
    save_file(STATE, in_cache(tmp_path, "timm/resnet18.a1_in1k", "model.safetensors"))
    torch.save(STATE, in_cache(tmp_path, "owner/a--b", "pytorch_model.bin"))
    in_cache(tmp_path, "timm/page", "model.safetensors").write_bytes(b"<html>")
    in_cache(tmp_path, "timm/other", "config.json").write_text("{}")
    found = list_cached_weights(tmp_path)
    assert [(item.hub_id, bool(item.fault)) for item in found] == [
        ("owner/a--b", False),
        ("timm/page", True),
        ("timm/resnet18.a1_in1k", False),
    ]
    assert found[2].path.read_bytes()[8:9] == b"{"


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    assert list_cached_weights(tmp_path / "none") == []
