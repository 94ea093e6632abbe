"""Loading of an index checked to the level of ``data.check``."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from segtrain.data.check.annotation_checks import Verification
from segtrain.data.check.cache import remembered, signature
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import KINDS, Finding, Findings
from segtrain.data.coco.reader import read_index
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)
CheckMode = Literal["strict", "warn", "off"]
_STATES = ("usable", "repaired", "plain")  # what a row's mask decides
_NAMED = 3  # kinds of errors in one line
_MANY = 100_000  # annotations that take seconds to look at


class _Verdict(msgspec.Struct):
    """What is known of a file's annotations: for each row of the table, in its order, eight to a byte."""

    usable: bytes
    repaired: bytes
    plain: bytes
    findings: list[Finding]


def load_index(path: Path, check: CheckMode = "strict") -> CocoIndex:
    """Read a COCO json file and check its annotations.

    What can be repaired is repaired, and what cannot be used is left out; both are counted.

    Args:
        path: the file.
        check: "strict": what cannot be used is an error; "warn": it is left out; "off": nobody looks at the masks.

    Raises:
        SegtrainError: the file cannot be used at all; or something in it cannot, and the check is strict.
    """
    asked = signature(path)
    index = read_index(path)
    if check != "off":
        verdict = remembered(asked, _Verdict, lambda: _verify(index))
        rows = index.annotations.rows.copy()
        for name in _STATES:
            packed = np.frombuffer(getattr(verdict, name), dtype=np.uint8)
            rows[name] = np.unpackbits(packed, count=len(rows)).astype(np.bool_)
        findings = Findings()
        for part in (index.findings, verdict.findings):
            findings.merge(part)
        index = replace(index, annotations=index.annotations.with_rows(rows), findings=findings)
    if check == "strict":
        refuse_errors(index.findings, str(path))
    return index


def refuse_errors(findings: Findings, culprit: str) -> None:
    """Stop if anything found is an error.

    Args:
        findings: of a data set.
        culprit: the file or folder they are about.

    Raises:
        SegtrainError: names the first example of the first few kinds.
    """
    if errors := findings.of("error"):
        named = "; ".join(_in_words(finding) for finding in errors[:_NAMED])
        more = f"; and {len(errors) - _NAMED} kinds of errors more" if len(errors) > _NAMED else ""
        files = any(finding.kind.startswith("image-") for finding in errors)
        without = "data.check=warn or data.on_bad_image=skip" if files else "data.check=warn"
        raise SegtrainError(
            f"{culprit}: {named}{more}. {without} goes on without what cannot be used; "
            "python -m segtrain.data.check ANNOTATIONS IMAGES lists all of it"
        )


def _in_words(finding: Finding) -> str:
    of = f" (1 of {finding.count}: {KINDS[finding.kind].title})" if finding.count > 1 else ""
    return f"{finding.examples[0]}{of}; {KINDS[finding.kind].action.partition(';')[0]}"


def _verify(index: CocoIndex) -> _Verdict:
    if len(index.annotations.rows) > _MANY:
        logger.info("%s: looking at every mask; the verdict is kept, so this happens once", index.path)
    verification = Verification(index.images, index.annotations)
    states = {name: np.packbits(verification.rows[name]).tobytes() for name in _STATES}
    return _Verdict(**states, findings=list(verification.findings))
