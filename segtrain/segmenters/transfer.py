"""Numbers that the host knows, sent to the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def send(values: Sequence[object], device: torch.device) -> Tensor:
    """A tensor of (nested lists of) numbers on a device.

    Without waiting for it: ``torch.tensor(values, device=device)`` lets the host wait until a GPU has done its work.
    """
    return torch.tensor(values).to(device, non_blocking=True)
