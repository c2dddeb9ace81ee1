import pytest
import torch

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.ema import WeightAverage


def move_weights(model, seed):
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draw))
            else:
                tensor += 1


def test_the_average_is_the_recursion_of_its_definition(toy):
    model = toy.build_toy()
    average = WeightAverage(model.net, decay=0.9, with_buffers=True)
    expected = {k: v.double().clone() for k, v in model.net.state_dict().items()}
    for step in range(120):
        move_weights(model, step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in model.net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    for name, tensor in average.state().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert average.state()["norm.num_batches_tracked"].item() == 120


def test_the_block_sees_the_average_and_learning_goes_on_as_before(toy):
    model = toy.build_toy()
    average = WeightAverage(model.net, decay=0.99, with_buffers=True)
    move_weights(model, 1)
    average.update(0)
    learning = {k: v.clone() for k, v in model.net.state_dict().items()}
    with pytest.raises(KeyError), average.applied():
        inside = {k: v.clone() for k, v in model.net.state_dict().items()}
        raise KeyError
    assert all(torch.equal(inside[k], v) for k, v in average.state().items())
    assert not torch.equal(inside["fc.weight"], learning["fc.weight"])
    assert all(torch.equal(v, learning[k]) for k, v in model.net.state_dict().items())


def test_still_weights_have_themselves_as_average(toy):
    model = toy.build_toy()
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    average = WeightAverage(model.net, decay=0.999, with_buffers=True)
    for step in range(20):
        average.update(step)
    assert all(torch.equal(v, before[k]) for k, v in average.state().items())


def test_frozen_parameters_and_buffers_are_left_out(toy):
    model = toy.build_toy()
    model.net.conv1.requires_grad_(False)
    names = WeightAverage(model.net, decay=0.9, with_buffers=False).state().keys()
    assert set(names) == {"norm.weight", "norm.bias", "conv2.weight", "conv2.bias"} | {
        "fc.weight",
        "fc.bias",
    }


def test_another_stage_s_average_is_refused(toy):
    average = WeightAverage(toy.build_toy().net, decay=0.9, with_buffers=False)
    with pytest.raises(TrainingError, match="are not those that this stage"):
        average.load({"fc.weight": torch.zeros(2, 8)})
