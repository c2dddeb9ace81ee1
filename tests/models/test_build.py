import copy
import io
import json

import pytest
import timm
import torch

from medimg_baseline_cls.errors import ModelError, WeightsError
from medimg_baseline_cls.models.build import (
    MONAI_NETWORKS,
    build_model,
    describe_model,
    rebuild_model,
)
from medimg_baseline_cls.models.families import trace_layers

CAM_LAYERS = {
    "resnet18": "layer4",
    "densenet121": "features.norm5",
    "efficientnet_b0": "bn2",
    "tf_efficientnet_lite0": "bn2",
    "convnext_atto": "stages.3",
    "vit_tiny_patch16_224": "blocks.11.norm1",
    "monai:DenseNet121": "class_layers.relu",
}
OTHERS = {  # families that the table does not know
    "regnetx_002": "final_conv",
    "mobilenetv3_small_050": "blocks",
    "resnetv2_18": "norm",  # its classifier is a 1 x 1 convolution
    "xcit_nano_12_p16_224": "blocks.11.norm1",
    "monai:resnet10": "layer4",
}


def build(arch, **settings):
    return build_model(arch, pretrained=False, **{"image_size": 64, **settings})


@pytest.mark.parametrize("arch", [*CAM_LAYERS, *OTHERS])
def test_logits_are_the_head_of_the_features_and_the_cam_layer_is_known(arch, built, pixels):
    model = built(arch)
    with torch.no_grad():
        logits, features = model(pixels), model.features(pixels)
    assert logits.shape == (2, 3)
    assert features.ndim == 2
    assert torch.equal(model.head(features), logits)
    assert model.cam_layer == {**CAM_LAYERS, **OTHERS}[arch]
    assert not model.head_layer._forward_pre_hooks


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
def test_state_dict_keeps_the_names_and_the_function_of_plain_timm(arch, built, pixels):
    model = built(arch)
    sizes = {"img_size": 64} if "vit" in arch else {}
    plain = timm.create_model(arch, num_classes=3, **sizes).eval()
    plain.load_state_dict(model.net.state_dict(), strict=True)
    mean, std = plain.pretrained_cfg["mean"], plain.pretrained_cfg["std"]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    with torch.no_grad():
        assert torch.equal(model(pixels), plain((pixels - mean) / std))


