"""Exception for mistakes in input, settings or environment, which a user can correct."""


class SegtrainError(Exception):
    """Error in input, settings or environment, with a message of one line: the problem (file, id, key) and the remedy.

    The scripts print its text behind ``error: `` and exit with code 1; every other exception is a bug.

    >>> raise SegtrainError("cells.json: no such file; give the path of a COCO json")
    Traceback (most recent call last):
    ...
    segtrain.errors.SegtrainError: cells.json: no such file; give the path of a COCO json
    """
