"""Devices and precisions."""

import pytest
import torch

from segtrain.device import resolve_device, resolve_precision, to_device
from segtrain.errors import SegtrainError

CPU = torch.device("cpu")


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SegtrainError, match="device=cuda:2: not there, this machine has 2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "cuda:0:1", "cuda:", "cpu:0", "CPU", "cuda:²"])
def test_what_is_no_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(SegtrainError, match=f"device={name}: not a device; use auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SegtrainError, match="device=cuda: not there"):
        resolve_device("cuda")


def test_only_modules_move() -> None:
    assert to_device("a classical segmenter", torch.device("meta")) == "a classical segmenter"
    assert to_device(torch.nn.Linear(2, 2), torch.device("meta")).weight.is_meta


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(SegtrainError, match=r"precision=fp16 needs a CUDA device.* use precision=bf16 or fp32"):
        resolve_precision("fp16", CPU)
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert resolve_precision("auto", CPU) == ("bf16" if native else "fp32")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")
