"""The sentences of a report: its definitions and its notes."""

from collections.abc import Sequence

from segtrain.report.tables.cells import Results, is_oracle, number
from segtrain.report.tables.limits import limit_definitions
from segtrain.report.tables.standings import certainty_definitions

_TUNED = (
    "{}: their settings were searched on images of the training split, within the budget of the cost table; the "
    "validation images were not looked at. Their YAML files are in tuned/segmenter of the evaluation's folder."
)
_ORACLE = (
    "{}: of a fixed grid of settings and those of the other rows of the same kind, the best one for each image, chosen "
    "with its ground truth (F1 at IoU 0.50, then foreground IoU). An upper bound that no one can have, of each image's "
    "F1; the F1 of all images together may be higher in another row. No method, so they win nothing."
)
_KINDS = (
    (
        "By kind of object",
        "Sizes and contrasts are thirds of these data's own objects, so that each has enough of them; S, M and L have "
        "COCO's fixed bounds. An object is touching if a pixel of another one is next to one of its own, overlapping "
        "if they share one. AP of a kind ignores all other objects, and what is matched to them. An unmatched "
        "detection counts by its own area among sizes, as in COCO. Nothing tells its contrast or crowding, so there it "
        "counts as the kind's share of all objects, lest a rare kind have a low AP for being rare (normalised "
        "precision, Hoiem et al., 2012). Recall is the share of objects matched at IoU 0.50, and IoU the mean over the "
        "objects of their best overlap with a detection, both at the operating point. All categories count as one.",
    ),
    (
        "Contrast",
        "How far an object's grey values lie from those within 3 pixels around it that belong to no object: the "
        "largest distance of the two cumulative distributions (Kolmogorov and Smirnov). At 1 some threshold takes them "
        "apart without a mistake; at 0 no threshold is any use.",
    ),
)

