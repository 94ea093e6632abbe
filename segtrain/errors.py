"""The one exception that is the user's business."""


class SegtrainError(Exception):
    """Bad input, said in one line: what is wrong (file, id, key) and what to do about it.

    The scripts print its text behind ``error: `` and exit with code 1; every other exception is a bug.

    >>> raise SegtrainError("cells.json: no such file; give the path of a COCO json")
    Traceback (most recent call last):
    ...
    segtrain.errors.SegtrainError: cells.json: no such file; give the path of a COCO json
    """
