"""Files of tensors by name, read without running any code of them."""

import re
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from segtrain.errors import SegtrainError

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # torch prints in bold


def read_state(path: Path) -> dict[str, object]:
    """Read a dictionary that ``torch.save`` wrote, without running any code of it.

    Raises:
        SegtrainError: there is no such file, or it is not a dictionary of tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: nothing that a user can change
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SegtrainError(f"{path}: no such file; give the path of a checkpoint or weights file") from None
    except Exception as error:  # a damaged pickle fails in whatever way it stumbles
        raise SegtrainError(
            f"{path}: not a checkpoint or weights file that can be read ({summarise_error(error)}); give another file, "
            "or write it anew with torch.save(model.state_dict(), PATH)"
        ) from None
    if not isinstance(content, Mapping):
        raise SegtrainError(f"{path}: holds a {type(content).__name__}, not weights by name; save a state_dict")
    return dict(content)


def summarise_error(error: Exception) -> str:
    """Return the first sentence of an error, or its type; of code in a pickle, the name that it would have called."""
    text = _ESCAPES.sub("", str(error))
    if foreign := re.search(r"GLOBAL (\S+)", text):
        return f"it holds more than tensors and plain values: {foreign[1]}"
    sentence = re.split(r"\.\s|\n", text.strip(), maxsplit=1)[0] if not isinstance(error, KeyError) else ""
    return textwrap.shorten(sentence, 100, placeholder=" ...") or type(error).__name__
