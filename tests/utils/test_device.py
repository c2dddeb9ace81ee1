import platform
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils import device as device_room
from medimg_baseline_cls.utils.device import (
    Precision,
    autocast,
    choose_device,
    choose_precision,
    cpu_flags,
    describe_device,
    make_accelerator,
    tune_allocator,
)

CPU = torch.device("cpu")


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: int = 8) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def test_auto_prefers_the_gpu_and_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    pretend_gpus(monkeypatch, 1)
    assert choose_device("auto") == torch.device("cuda", 0)
    pretend_gpus(monkeypatch, 0)
    assert choose_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps") == choose_device("mps")


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="no more processes than GPUs"):
        choose_device("auto")


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "CPU"]
)
def test_unknown_device_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda"):
        choose_device(name)


def test_device_that_is_not_there_is_refused_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ConfigError, match="auto"):
            choose_device(name)
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match="cuda:1 or less"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", "avx2 avx512_bf16", "fp32"),
        ("AuthenticAMD", "avx2 avx512_bf16", "bf16"),
        ("AuthenticAMD", "avx2 avx512f", "fp32"),
        ("GenuineIntel", "avx512f amx_bf16", "bf16"),
        ("GenuineIntel", "avx2 avx512f", "fp32"),
        ("", "", "fp32"),
    ],
)
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, expected: str
) -> None:
    answers = {"vendor_id": vendor.split(), "flags": flags.split()}
    monkeypatch.setattr(device_room, "_ask_processor", lambda *keys: answers[keys[0]])
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU, is_3d=True) == "fp32"


def test_auto_precision_follows_the_gpu_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    pretend_gpus(monkeypatch, 1, capability=8)
    assert choose_precision("auto", cuda) == "bf16"
    assert choose_precision("auto", cuda, is_3d=True) == "bf16"
    pretend_gpus(monkeypatch, 1, capability=7)
    assert choose_precision("auto", cuda) == "fp32"
    assert choose_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize("name", ["", "fp16", "float32", "BF16"])
def test_unknown_precision_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use auto, fp32 or bf16"):
        choose_precision(name, CPU)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_computes_in_the_precision_asked_for(
    precision: Precision, dtype: torch.dtype
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(CPU, precision):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_second_accelerator_of_a_process_may_have_another_precision() -> None:
    for precision, name in (("fp32", "no"), ("bf16", "bf16"), ("bf16", "bf16"), ("fp32", "no")):
        accelerator = make_accelerator(CPU, precision)  # type: ignore[arg-type]
        assert accelerator.device == CPU
        assert accelerator.mixed_precision == name
        assert accelerator.num_processes == 1


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the list of flags is Linux'")
def test_flags_are_those_that_the_system_lists() -> None:
    words = set(Path("/proc/cpuinfo").read_text().split())
    assert set(cpu_flags()) <= words
    assert ("avx2" in cpu_flags()) == ("avx2" in words)


def test_allocator_is_tuned_exactly_where_glibc_is() -> None:
    assert tune_allocator() == (platform.libc_ver()[0] == "glibc")
    assert torch.ones(2000, 2000).sum().item() == 4e6


def test_allocator_is_left_alone_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not tune_allocator()


def test_description_names_threads_and_precision() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert describe_device(CPU, "bf16") == "CPU with 1 thread, bf16"
    finally:
        torch.set_num_threads(threads)
