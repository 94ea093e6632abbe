"""Arrays that the processes of a DataLoader share instead of copying."""

from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


class SharedArray:
    """A NumPy array of which all processes see the same pages.

    A forked process inherits it as it is. For a spawned one the data move, once, into shared memory to which any number
    of processes attach. An ordinary pickle or copy holds the data themselves.

    Args:
        array: array of any shape and of a type without objects; kept as it is, not copied, unless it is not contiguous.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        assert not array.dtype.hasobject
        self._array = np.ascontiguousarray(array)
        self._bytes: Tensor | None = None  # holds the data once they are in shared memory

    @property
    def array(self) -> npt.NDArray[Any]:
        """The data. Not to be kept: a view of before ``share`` would hold on to memory that is no longer shared."""
        return self._array

    def share(self) -> None:
        """Move the data into shared memory, if they are not there yet.

        Pages that nobody has written yet cost nothing before: an array that is shared first and filled then is never
        held twice.
        """
        if self._bytes is None:
            import torch  # here, so that what only looks at data starts without it

            shared = torch.empty(self._array.nbytes, dtype=torch.uint8)
            shared.share_memory_()  # type: ignore[no-untyped-call]
            array = _view(shared, self._array.dtype, self._array.shape)
            array[...] = self._array
            self._array, self._bytes = array, shared

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedArray, (self._array,)

    def _reduce_for_process(self) -> tuple[Any, ...]:
        self.share()
        return _attach, (self._bytes, self._array.dtype, self._array.shape)


def _attach(shared: "Tensor", dtype: np.dtype[Any], shape: tuple[int, ...]) -> SharedArray:
    attached = SharedArray(_view(shared, dtype, shape))
    attached._bytes = shared
    return attached


def _view(shared: "Tensor", dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.ndarray(shape, dtype, buffer=shared.numpy())


# What multiprocessing pickles with; torch has taught it to hand tensors over without a copy.
ForkingPickler.register(SharedArray, SharedArray._reduce_for_process)
