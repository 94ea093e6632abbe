"""Exception for mistakes in input, settings or environment, which a user can mend."""


class SegtrainError(Exception):
    """Error in input, described in one line: what is wrong (file, id, key) and how to mend it.

    The scripts print its text behind ``error: `` and exit with code 1; every other exception is a bug.

    >>> raise SegtrainError("cells.json: no such file; give the path of a COCO json")
    Traceback (most recent call last):
    ...
    segtrain.errors.SegtrainError: cells.json: no such file; give the path of a COCO json
    """
