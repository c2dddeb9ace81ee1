import hashlib
import re
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import RemoteEntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from medimg_baseline_cls.errors import WeightsError
from medimg_baseline_cls.models import weights
from medimg_baseline_cls.models.build import build_model
from medimg_baseline_cls.models.weights import fetch_hub_weights, load_weights_file, read_state_dict

LITE0 = Path(__file__).parents[3] / "shared" / "weights" / "tf_efficientnet_lite0.safetensors"
WAYS_OUT = ("--weights FILE", "hf download timm/", "--no-pretrained")


class TinyNet(nn.Module):
    def __init__(self, *, num_classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)


def filled(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator))
    return net


@pytest.fixture
def source():
    return filled(TinyNet(num_classes=5)).state_dict()


def assert_loaded(net, source):
    state = net.state_dict()
    for key, value in source.items():
        if not key.startswith("fc."):
            assert torch.equal(state[key], value), key


def load(net, path, **settings):
    return load_weights_file(net, path, head_names=("fc",), **settings)


def test_safetensors_fill_everything_but_the_classifier(tmp_path, source):
    path = tmp_path / "tiny.safetensors"
    save_file(source, path)
    net = filled(TinyNet(), seed=1)
    head = net.fc.weight.clone()
    report = load(net, path)
    assert_loaded(net, source)
    assert torch.equal(net.fc.weight, head)
    assert report.kind == "file"
    assert report.source == "tiny.safetensors"
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.missing == report.unexpected == ("fc.bias", "fc.weight")
    assert report.adapted == ()


def with_prefix(prefix, state):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": with_prefix("module.", state)},
        lambda state: {"checkpoint": 1, "model_state_dict": with_prefix("_orig_mod.", state)},
        lambda state: {"state_dict": with_prefix("model.", state)},
        lambda state: with_prefix("_orig_mod.module.", with_prefix("net.", state)),
        lambda state: {"state_dict": {"model": state}},
        lambda state: {"state_dict": {k: v + 1 for k, v in state.items()}, "state_dict_ema": state},
    ],
)
def test_nesting_and_wrappers_are_undone(tmp_path, source, wrap):
    torch.save(wrap(source), tmp_path / "tiny.pth")
    net = TinyNet()
    load(net, tmp_path / "tiny.pth")
    assert_loaded(net, source)


def test_old_files_without_batch_counters_fit(tmp_path, source):
    del source["bn.num_batches_tracked"]
    torch.save(source, tmp_path / "old.pt")
    net = TinyNet()
    assert load(net, tmp_path / "old.pt").missing == ("fc.bias", "fc.weight")
    assert_loaded(net, source)


def test_the_exact_keys_that_do_not_fit_are_named_and_nothing_is_changed(tmp_path, source):
    del source["bn.running_mean"]
    source["extra.weight"] = torch.zeros(1)
    source["conv.weight"] = torch.zeros(4, 3, 5, 5)
    torch.save(source, tmp_path / "other.pth")
    net = filled(TinyNet(), seed=1)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load(net, tmp_path / "other.pth")
    text = str(caught.value)
    assert "other.pth does not fit TinyNet" in text
    assert "1 missing: bn.running_mean;" in text
    assert "1 unexpected: extra.weight;" in text
    assert "1 of another shape: conv.weight (4, 3, 5, 5) instead of (4, 3, 3, 3)." in text
    assert str(tmp_path) not in text
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_long_lists_are_counted(tmp_path, source):
    torch.save({**source, **{f"x{i}": torch.zeros(1) for i in range(25)}}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"25 unexpected: x0, .*x9 and 15 more"):
        load(TinyNet(), tmp_path / "a.pt")


def test_extra_tensors_of_the_hub_are_reported_but_missing_ones_refused(tmp_path, source):
    source["head_dist.weight"] = torch.zeros(1)
    torch.save(source, tmp_path / "a.pt")
    net = TinyNet()
    report = load(net, tmp_path / "a.pt", allow_extra=True)
    assert report.unexpected == ("fc.bias", "fc.weight", "head_dist.weight")
    del source["head_dist.weight"]
    assert_loaded(net, source)
    del source["conv.bias"]
    torch.save(source, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"1 missing: conv\.bias"):
        load(net, tmp_path / "a.pt", allow_extra=True)


