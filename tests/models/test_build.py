import pytest
import torch

from medimg_baseline_cls.models.build import build_model

ARCHS = {
    "resnet18": (64, "layer4"),
    "densenet121": (64, "features.norm5"),
    "efficientnet_b0": (64, "bn2"),
    "convnext_atto": (64, "stages.3"),
    "monai:DenseNet121": (64, "class_layers.relu"),
    "vit_tiny_patch16_224": (64, "blocks.11.norm1"),
}


@pytest.fixture(scope="module", params=ARCHS)
def model(request):
    return build_model(request.param, num_classes=3, pretrained=False, image_size=64).eval()


@torch.no_grad()
def test_logits_are_the_head_of_the_features(model):
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits = model(pixels)
    assert logits.shape == (2, 3)
    assert torch.equal(model.head(model.features(pixels)), logits)


def test_every_family_has_its_cam_layer(model):
    assert model.cam_layer == ARCHS[model.arch][1]
