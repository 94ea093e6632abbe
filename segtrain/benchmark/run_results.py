"""Training runs of an evaluation as ``results.json`` holds them: settings, histories, and configurations in order."""

from collections.abc import Mapping, Sequence

from segtrain.metrics.scores import Record


class Run(Record, frozen=True):
    """Training run that a method of the evaluation comes from.

    Attributes:
        row: name of the method.
        settings: values, as short texts, of the settings in which the runs differ, by their dotted keys.
        folder: folder of the run.
        seed: seed of the training.
        minutes: duration of the training.
        steps: optimizer steps up to the weights that are evaluated.
        history: numbers of the training by name, such as ``validation/mask_ap``, as (step, value); empty where
            ``metrics.jsonl`` is not beside the checkpoint.
    """

    row: str
    settings: Mapping[str, str]
    folder: str
    seed: int
    minutes: float
    steps: int
    history: Mapping[str, Sequence[tuple[float, float]]]


class Configuration(Record, frozen=True):
    """Runs that differ by their seed alone, or a single one.

    Attributes:
        name: what the names of its methods have in common.
        rows: names of the methods.
        mean: mean over the runs of the metric by which configurations are ranked; None where it is undefined.
        deviation: sample standard deviation over the runs; None of a single one.
        ranks: best and worst rank that the data allow.
    """

    name: str
    rows: Sequence[str]
    mean: float | None
    deviation: float | None
    ranks: tuple[int, int]


class RunDifference(Record, frozen=True):
    """Paired difference of two configurations, each the mean over its runs.

    Attributes:
        difference: the first one's mean minus the second one's.
        low: lower end of its 95 % interval, from resampling the images.
        high: upper end.
        p: two-sided p-value, Holm-corrected for the number of pairs.
        least_p: smallest p-value that so many resamples allow.
        of_seeds: twice the standard error of the difference by the spread of the seeds; None without several seeds.
        told: True if the data can tell the two apart: p is below 0.05, and the difference above `of_seeds`.
    """

    difference: float
    low: float
    high: float
    p: float
    least_p: float
    of_seeds: float | None
    told: bool


class RunPair(Record, frozen=True):
    """Two configurations, and their class-agnostic differences by ``Metric.key``."""

    first: str
    second: str
    differences: Mapping[str, RunDifference]


class Runs(Record, frozen=True):
    """Training runs of an evaluation.

    Attributes:
        runs: the runs, in the order of the evaluation.
        metric: ``Metric.key`` by which configurations are ranked.
        configurations: configurations, best first.
        pairs: pairs of configurations, the better one first; none without resamples.
    """

    runs: Sequence[Run]
    metric: str
    configurations: Sequence[Configuration]
    pairs: Sequence[RunPair]
