"""Messages for errors of input or environment: one line with the remedy, in place of a traceback."""

import errno

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from segtrain.errors import SegtrainError

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another output_dir=; what was saved before is whole",
    errno.EDQUOT: "free some of your share of the disk, or choose another output_dir=; what was saved before is whole",
    errno.EROFS: "choose a folder that can be written, output_dir=",
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096)",
    errno.EPIPE: "nobody reads the output any more; files are whole, and the log has what would have been printed",
}
_MEMORY = (
    "out of memory: set trainer.batch_size lower (with trainer.accumulate_steps higher), trainer.workers lower or "
    "data.cache=none; what was saved before is whole"
)


def describe_failure(error: BaseException) -> str | None:
    """Describe an error of the user's input or machine; None for a bug.

    Args:
        error: exception that was raised.

    >>> describe_failure(MemoryError()).partition(":")[0]
    'out of memory'
    >>> describe_failure(OSError(28, "No space left on device", "run/last.pt")).partition(";")[0]
    'run/last.pt: No space left on device'
    """
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return _MEMORY
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        named = "" if error.filename is None else f"{error.filename}: "
        return f"{named}{error.strerror}; {_REMEDIES[error.errno]}"
    if isinstance(error, SegtrainError | HydraException | OmegaConfBaseException | OSError):
        return str(error)
    return None


def _is_torch_out_of_memory(error: BaseException) -> bool:
    """Recognise PyTorch's errors: a class of its own on CUDA, a message on the CPU."""
    text = str(error)
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text or "not enough memory" in text
    )