_ERRORS = (
    (
        "Errors",
        "After TIDE (Bolya et al., 2020), at IoU 0.50. Location: the mask overlaps an object of its category, but by "
        "less. Category: it would match an object of another one. Duplicate: its object has a better-scored match. "
        "Background: no IoU above 0.10. Both: none of these. Miss: an object without a match, which no error of "
        "location or category is about. To put them right, such an error is made a match, or removed where its object "
        "has one; duplicates, background and both are removed; missed objects no longer count. All scores take part. "
        "Unlike here, the authors' program lets only the best-scored of an object's errors of both kinds become its "
        "match, and takes an IoU of exactly 0.50 for less.",
    ),
    (
        "Touching, merged, split",
        "Objects touch if one of them, grown by a pixel, meets the other. Merged: a detection covers more than half of "
        "the object and of another that touches one (after Matula et al., 2015). Split, the other way round: two or "
        "more detections lie in it by more than half, and not mostly in each other. Pixels that true objects share do "
        "not count.",
    ),
)


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
            "AP and AR use every detection, ranked by score. All other mask metrics need a decision instead: they use "
            f"the detections whose score reaches the row's threshold ({_thresholds(results)}).{_chosen(results)}",
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
            "2 TP / (2 TP + FP + FN), summed over the images for each category, then the mean over those that have "
            "objects. It needs no ranking. F1 over IoU thresholds repeats this at 0.50, 0.55, …, 0.95: how strictly "
            "outlines may be judged before the matches are lost.",
        ),
        (
            "PQ, SQ, RQ",
            "Panoptic quality (Kirillov et al., 2019), with no pixel in two objects: detections take theirs by score, "
            "the highest first, and one that loses half of its area is dropped; of true objects that overlap the "
            "smallest is on top. A true and a found object of one category match if their IoU exceeds 0.50. SQ is the "
            "mean IoU of the matches, RQ is TP / (TP + FP/2 + FN/2), and PQ is SQ × RQ, for each category, then the "
            "mean over those that have objects. An unmatched detection mostly on a crowd of its category is not false.",
        ),
        (
            "Boundary IoU",
            "IoU of outlines (Cheng et al., 2021), since the inside of a large object hides errors at its edge: only "
            "pixels of an object within 2 % of the image diagonal of its outline count. All predicted against all true "
            "outlines, summed over the images before dividing, then the mean over the categories that have objects. "
            "Each object has an outline of its own, also where two touch. Crowd regions are left out.",
        ),
        (
            "Class-agnostic, class-aware",
            "Class-agnostic: all categories become one before scoring, so every method can be compared; overlapping "
            "detections of different categories are all kept, none suppresses another. Class-aware: the category "
            "must be right too; methods that know no categories have no such row.",
        ),
    ]
    entries += certainty_definitions(results)
    if any(method.get("errors") for method in methods.values()):
        entries += _ERRORS
    if results.get("strata"):
        entries += _KINDS
    if ranked := sorted({str(method["score"]) for method in methods.values() if method.get("score")}):
        entries.append(
            (
                "Scores of classical methods",
                f"A threshold has no confidence, so regions are ranked by a stand-in ({', '.join(ranked)}). “contrast” "
                "is the colour distance between a region and the ring around it. It only ranks; it is not a "
                "probability. Judge these rows by F1 and IoU as well as by AP.",
            )
        )
    textbook, robust = _families(results)
    parts = []
    if textbook:
        parts.append(
            f"Textbook rows ({', '.join(textbook)}) are as tutorials write them: every region that passes is an "
            "object, and objects that touch stay one."
        )
    if robust:
        parts.append(
            f"Robust rows ({', '.join(robust)}) decide by the image border which side is background, and take touching "
            "objects apart."
        )
    if parts:
        entries.append(("Textbook and robust rows", " ".join(parts)))
    for title, text, names in (
        ("Tuned rows", _TUNED, [name for name in methods if methods[name].get("family") == "tuned"]),
        ("Oracle rows", _ORACLE, [name for name in methods if is_oracle(methods[name])]),
    ):
        if names:
            entries.append((title, text.format(", ".join(names))))
    timing = "Median time to segment one image, after warm-up; reading images and scoring are timed apart."
    entries.append(("ms/image", timing))
    entries += limit_definitions(results)
    entries.append(("–", "Not defined: nothing to measure, or the method does not provide it (boxes without masks)."))
    return entries


def notes(results: Results) -> list[str]:
    """What the reader should know before trusting the numbers."""
    data = results["data"]
    found = [_sentence(str(warning)) for warning in results.get("warnings") or []]
    if dropped := data.get("dropped"):
        what = "annotation could not be used and was" if dropped == 1 else "annotations could not be used and were"
        found.append(f"{dropped} {what} dropped.")
    if unreadable := data.get("unreadable_images"):
        found.append(f"{unreadable} image{'s' if unreadable > 1 else ''} could not be read; their objects are dropped.")
    return found


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _families(results: Results) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the textbook rows and of the robust ones; other rows are neither."""
    methods = results["methods"]
    textbook, robust = ([n for n in methods if methods[n].get("family") == family] for family in ("textbook", "robust"))
    return textbook, robust


def _chosen(results: Results) -> str:
    """Where Mask R-CNN's thresholds come from, if that is known."""
    chosen = [
        f" The checkpoint's own of {name}, {checkpoint['score_threshold']:g}, had the highest F1 on "
        f"{checkpoint['threshold_images']} images of the training split."
        for name, checkpoint in (results.get("checkpoints") or {}).items()
        if checkpoint and checkpoint.get("threshold_images")
    ]
    return "".join(chosen)


def _thresholds(results: Results) -> str:
    """Rows by threshold: ``0.5 for mask_rcnn; 0 for kmeans, …``."""
    rows: dict[float, list[str]] = {}
    for name, method in results["methods"].items():
        rows.setdefault(number(method.get("score_threshold")) or 0.0, []).append(name)
    return "; ".join(f"{threshold:g} for {', '.join(names)}" for threshold, names in sorted(rows.items(), reverse=True))
