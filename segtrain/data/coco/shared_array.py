"""Arrays that the processes of a DataLoader share instead of copying."""

from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


class SharedArray:
    """NumPy array whose memory pages are shared between processes.

    A forked process inherits the array. For a spawned one the data move, once, into shared memory to which any number
    of processes attach. An ordinary pickle or copy holds the data.

    Args:
        array: array of any shape and of a type without objects; not copied if it is contiguous.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        assert not array.dtype.hasobject
        self._array = np.ascontiguousarray(array)
        self._bytes: Tensor | None = None  # holds the data once they are in shared memory

    @property
    def array(self) -> npt.NDArray[Any]:
        """Data as an array. A view that is taken before ``share`` refers to memory that is not shared."""
        return self._array

    def share(self) -> None:
        """Move the data into shared memory, if they are not there yet.

        To hold the data only once, share an array before it is filled: pages are allocated when they are first written.
        """
        if self._bytes is None:
            import torch  # here, so that checks of data start without it

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


# Multiprocessing pickles with it; torch has registered a reduction of tensors without a copy.
ForkingPickler.register(SharedArray, SharedArray._reduce_for_process)