def test_a_translation_that_fails_leaves_the_plain_report(tmp_path, source):
    def translate(_state):
        raise KeyError("stem")

    torch.save({"other": torch.zeros(1), "fc.weight": source["fc.weight"]}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="1 unexpected: other"):
        load(TinyNet(), tmp_path / "a.pt", translate=translate)


# --- other names for the same tensors ---


def as_sequence(net):
    """Return the tensors by the numbers of `nn.Sequential`, as RadImageNet publishes them."""
    return nn.Sequential(*net.children()).state_dict()


@pytest.mark.parametrize("prefix", ["", "backbone.", "encoder.net."])
@pytest.mark.parametrize("has_head", [True, False])
@pytest.mark.parametrize("has_counters", [True, False])
def test_numbered_names_are_matched_by_order(tmp_path, prefix, has_head, has_counters):
    whole = filled(timm.create_model("resnet18", num_classes=5), seed=2)
    state = {
        prefix + k: v
        for k, v in as_sequence(whole).items()
        if (has_head or not k.startswith("9."))
        and (has_counters or not k.endswith("num_batches_tracked"))
    }
    torch.save(state, tmp_path / "rad.pt")
    net = timm.create_model("resnet18", num_classes=2)
    head = net.fc.weight.clone()
    report = load(net, tmp_path / "rad.pt")
    assert_loaded(
        net, {k: v for k, v in whole.state_dict().items() if not k.endswith("num_batches_tracked")}
    )
    assert torch.equal(net.fc.weight, head)
    count = 102 if has_head else 100  # 20 convolutions, 20 times 4 of BatchNorm, the classifier
    assert report.renamed == f"{count} by their order, such as {prefix}0.weight as conv1.weight"


@pytest.mark.parametrize("prefix", ["backbone.", "model.", "net.", "encoder_q.base."])
def test_a_prefix_of_all_keys_is_left_out_and_told(tmp_path, source, prefix):
    torch.save(with_prefix(prefix, source), tmp_path / "a.pt")
    net = TinyNet()
    report = load(net, tmp_path / "a.pt")
    assert_loaded(net, source)
    assert report.renamed == f"without their prefix {prefix}"


def test_a_prefix_is_left_out_as_far_as_the_network_does_not_have_it(tmp_path, source):
    inner = nn.ModuleDict({"features": filled(TinyNet(), seed=2)})
    state = {k: v for k, v in inner.state_dict().items() if ".fc." not in k}
    torch.save(with_prefix("backbone.", state), tmp_path / "a.pt")
    net = nn.ModuleDict({"features": TinyNet(), "last": nn.Linear(2, 2)})
    report = load_weights_file(net, tmp_path / "a.pt", head_names=("last", "features.fc"))
    assert torch.equal(net["features"].conv.weight, state["features.conv.weight"])
    assert report.renamed == "without their prefix backbone."


class Twins(nn.Module):
    """Two layers of one shape, which nothing but their names distinguishes."""

    def __init__(self, first, second):
        super().__init__()
        self.add_module(first, nn.Linear(3, 3))
        self.add_module(second, nn.Linear(3, 3))
        self.fc = nn.Linear(3, 2)


@pytest.mark.parametrize("names", [("query", "key"), ("proj1", "proj2")])
def test_other_names_of_the_same_shapes_are_named_and_not_guessed(tmp_path, names):
    torch.save(Twins(*names).state_dict(), tmp_path / "a.pt")
    net = Twins("q", "k")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    words = f"the 6 shapes of Twins in their order, but other names: {names[0]}.weight where the"
    with pytest.raises(WeightsError, match=words):
        load(net, tmp_path / "a.pt")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_equal_names_come_before_any_order(tmp_path):
    source = filled(Twins("k", "q")).state_dict()
    torch.save(source, tmp_path / "a.pt")
    net = Twins("q", "k")
    load(net, tmp_path / "a.pt")
    assert_loaded(net, source)


