import pytest
import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import ModelError
from medimg_baseline_cls.interpret.hooks import capture_layer, find_layer


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.drop(self.act(self.norm(self.stem(pixels))).mean(dim=(2, 3))))


def make_net_in_a_mixed_state() -> SmallNet:
    torch.manual_seed(0)
    net = SmallNet().train()
    net.norm.eval()  # a frozen BatchNorm inside a network in train mode
    net.stem.weight.requires_grad_(False)
    net.head.weight.grad = torch.ones_like(net.head.weight)
    return net


def state_of(net: nn.Module) -> list[object]:
    state: list[object] = [(name, part.training) for name, part in net.named_modules()]
    state += [(name, value.requires_grad) for name, value in net.named_parameters()]
    state += [None if p.grad is None else p.grad.tolist() for p in net.parameters()]
    state += [value.tolist() for value in net.state_dict().values()]
    state += [len(part._forward_hooks) + len(part._backward_hooks) for part in net.modules()]
    return state


def test_network_is_given_back_as_it_was() -> None:
    net = make_net_in_a_mixed_state()
    before = state_of(net)
    with capture_layer(net, "norm") as captured:
        assert not net.training
        assert not any(parameter.requires_grad for parameter in net.parameters())
        (slope,) = torch.autograd.grad(net(torch.rand(2, 1, 8, 8)).sum(), captured.output)
        assert slope.shape == (2, 4, 6, 6)
    assert state_of(net) == before


def test_network_is_given_back_as_it_was_after_an_error_in_the_block() -> None:
    net = make_net_in_a_mixed_state()
    before = state_of(net)
    with pytest.raises(KeyboardInterrupt), capture_layer(net, "norm"):
        net(torch.rand(1, 1, 8, 8))
        raise KeyboardInterrupt
    assert state_of(net) == before


def test_network_is_given_back_as_it_was_after_an_error_in_its_forward_pass() -> None:
    net = make_net_in_a_mixed_state()
    before = state_of(net)
    with pytest.raises(RuntimeError), capture_layer(net, "norm"):
        net(torch.rand(1, 7, 8, 8))
    assert state_of(net) == before


def test_network_whose_eval_fails_is_given_back_as_it_was() -> None:
    class Stubborn(SmallNet):
        def train(self, mode: bool = True) -> "Stubborn":
            super().train(mode)
            if not mode:
                raise RuntimeError("I never sleep")
            return self

    net = Stubborn()
    before = state_of(net)
    with pytest.raises(RuntimeError, match="never sleep"), capture_layer(net, "norm"):
        pass
    assert state_of(net) == before


def test_hooks_of_others_are_left_in_place() -> None:
    net = make_net_in_a_mixed_state()
    calls: list[str] = []
    net.norm.register_forward_hook(lambda *io: calls.append("called"))
    with capture_layer(net, "norm"):
        net(torch.rand(1, 1, 8, 8))
    net(torch.rand(1, 1, 8, 8))
    assert calls == ["called", "called"]


def test_logits_are_those_of_an_ordinary_forward_pass() -> None:
    net, pixels = make_net_in_a_mixed_state(), torch.rand(2, 1, 8, 8)
    with capture_layer(net, "stem"):
        captured_logits = net(pixels)
    assert torch.equal(captured_logits, net.eval()(pixels))


def test_captured_output_is_that_of_the_last_pass_and_untouched_by_later_layers() -> None:
    net = make_net_in_a_mixed_state().eval()
    first, second = torch.rand(2, 2, 1, 8, 8)
    with capture_layer(net, "norm") as captured:
        net(first)
        net(second)
    assert torch.equal(captured.output, net.norm(net.stem(second)))
    assert bool((captured.output < 0).any()), "the ReLU in place must not reach what was kept"


def test_output_before_a_forward_pass_is_an_error() -> None:
    with capture_layer(SmallNet(), "norm") as captured, pytest.raises(ModelError, match="not used"):
        _ = captured.output


def test_layer_that_returns_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(4, 4)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.layer(pixels)[0]

    net = Pair()
    with (
        capture_layer(net, "layer"),
        pytest.raises(ModelError, match="returns a tuple, not a tensor"),
    ):
        net(torch.rand(2, 1, 4))


@pytest.mark.parametrize("name", ["", "nrm", "norm.1", "Norm", "stem.weight"])
def test_unknown_name_lists_candidates(name: str) -> None:
    with pytest.raises(ModelError, match=r"try one of .*norm"):
        find_layer(SmallNet(), name)


def test_known_name_is_found_at_any_depth() -> None:
    net = nn.Sequential(SmallNet(), nn.Sequential(nn.ReLU()))
    assert find_layer(net, "1.0") is net[1][0]
    assert find_layer(net, "0.norm") is net[0].norm
