"""A row of the benchmark: what a method found, its numbers, and what it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from segtrain.evaluation import Findings, Track, TrackName
from segtrain.segmenters.mask_rcnn.preprocess import InputSize


@dataclass(frozen=True)
class Row:
    """One method of the benchmark.

    Attributes:
        findings: what it found.
        description: one sentence.
        score: what a classical method's scores mean; None where they are learned.
        family: "literal", "sound" or "tuned", of classical methods that say so.
        costs: what it took beside its time on the images; see ``results.NO_COSTS``.
        oracle: whether it was shown the truth, and so is an upper bound and no method.
        input_size: what its network resizes images to, if it is one.
        tracks: its numbers; none before it is scored.
        scoring_seconds: what computing them took.
    """

    findings: Findings
    description: str = ""
    score: str | None = None
    family: str | None = None
    costs: Mapping[str, float | None] = field(default_factory=dict)
    oracle: bool = False
    input_size: InputSize | None = None
    tracks: Mapping[TrackName, Track | None] = field(default_factory=dict)
    scoring_seconds: float = 0.0