def test_grey_is_copied_to_three_channels(built, pixels):
    model, grey = built("resnet18"), pixels[:, :1]
    with torch.no_grad():
        assert torch.equal(model(grey), model(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(ModelError, match="1 or 3 channels"):
        model(pixels[:, :2])


def test_same_seed_same_weights_and_global_generators_untouched():
    before = torch.random.get_rng_state()
    first, again, other = (build("resnet18", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    states = [m.net.state_dict() for m in (first, again, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])
    assert not torch.equal(states[0]["fc.weight"], states[2]["fc.weight"])
    assert first.weights_report.kind == "random"


def test_a_built_model_is_in_training_mode_with_untouched_buffers():
    model = build("resnet18")
    assert all(module.training for module in model.modules())
    assert model.net.bn1.num_batches_tracked == 0
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("arch", ["resnet18", "resnetv2_18"])
def test_classifier_is_float32_under_autocast(arch, built, pixels):
    model = built(arch)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits, features = model(pixels), model.features(pixels)
        assert torch.equal(model.head(features), logits)
    assert logits.dtype == features.dtype == torch.float32
    assert torch.equal(features, features.bfloat16().float())  # the backbone did run in bf16
    assert not torch.equal(logits, logits.bfloat16().float())  # the classifier did not
    expected = features.double() @ model.head_layer.weight.double().flatten(1).T
    expected = expected + model.head_layer.bias.double()
    assert torch.allclose(logits.double(), expected, rtol=0, atol=1e-5)


def test_depthwise_convolutions_are_float32_on_a_cpu_also_in_a_copy(built, pixels):
    original = built("tf_efficientnet_lite0")
    model = copy.deepcopy(original)
    seen = {}
    for name, module in model.net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, _i, out, name=name: seen.update({name: (m.groups > 1, out.dtype)})
            )
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(pixels)
    assert set(seen.values()) == {(True, torch.float32), (False, torch.bfloat16)}
    depthwise = next(name for name, (is_grouped, _) in seen.items() if is_grouped)
    with torch.no_grad():
        assert torch.equal(model(pixels), original(pixels))
        model.net.get_submodule(depthwise).weight.zero_()
        assert not torch.equal(model(pixels), original(pixels))


def test_channels_last_gives_the_same_logits(built, pixels):
    plain = built("resnet18")
    model = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    layouts = []
    handle = model.net.layer4.register_forward_hook(lambda _m, _i, out: layouts.append(out))
    with torch.no_grad():
        for shown in (pixels, pixels[:, :1], pixels.contiguous(memory_format=torch.channels_last)):
            assert torch.allclose(model(shown), plain(shown), atol=1e-4)
    handle.remove()
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in layouts)


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224", "monai:resnet10"])
def test_description_and_tensors_rebuild_the_same_model(arch, built, pixels):
    model = built(arch)
    file = io.BytesIO()
    torch.save({"model": model.net.state_dict(), "description": describe_model(model)}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert json.loads(json.dumps(saved["description"])) == saved["description"]
    rebuilt = rebuild_model(saved["description"], saved["model"]).eval()
    with torch.no_grad():
        assert torch.equal(rebuilt(pixels), model(pixels))
    assert describe_model(rebuilt) == describe_model(model)
    assert rebuilt.weights_report.kind == "checkpoint"
    assert rebuilt.net.state_dict().keys() == model.net.state_dict().keys()


def test_rebuilding_keeps_the_checkpoint_s_own_normalisation_and_layer(built):
    description = {
        **describe_model(built("resnet18")),
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "cam_layer": "layer3",
    }
    rebuilt = rebuild_model(description, built("resnet18").net.state_dict())
    assert rebuilt.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert describe_model(rebuilt) == description


def test_rebuilding_refuses_other_tensors(built):
    state = built("resnet18").net.state_dict()
    del state["fc.bias"]
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        rebuild_model(describe_model(built("resnet18")), state)


@pytest.mark.parametrize(
    ("arch", "nearest"),
    [
        ("resnet19", "resnet18"),
        ("resnet18.nothing", "resnet18.a1_in1k"),
        ("DenseNet121", "monai:DenseNet121"),
        ("monai:densenet121", "monai:DenseNet121"),
        ("hf-hub:timm/resnet18", "resnet18"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(arch, nearest):
    with pytest.raises(ModelError, match=nearest) as caught:
        build(arch)
    assert repr(arch) in str(caught.value)


def test_a_tag_of_timm_is_a_name():
    assert build("resnet18.tv_in1k").arch == "resnet18.tv_in1k"


def test_every_monai_network_exists():
    nets = pytest.importorskip("monai.networks.nets")
    assert all(hasattr(nets, name) for name in MONAI_NETWORKS)


def test_sizes_that_patches_do_not_tile_are_refused():
    with pytest.raises(ModelError, match=r"ignore 4 px.*image_size 96 or 112"):
        build("vit_tiny_patch16_224", image_size=100)


def test_of_a_size_below_one_patch_only_the_larger_size_is_offered():
    with pytest.raises(ModelError, match=r"of 8 px; take image_size 16\.$"):
        build("test_vit", image_size=8)


def test_sizes_that_a_network_cannot_take_are_refused():
    with pytest.raises(ModelError, match="cannot take images of 16 px"):
        build("convnext_atto", image_size=16)


def test_one_class_is_refused():
    with pytest.raises(ModelError, match="2 classes or more"):
        build("resnet18", num_classes=1)


def test_several_classifiers_are_refused():
    with pytest.raises(ModelError, match="no single last linear layer"):
        build("deit_tiny_distilled_patch16_224")


@pytest.mark.parametrize(
    ("arch", "layer", "name"),
    [
        ("resnet18", "layer3", "layer3"),
        ("resnet18", "layer4.-1.conv2", "layer4.1.conv2"),
        ("vit_tiny_patch16_224", "blocks.-2", "blocks.10"),
    ],
)
def test_cam_layer_can_be_chosen(arch, layer, name):
    assert build(arch, cam_layer=layer).cam_layer == name


@pytest.mark.parametrize(
    ("layer", "problem", "candidate"),
    [
        ("layer5", "does not exist", "layer4"),
        ("fc", "gives no feature map", "layer4"),
        ("layer4.-7", "does not exist", "layer3"),
    ],
)
def test_a_wrong_cam_layer_is_refused_with_candidates(layer, problem, candidate):
    with pytest.raises(ModelError, match=problem) as caught:
        build("resnet18", cam_layer=layer)
    assert candidate in str(caught.value)


@pytest.mark.parametrize("arch", ["resnet18", "test_resnet", "densenet121", "efficientnet_b0"])
def test_a_small_image_has_its_deepest_map_of_several_cells(arch):
    model = build_model(arch, pretrained=False, image_size=32)
    shape = trace_layers(model.net, torch.rand(1, 3, 32, 32)).shapes[model.cam_layer]
    assert min(shape[2:]) in (2, 4)


def test_a_checkpoint_whose_layer_has_no_map_is_rebuilt_with_one_that_has():
    model = build_model("resnet18", pretrained=False, image_size=32)
    old = {**describe_model(model), "cam_layer": "layer4"}
    assert describe_model(rebuild_model(old, model.net.state_dict()))["cam_layer"] == "layer3"
    with pytest.raises(ModelError, match="cam_layer 'layer4' gives no feature map in ResNet"):
        build_model("resnet18", pretrained=False, image_size=32, cam_layer="layer4")