def test_numbers_do_not_excuse_another_shape_or_another_part(tmp_path):
    state = as_sequence(timm.create_model("resnet18", num_classes=5))
    for change in (
        {"0.weight": torch.zeros(64, 3, 5, 5)},
        {"1.running_mean": None, "1.mean": torch.zeros(64)},
    ):
        changed = {**state, **change}
        torch.save({k: v for k, v in changed.items() if v is not None}, tmp_path / "a.pt")
        with pytest.raises(WeightsError, match=r"does not fit ResNet: pass --arch"):
            load(timm.create_model("resnet18", num_classes=2), tmp_path / "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(tmp_path, source, value):
    source["conv.weight"][0, 0, 0, 0] = value
    torch.save(source, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt has values in conv\.weight .* not finite"):
        load(TinyNet(), tmp_path / "a.pt")


def test_numbers_of_another_kind_are_refused(tmp_path, source):
    source["conv.weight"] = (source["conv.weight"] * 100).to(torch.int8)
    torch.save(source, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"conv\.weight that are not finite numbers of the"):
        load(TinyNet(), tmp_path / "a.pt")


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_garbage_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        read_state_dict(tmp_path / name)


def test_code_in_a_file_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Hostile()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="Python objects"):
        read_state_dict(tmp_path / "a.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], {"model": {}}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="contains no tensors"):
        read_state_dict(tmp_path / "a.pth")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        build_model("resnet18", image_size=64, weights=tmp_path / "none.safetensors")


# --- the same tensors as timm itself ---


def assert_equal_to_timm(model, path, **settings):
    overlay = {"file": str(path), "custom_load": False, **settings.pop("overlay", {})}
    oracle = timm.create_model(
        model.arch, pretrained=True, num_classes=2, pretrained_cfg_overlay=overlay, **settings
    ).state_dict()
    state = model.net.state_dict()
    assert state.keys() == oracle.keys()
    head = model.head_names[0]
    assert all(torch.equal(state[k], oracle[k]) for k in state if not k.startswith(head))
    assert len(model.weights_report.missing) == 2


@pytest.fixture
def save_timm(tmp_path):
    def save(arch, rename=str, **settings):
        net = filled(timm.create_model(arch, **settings), seed=2)
        path = tmp_path / f"{arch}.safetensors"
        save_file({rename(k): v.clone() for k, v in net.state_dict().items()}, path)
        return path

    return save


def test_native_names_load_as_in_timm(save_timm):
    path = save_timm("resnet18")
    model = build_model("resnet18", image_size=64, weights=path)
    assert_equal_to_timm(model, path)
    assert model.weights_report.adapted == ()


def test_torchvision_names_of_densenet_load_as_in_timm(save_timm):
    def rename(key):
        return re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key)

    path = save_timm("densenet121", rename)
    assert "features.denseblock1.denselayer1.norm.1.weight" in read_state_dict(path)
    assert_equal_to_timm(build_model("densenet121", image_size=64, weights=path), path)


def test_original_names_of_convnext_load_as_in_timm(save_timm):
    def rename(key):
        key = key.replace("stem.", "downsample_layers.0.")
        key = re.sub(r"stages.([0-9]+).downsample.([0-9]+)", r"downsample_layers.\1.\2", key)
        key = re.sub(r"stages.([0-9]+).blocks.([0-9]+)", r"stages.\1.\2", key)
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        return re.sub(r"^head.norm", "norm", key).replace("head.fc", "head")

    path = save_timm("convnext_atto", rename)
    assert "stages.0.0.dwconv.weight" in read_state_dict(path)
    assert_equal_to_timm(build_model("convnext_atto", image_size=64, weights=path), path)


def test_a_position_embedding_of_another_grid_is_resampled_as_in_timm(save_timm):
    path = save_timm("vit_tiny_patch16_224")
    before = torch.random.get_rng_state()
    model = build_model("vit_tiny_patch16_224", image_size=64, weights=path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert nn.Module.load_state_dict is type(model.net).load_state_dict
    assert_equal_to_timm(model, path, img_size=64)
    assert model.weights_report.adapted == ("pos_embed",)
    assert model.net.pos_embed.shape[1] == 1 + 4 * 4


def test_a_grey_stem_is_spread_over_three_channels_as_in_timm(save_timm):
    path = save_timm("resnet18", in_chans=1)
    model = build_model("resnet18", image_size=64, weights=path)
    assert_equal_to_timm(model, path, overlay={"input_size": (1, 224, 224)}, in_chans=3)
    assert model.weights_report.adapted == ("conv1.weight",)


def test_weights_of_another_architecture_are_refused(save_timm):
    with pytest.raises(WeightsError, match=r"does not fit ResNet: .*missing: .*unexpected: "):
        build_model("resnet18", image_size=64, weights=save_timm("convnext_atto"))


@pytest.mark.skipif(not LITE0.is_file(), reason="the shared weights are not here")
def test_the_real_lite0_weights_load_as_in_timm():
    model = build_model("tf_efficientnet_lite0", image_size=96, weights=LITE0)
    assert_equal_to_timm(model, LITE0)
    assert model.cam_layer == "bn2"
    assert model.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert model.weights_report.unexpected == ("classifier.bias", "classifier.weight")


# --- the hub ---


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache and no network; the test counts on neither being touched."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(weights, "is_hub_reachable", lambda: False)
    return cache


def put_in_cache(cache, hub_id, *, filename, state):
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    if filename.endswith(".safetensors"):
        save_file(state, snapshot / filename)
    else:
        torch.save(state, snapshot / filename)
    return snapshot / filename


@pytest.mark.parametrize("filename", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub_cache_is_enough_without_network(hub_cache, filename):
    state = filled(timm.create_model("resnet18"), seed=2).state_dict()
    path = put_in_cache(hub_cache, "timm/resnet18.a1_in1k", filename=filename, state=state)
    model = build_model("resnet18", image_size=64)
    assert torch.equal(model.net.conv1.weight, state["conv1.weight"])
    report = model.weights_report
    assert report.kind == "hub"
    assert report.source == f"timm/resnet18.a1_in1k/{filename}"
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_network_the_three_ways_out_are_named(hub_cache):
    with pytest.raises(WeightsError) as caught:
        build_model("resnet18", image_size=64)
    assert "timm/resnet18.a1_in1k" in str(caught.value)
    assert all(way in str(caught.value) for way in WAYS_OUT)


@pytest.fixture
def downloads(hub_cache, monkeypatch, tmp_path):
    """A hub that is reachable and holds only what the test puts into `files`."""
    files, asked = {}, []

    def download(repo_id, filename, *, revision=None, cache_dir=None, local_files_only=False):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        asked.append((repo_id, filename, revision))
        if filename not in files:
            request = type("Response", (), {"headers": {}, "request": None, "status_code": 404})()
            raise RemoteEntryNotFoundError("404", response=request)
        path = tmp_path / filename
        torch.save(files[filename], path)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(weights, "is_hub_reachable", lambda: True)
    return files, asked


def test_the_hub_is_asked_for_the_safe_format_first(downloads):
    files, asked = downloads
    files["pytorch_model.bin"] = {"a": torch.zeros(1)}
    assert fetch_hub_weights("timm/x@v2").name == "pytorch_model.bin"
    assert asked == [("timm/x", "model.safetensors", "v2"), ("timm/x", "pytorch_model.bin", "v2")]


def test_a_repository_without_weights_is_an_error(downloads):
    with pytest.raises(WeightsError, match=r"has none of model\.safetensors, pytorch_model\.bin"):
        fetch_hub_weights("timm/x")


def test_any_other_trouble_of_the_hub_names_the_ways_out(downloads, monkeypatch):
    def fail(*_args, local_files_only, **_kwargs):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        raise ConnectionResetError("connection reset\nby peer")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=r"timm/x: connection reset\. Three ways out"):
        fetch_hub_weights("timm/x")


def test_reachability_is_asked_once_and_offline_mode_is_honoured(monkeypatch):
    calls = []

    class Session:
        def head(self, url, timeout):
            calls.append((url, timeout))
            if len(calls) > 1:
                raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert weights.is_hub_reachable()
    assert not weights.is_hub_reachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not weights.is_hub_reachable()
    assert len(calls) == 2
    assert all(timeout <= 5 for _, timeout in calls)


@pytest.mark.parametrize("arch", ["monai:resnet10", "darknet17"])
def test_architectures_without_hub_weights_say_so(arch, hub_cache):
    if arch == "darknet17" and timm.get_pretrained_cfg(arch).hf_hub_id:
        pytest.skip("timm has weights for it by now")
    with pytest.raises(WeightsError, match=r"no weights .*Three ways out"):
        build_model(arch, image_size=64)
