"""Devices that networks compute on, and the precisions of their products."""

import re
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

from segtrain import distributed
from segtrain.errors import SegtrainError
from segtrain.values import Precision

T = TypeVar("T")


def copy_to_device(values: Sequence[object], device: torch.device) -> Tensor:
    """Copy (nested lists of) numbers to a device.

    The copy is asynchronous: ``torch.tensor(values, device=device)`` would make the host wait for the GPU.
    """
    return torch.tensor(values).to(device, non_blocking=True)


def resolve_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of several processes on a machine each takes a GPU of its own.

    Raises:
        SegtrainError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        raise SegtrainError(f"device={name}: not a device; use auto, cpu, cuda or cuda:N")
    if name == "cuda" and distributed.size() > 1:
        name = f"cuda:{distributed.local_rank()}"
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise SegtrainError(
            f"device={name}: not there, this machine has {torch.cuda.device_count()} CUDA devices; use device=auto"
        )
    return torch.device(name)


def to_device(part: T, device: torch.device | str) -> T:
    """Move a module to a device; return anything else, such as a classical segmenter, as it is."""
    return part.to(device) if isinstance(part, torch.nn.Module) else part


def resolve_precision(precision: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Resolve the precision of matrix products and convolutions.

    Args:
        precision: "fp32", "bf16" or "fp16"; "auto" for bf16 where the device computes it natively, since emulated it is
            slower than fp32, which is used elsewhere.
        device: device that computes.

    Raises:
        SegtrainError: the device does not compute in this precision.
    """
    if precision == "fp16" and device.type == "cpu":
        raise SegtrainError("precision=fp16 needs a CUDA device, and this one is the CPU; use precision=bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = (getattr(torch.cpu, f"_is_{feature}_supported", bool) for feature in ("avx512_bf16", "amx_tile"))
    return "bf16" if any(asks() for asks in native) else "fp32"
