"""Choose where and how precisely to compute, and make that place fast.

A device that is asked for and not there is refused; "auto" takes the best that is.
"""

import ctypes
import os
import platform
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import InitProcessGroupKwargs

from medimg_baseline_cls.errors import ConfigError

Precision = Literal["fp32", "bf16"]

ANSWER_SECONDS = 60
"""How long the processes of a run wait for one another in a step of training."""

# fmt: off
_TOLD_FLAGS = (
    "avx", "avx2", "fma", "avx512f", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "sve", "bf16", "i8mm",
)
# fmt: on
# glibc's names for the three settings, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def tune_allocator() -> bool:
    """Keep freed memory in the process instead of returning it at every training step.

    glibc hands large freed blocks back to the system, and each step faults them in again:
    ending that doubled ResNet-18 training at 224 px on two CPU cores.

    Returns:
        Whether the allocator took the settings; False on systems without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)


def choose_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: "auto" (CUDA, else Apple's MPS, else CPU), "cpu", "cuda", "cuda:1" or "mps".
            Under torchrun "auto" and "cuda" mean the GPU of this process.

    Raises:
        ConfigError: The device does not exist here or the name is not a device.
    """
    kind, _, index = name.partition(":")
    if kind == "auto" and not index:
        return _best_device()
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if torch.backends.mps.is_available():
            return torch.device("mps")
        raise ConfigError("device=mps, but torch finds no Apple GPU here: use device=cpu or auto.")
    if kind == "cuda" and (index.isdecimal() or name == "cuda"):
        return _cuda_device(int(index) if index else _local_rank())
    raise ConfigError(f"device={name} is unknown: use auto, cpu, cuda, cuda:1 (a number) or mps.")


def choose_precision(name: str, device: torch.device, *, is_3d: bool = False) -> Precision:
    """Return the precision of a name on a device.

    Args:
        name: "fp32", "bf16", or "auto": bf16 where the hardware is faster with it (a CPU
            with AMX, AMD's with AVX512-BF16, an NVIDIA GPU from Ampere), else fp32.
        device: from `choose_device`.
        is_3d: whether the network has 3D convolutions, which "auto" computes in fp32 on a CPU: in
            bf16 oneDNN's gradient of a kernel with more slices than the volume is not finite.

    Raises:
        ConfigError: The name is neither.
    """
    if name == "auto":
        is_broken = is_3d and device.type == "cpu"
        return "bf16" if _has_fast_bf16(device) and not is_broken else "fp32"
    if name == "fp32" or name == "bf16":
        return name
    raise ConfigError(f"precision={name} is unknown: use auto, fp32 or bf16.")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a forward pass runs at this precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def make_accelerator(device: torch.device, precision: Precision) -> Accelerator:
    """Return the Accelerator for device, precision and processes.

    Accelerate keeps them once per process; a second run with other ones in the same
    process (a notebook, a test) gets a fresh state instead of an error.
    """
    mixed_precision = "bf16" if precision == "bf16" else "no"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not _state_fits(device, mixed_precision):
        # An existing process group cannot be created again, so it is kept.
        is_single = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        AcceleratorState._reset_state(reset_partial_state=is_single)  # pyright: ignore[reportPrivateUsage]
    answer = InitProcessGroupKwargs(timeout=timedelta(seconds=ANSWER_SECONDS))
    return Accelerator(
        cpu=device.type == "cpu", mixed_precision=mixed_precision, kwargs_handlers=[answer]
    )


def cpu_flags() -> tuple[str, ...]:
    """Return the processor's vector extensions that matter here, empty where unknown."""
    present = _ask_processor("flags", "Features")
    return tuple(flag for flag in _TOLD_FLAGS if flag in present)


def describe_device(device: torch.device, precision: Precision) -> str:
    """Return one line for people: which device, how many threads, which precision."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    threads = torch.get_num_threads()
    return f"{device.type.upper()} with {threads} thread{'s' * (threads > 1)}, {precision}"


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return _cuda_device(_local_rank())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _cuda_device(index: int) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise ConfigError(
            "device=cuda, but torch finds no NVIDIA GPU here (or is a build without CUDA): "
            "use device=auto or cpu, or install a CUDA build of torch."
        )
    if index >= count:
        raise ConfigError(
            f"GPU number {index} was asked for, but there are {count} (from 0): "
            f"use cuda:{count - 1} or less, and no more processes than GPUs."
        )
    return torch.device("cuda", index)


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    flags = cpu_flags()
    # AVX512-BF16 alone pays on AMD's processors only: docs/decisions/0005-precision.md.
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _is_amd())


def _is_amd() -> bool:
    return "AuthenticAMD" in _ask_processor("vendor_id")


def _ask_processor(*keys: str) -> list[str]:
    """Return the words that Linux lists under the first of these keys, none elsewhere."""
    table = Path("/proc/cpuinfo")
    if not table.is_file():
        return []
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.split(":", 1)[1].split() for line in lines if line.startswith(keys)), [])


def _state_fits(device: torch.device, mixed_precision: str) -> bool:
    if not AcceleratorState._shared_state:  # pyright: ignore[reportPrivateUsage]
        return True
    state = AcceleratorState()
    has_device = torch.device(str(PartialState().device)).type == device.type
    return has_device and state.mixed_precision == mixed_precision
