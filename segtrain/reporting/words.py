"""The sentences of a report: its verdict, its definitions and its notes."""

from collections.abc import Sequence

from segtrain.reporting.tables import Results, contenders, number


def verdict(results: Results) -> str:
    """Which method wins on mask AP and on mIoU, and by how much; one sentence of plain text."""
    key, title = ("mask_ap", "mask AP") if _standing(results, "mask_ap") else ("box_ap", "box AP")
    parts = [part for part in (_lead(results, key, title), _lead(results, "miou", "mIoU")) if part is not None]
    if not parts:
        return "No method has a defined number on these data."
    if len(parts) == 2 and parts[0][0] == parts[1][0]:
        winner, first, second = parts[0][0], parts[0][1], parts[1][1]
        verb = first.split()[0] + " "
        return f"{winner} {first} and {second.removeprefix(verb) if second.startswith(verb) else second}."
    return "; ".join(f"{winner} {claim}" for winner, claim in parts) + "."


def _standing(results: Results, key: str) -> list[tuple[float, str]]:
    """Values of a class-agnostic metric, best first; equal ones keep the order of the tables."""
    values = [
        (value, name)
        for name in contenders(results)
        if (value := number((results["methods"][name].get("class_agnostic") or {}).get(key))) is not None
    ]
    return sorted(values, key=lambda pair: -pair[0])


def _lead(results: Results, key: str, title: str) -> tuple[str, str] | None:
    """The winner of a metric, and what is to be said of it."""
    standing = _standing(results, key)
    if not standing:
        return None
    value, winner = standing[0]
    if len(standing) == 1:
        return winner, f"reaches {title} {value:.3f}"
    second, runner_up = standing[1]
    # The margin of what the table shows, so that a reader who subtracts gets the same.
    margin = round(value, 3) - round(second, 3)
    if margin < 0.0005:
        return winner, f"ties with {runner_up} on {title} ({value:.3f})"
    return winner, f"wins on {title} ({value:.3f}, {margin:.3f} above {runner_up})"


def definitions(results: Results) -> list[tuple[str, str]]:
    """Terms and what they mean in this report, in plain words."""
    max_dets = results["data"].get("max_dets")
    cut = f"the {max_dets} best-scored detections" if max_dets else "the best-scored detections"
    methods = results["methods"]
    entries = [
        ("IoU", "Intersection over union: pixels shared by two masks, over pixels in either. 1 is a perfect fit."),
        (
            "Mask AP, box AP",
            "COCO's average precision: the area under the precision-recall curve, averaged over the IoU thresholds "
            "0.50, 0.55, …, 0.95, and over the categories. AP50 and AP75 use one threshold. S, M, L restrict it to "
            "objects below 32², up to 96², and above 96² pixels, by the annotation's own area. "
            f"AR is the average recall. Per image and category, {cut} count.",
        ),
        (
            "Operating point",
            "AP and AR use every detection, ranked by score. mIoU, foreground IoU and F1 need a decision instead: "
            f"they use the detections whose score reaches the row's threshold ({_thresholds(results)}).",
        ),
        (
            "mIoU, foreground IoU",
            "IoU of all predicted against all true pixels, summed over the images before dividing. mIoU is the mean "
            "over the background and each category that occurs, or background and foreground in the class-agnostic "
            "track. Foreground IoU takes all objects together. Crowd regions are left out.",
        ),
        (
            "F1",
            "Detections at the operating point, matched one to one with true objects at IoU 0.50 or more: "
            "2 TP / (2 TP + FP + FN), summed over the images. It needs no ranking.",
        ),
        (
            "Class-agnostic, class-aware",
            "Class-agnostic: all categories become one before scoring, so every method can be compared; overlapping "
            "detections of different categories are all kept, none suppresses another. Class-aware: the category "
            "must be right too; methods that know no categories have no such row.",
        ),
    ]
    if ranked := sorted({str(method["score"]) for method in methods.values() if method.get("score")}):
        entries.append(
            (
                "Scores of classical methods",
                f"A threshold has no confidence, so regions are ranked by a stand-in ({', '.join(ranked)}). “contrast” "
                "is the colour distance between a region and the ring around it. It only ranks; it is not a "
                "probability. Judge these rows by F1 and IoU as well as by AP.",
            )
        )
    literal, sound = _families(results)
    parts = []
    if literal:
        parts.append(
            f"Literal rows ({', '.join(literal)}) follow the textbook line as it stands: every region that passes is "
            "an object, and objects that touch stay one."
        )
    if sound:
        parts.append(
            f"Sound rows ({', '.join(sound)}) decide by the image border which side is background, and take touching "
            "objects apart."
        )
    if parts:
        entries.append(("Literal and sound rows", " ".join(parts)))
    timing = "Median time to segment one image, after warm-up; reading images and scoring are timed apart."
    entries.append(("ms/image", timing))
    entries.append(("–", "Not defined: nothing to measure, or the method does not provide it (boxes without masks)."))
    return entries


def notes(results: Results) -> list[str]:
    """What the reader should know before trusting the numbers."""
    data = results["data"]
    found = [str(warning) for warning in results.get("warnings") or []]
    if dropped := data.get("dropped"):
        what = "annotation could not be used and was" if dropped == 1 else "annotations could not be used and were"
        found.append(f"{dropped} {what} dropped.")
    if unreadable := data.get("unreadable_images"):
        found.append(f"{unreadable} image{'s' if unreadable > 1 else ''} could not be read; their objects are dropped.")
    for name, method in results["methods"].items():
        track = method.get("class_agnostic") or {}
        if (track.get("coco") or {}).get("segm") is None:
            found.append(f"{name} has boxes only: its mask numbers are undefined.")
    return found


def _families(results: Results) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the literal rows and of the sound ones; other rows are neither."""
    methods = results["methods"]
    literal, sound = ([n for n in methods if methods[n].get("family") == family] for family in ("literal", "sound"))
    return literal, sound


def _thresholds(results: Results) -> str:
    """Rows by threshold: ``0.5 for mask_rcnn; 0 for kmeans, …``."""
    rows: dict[float, list[str]] = {}
    for name, method in results["methods"].items():
        rows.setdefault(number(method.get("score_threshold")) or 0.0, []).append(name)
    return "; ".join(f"{threshold:g} for {', '.join(names)}" for threshold, names in sorted(rows.items(), reverse=True))
