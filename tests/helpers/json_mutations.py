"""Damage to a COCO json, as a function of a generator: faults of exporters, editors and disks, and attacks."""

import copy
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
AGAIN = "\0again"  # key of the document: a list that is written twice


class Literal(str):
    """Text that is written to the file unchanged, whether it is json or not."""


class Pairs(list[tuple[str, Any]]):
    """Json object whose keys may occur twice."""


NUMBERS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "1" + "0" * 400, "7" * 5000, "-0", "-0.0", "1e-400",
    "0", "-1", "0.5", "1E2", str(2**63), str(-(2**63)), str(2**63 - 1), str(2**64), str(2**31), str(-(2**31) - 1),
]  # fmt: skip
STRINGS = [
    "", " ", "x" * 5000, "é" * 300, "日本語", "a\nb", "a\tb\x1b[31m", "\x00", "\u202egnp.a", "\U0001f600", "7",
    Literal('"\\ud800"'), Literal('"\\ud83d\\ude00"'), Literal('"\\u0000"'), "[/red]", "{}", "%s", "null",
]  # fmt: skip
FILE_NAMES = [
    "../outside/secret.png", "images/../../outside/secret.png", "/etc/hostname", "C:\\x.png", "C:x.png", "\\\\host\\x",
    "..\\outside\\secret.png", "a\x00b.png", "n" * 300, "d/" * 3000 + "x.png", ".", "./", "folder", "link_out.png",
    "folder_out/secret.png", "link_in.png", "loop.png", "dangling.png", "pipe", "~/x.png", "a\nb.png", "é.png",
    "folder/../a.png", "//x.png", "\ufeff.png", "CON", "no.png", "%2e%2e/x.png", "file:///etc/hostname",
]  # fmt: skip
TOKENS = ["{", "}", "[", "]", ",", ":", '"', "\\", "//", "/*x*/", "\x00", "NaN", "'", "\u2028", "1e5", "null", "-"]


def junk(rng: random.Random, depth: int = 0) -> Any:
    """Draw a value of any type."""
    simple: list[Any] = [None, True, False, 0, -3, 1.5, [], {}, Literal(rng.choice(NUMBERS)), rng.choice(STRINGS)]
    if depth < 3 and rng.random() < 0.3:
        values = [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
        return values if rng.random() < 0.5 else {rng.choice(["id", "size", "counts", "x"]): value for value in values}
    return rng.choice(simple)


def a_place(rng: random.Random, document: Json, *, of: tuple[type, ...] = (object,)) -> tuple[Any, Any] | None:
    """Draw a container and one of its keys with a value of such a type; None if none is found."""
    for _ in range(50):
        inside: Any = document
        while isinstance(inside, dict | list) and inside and not isinstance(inside, Pairs):
            key = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
            if key == AGAIN:
                break
            if isinstance(inside[key], of) and rng.random() < 0.4:
                return inside, key
            inside = inside[key]
    return None


def entries_of(document: Json, name: str) -> list[Any]:
    """Return the entries of a list, or of an object in its place; nothing if an earlier mutation left neither."""
    entries = document.get(name)
    if isinstance(entries, dict):
        return list(entries.values())
    return list(entries) if isinstance(entries, list) and not isinstance(entries, Pairs) else []


def an_entry(rng: random.Random, document: Json, name: str = "annotations") -> Json:
    """Draw an entry of a list; a blank one if the list is empty."""
    entries = document.get(name)
    good = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return rng.choice(good) if good else {}


def size_of(document: Json, annotation: Json) -> tuple[int, int]:
    for image in entries_of(document, "images"):
        if isinstance(image, dict) and image.get("id") == annotation.get("image_id"):
            height, width = image.get("height"), image.get("width")
            return (height, width) if type(height) is type(width) is int else (20, 30)
    return 20, 30


def delete_key(rng: random.Random, document: Json) -> None:
    if place := a_place(rng, document):
        del place[0][place[1]]


def swap_type(rng: random.Random, document: Json) -> None:
    if place := a_place(rng, document):
        place[0][place[1]] = junk(rng)


def wild_number(rng: random.Random, document: Json) -> None:
    if place := a_place(rng, document, of=(int, float)):
        place[0][place[1]] = Literal(rng.choice(NUMBERS))


def wild_string(rng: random.Random, document: Json) -> None:
    if place := a_place(rng, document, of=(str,)):
        place[0][place[1]] = rng.choice(STRINGS)


def deep_nest(rng: random.Random, document: Json) -> None:
    depth = rng.choice([10, 500, 900, 990, 1100, 20_000, 200_000])
    nest = Literal("[" * depth + "]" * depth if rng.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth)
    if rng.random() < 0.5:
        document["extra"] = nest
    elif place := a_place(rng, document):
        place[0][place[1]] = nest


def duplicate_key(rng: random.Random, document: Json) -> None:
    place = a_place(rng, document, of=(dict,))
    if place and isinstance(place[0][place[1]], dict) and place[0][place[1]]:
        inside = place[0][place[1]]
        key = rng.choice(list(inside))
        place[0][place[1]] = Pairs([*inside.items(), (key, junk(rng))])


def duplicate_root_key(rng: random.Random, document: Json) -> None:
    document[AGAIN] = rng.choice(["images", "annotations", "categories"]), rng.random() < 0.5


def extra_key(rng: random.Random, document: Json) -> None:
    rng.choice([document, an_entry(rng, document), an_entry(rng, document, "images")])[rng.choice(STRINGS[:11])] = junk(
        rng
    )


def repeat_entry(rng: random.Random, document: Json) -> None:
    name = rng.choice(["images", "annotations", "categories"])
    entries = document.get(name)
    if isinstance(entries, list) and entries:
        entries.insert(rng.randrange(len(entries) + 1), copy.deepcopy(rng.choice(entries)))


def reorder_entries(rng: random.Random, document: Json) -> None:
    for name in ("images", "annotations", "categories"):
        if isinstance(document.get(name), list):
            rng.shuffle(document[name])


def reorder_keys(rng: random.Random, document: Json) -> None:
    items = list(document.items())
    rng.shuffle(items)
    document.clear()
    document.update(items)


def empty_list(rng: random.Random, document: Json) -> None:
    document[rng.choice(["images", "annotations", "categories"])] = []


def string_ids(rng: random.Random, document: Json) -> None:
    convert = rng.choice([str, float, lambda value: f" {value}", lambda value: f"a{value}", lambda value: [value]])
    for name, key in (("images", "id"), ("categories", "id"), ("annotations", "image_id"), ("annotations", "id")):
        for entry in entries_of(document, name):
            if rng.random() < 0.6 and isinstance(entry, dict) and key in entry:
                entry[key] = convert(entry[key]) if type(entry[key]) is int else entry[key]


def wild_id(rng: random.Random, document: Json) -> None:
    name = rng.choice(["images", "categories", "annotations"])
    old, new = (
        an_entry(rng, document, name).get("id"),
        rng.choice([0, -1, -(2**63), 2**63 - 1, 2**63, 2**31, None, 1, "1"]),
    )
    for entry in entries_of(document, name):
        if isinstance(entry, dict) and entry.get("id") == old:
            entry["id"] = new
    key = {"images": "image_id", "categories": "category_id"}.get(name)
    for entry in entries_of(document, "annotations"):
        if isinstance(entry, dict) and key and entry.get(key) == old and rng.random() < 0.8:
            entry[key] = new
    if rng.random() < 0.3:
        an_entry(rng, document, name)["id"] = rng.choice([None, 0, "x"])


def unknown_reference(rng: random.Random, document: Json) -> None:
    an_entry(rng, document)[rng.choice(["image_id", "category_id"])] = junk(rng)


def random_code(rng: random.Random, document: Json) -> None:
    annotation = an_entry(rng, document)
    height, width = size_of(document, annotation)
    letters = rng.choice(["0123456789", "".join(map(chr, range(48, 112))), "".join(map(chr, range(32, 127))), "oé\x00"])
    code = "".join(rng.choice(letters) for _ in range(rng.choice([0, 1, 3, 8, 40, 400])))
    old = annotation.get("segmentation")
    if isinstance(old, dict) and isinstance(old.get("counts"), str) and old["counts"] and rng.random() < 0.5:
        place = rng.randrange(len(old["counts"]))
        code = old["counts"][:place] + code[:1] + old["counts"][place + 1 :]
    annotation["segmentation"] = {"size": [height, width], "counts": code}


def random_counts(rng: random.Random, document: Json) -> None:
    annotation = an_entry(rng, document)
    height, width = size_of(document, annotation)
    pixels = height * width
    cuts = sorted(rng.choices(range(pixels + 1), k=rng.choice([0, 1, 2, 5, 50])))
    counts: list[Any] = [b - a for a, b in zip([0, *cuts], [*cuts, pixels], strict=True)]
    for _ in range(rng.choice([0, 0, 1, 3])):
        value = rng.choice([0, -1, 2**31, 2**32, 2**63, 10**30, 1.0, True, None, "3", Literal("1e400")])
        counts.insert(rng.randrange(len(counts) + 1), value)
    size: list[Any] = [height, width]
    odd = [size[::-1], [float(side) for side in size], [True, True], [height], [2**40, 1], None]
    annotation["segmentation"] = {"size": rng.choice([size, size, size, *odd]), "counts": counts}


def rle_size(rng: random.Random, document: Json) -> None:
    annotation = an_entry(rng, document)
    if isinstance(annotation.get("segmentation"), dict):
        height, width = size_of(document, annotation)
        sizes = [[float(height), float(width)], [width, height], [height, width, 1], [0, 0], [-height, -width], "x"]
        annotation["segmentation"]["size"] = rng.choice(sizes)


def random_polygons(rng: random.Random, document: Json) -> None:
    annotation = an_entry(rng, document)
    height, width = size_of(document, annotation)
    reach = rng.choice([1, 1, 1.2, 5, 17, 1e6, 1e9, 1e18])
    polygons: list[Any] = []
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        count = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 100, 1000])
        polygon: list[Any] = [rng.uniform(-0.2, 1) * reach * max(height, width) for _ in range(count)]
        if polygon and rng.random() < 0.2:
            polygon[rng.randrange(count)] = junk(rng)
        polygons.append([round(v) if isinstance(v, float) else v for v in polygon] if rng.random() < 0.3 else polygon)
    shapes = [polygons, polygons, polygons, polygons and polygons[0], [polygons], {"polygons": polygons}]
    annotation["segmentation"] = rng.choice(shapes)


def other_form(rng: random.Random, document: Json) -> None:
    """Write the masks, boxes and areas of some annotations as other tools do."""
    for annotation in entries_of(document, "annotations"):
        if not isinstance(annotation, dict) or rng.random() < 0.3:
            continue
        old, box, area = (annotation.get(key) for key in ("segmentation", "bbox", "area"))
        forms: list[Any] = [old, [old], json.dumps(old, default=str)]
        if isinstance(old, list) and len(old) == 1 and isinstance(old[0], list):
            pairs = [list(pair) for pair in zip(old[0][::2], old[0][1::2], strict=False)]
            forms += [old[0], pairs, [pairs], [[str(value) for value in old[0]]], [{"x": x, "y": y} for x, y in pairs]]
            forms += [
                {"x": old[0][::2], "y": old[0][1::2]},
                {"all_points_x": old[0][::2], "all_points_y": old[0][1::2]},
            ]
        elif isinstance(old, dict) and isinstance(old.get("counts"), str):
            code = old["counts"].encode("utf-8", "replace")
            forms += [{**old, "counts": repr(code)}, {**old, "counts": list(code)}, {"counts": old["counts"]}]
            forms += [{**old, "size": json.dumps(old.get("size"), default=str)}, old["counts"]]
        annotation["segmentation"] = rng.choice(forms)
        if isinstance(box, list) and len(box) == 4:
            named = dict(zip("xywh", box, strict=True))
            annotation["bbox"] = rng.choice([box, json.dumps(box, default=str), [box], named, list(map(str, box))])
        annotation["area"] = rng.choice([area, [area], str(area)])


def keyed_lists(rng: random.Random, document: Json) -> None:
    """Write lists as objects keyed by id."""
    for name in ("images", "annotations", "categories"):
        entries = document.get(name)
        if isinstance(entries, list) and rng.random() < 0.6:
            without = rng.random() < 0.5
            keyed = {str(e.get("id")) if isinstance(e, dict) else str(n): e for n, e in enumerate(entries)}
            if without:
                keyed = {
                    key: {k: v for k, v in e.items() if k != "id"} if isinstance(e, dict) else e
                    for key, e in keyed.items()
                }
            document[name] = keyed


def no_image_sizes(rng: random.Random, document: Json) -> None:
    for image in entries_of(document, "images"):
        if isinstance(image, dict) and rng.random() < 0.7:
            image["height"], image["width"] = rng.choice([(0, 0), (None, None), ("20", "30"), (0, 30), ([], "x")])


def image_size(rng: random.Random, document: Json) -> None:
    image = an_entry(rng, document, "images")
    big = [1, 2, 1000, 46_340, 2**20, 2**30, 2**31 - 1, 2**31, 10**12, 0, -5, 480.0, 20.5]
    image["height"], image["width"] = rng.choice(big), rng.choice(big)


def image_size_with_polygon(rng: random.Random, document: Json) -> None:
    """State a huge size of an image, and add a polygon of that size."""
    image, annotation = an_entry(rng, document, "images"), an_entry(rng, document)
    height, width = rng.choice([(1, 2**30), (2**30, 1), (2, 2**28), (40_000, 50_000), (1, 10**8)])
    image["height"], image["width"], annotation["image_id"] = height, width, image.get("id")
    far = rng.choice([1, 0.5, 15])
    annotation["segmentation"] = [
        [0, 0, width * far, 0, width * far, height * far, 0, height * far] * rng.choice([1, 1, 200])
    ]


def file_name(rng: random.Random, document: Json) -> None:
    an_entry(rng, document, "images")["file_name"] = rng.choice(FILE_NAMES)


def category_names(rng: random.Random, document: Json) -> None:
    an_entry(rng, document, "categories")["name"] = rng.choice([*STRINGS, None, 5, "a\r\nb", "[/x]", [], "same"])


def wild_box(rng: random.Random, document: Json) -> None:
    values = [0, -1, 5, 1e308, 1e14, 1e16, -1e9, 10**30, 0.1, None, "3", True, Literal("NaN"), Literal("-0")]
    an_entry(rng, document)["bbox"] = [rng.choice(values) for _ in range(rng.choice([0, 3, 4, 4, 4, 4, 5]))]


def wild_area(rng: random.Random, document: Json) -> None:
    values = [0, -1, 1e-300, 1e14, 1e15, 1e308, 10**30, "12", True, None, [], Literal("NaN"), Literal("1e999")]
    an_entry(rng, document)["area"] = rng.choice(values)


def wild_crowd(rng: random.Random, document: Json) -> None:
    an_entry(rng, document)["iscrowd"] = rng.choice(
        [1, True, 1.0, 0.0, 2, -1, "1", None, [], {}, 10**30, Literal("NaN")]
    )


Mutation = Callable[[random.Random, Json], None]
OF_VALUES: list[Mutation] = [
    delete_key, swap_type, wild_number, wild_string, deep_nest, duplicate_key, duplicate_root_key, extra_key,
    repeat_entry, reorder_entries, reorder_keys, empty_list, string_ids, wild_id, unknown_reference, random_code,
    random_counts, rle_size, random_polygons, image_size, image_size_with_polygon, file_name, category_names, wild_box,
    wild_area, wild_crowd, other_form, keyed_lists, no_image_sizes,
]  # fmt: skip


def truncate(rng: random.Random, text: bytes) -> bytes:
    return text[: rng.choice([0, 1, len(text) - 1, rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)])]


def flip_bytes(rng: random.Random, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(rng.choice([1, 1, 2, 10])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert_bytes(rng: random.Random, text: bytes) -> bytes:
    place = rng.randrange(len(text) + 1)
    content = rng.choice([rng.randbytes(rng.choice([1, 4, 100])), rng.choice(TOKENS).encode()])
    return text[:place] + content + text[place:]


def delete_bytes(rng: random.Random, text: bytes) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + text[place + rng.choice([1, 1, 5, 500]) :]


def other_encoding(rng: random.Random, text: bytes) -> bytes:
    readable = text.decode("utf-8", "replace")
    code = rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037"])
    return readable.encode(code, "replace")


def invalid_utf8(rng: random.Random, text: bytes) -> bytes:
    quotes = [place for place, byte in enumerate(text) if byte == ord('"')]
    place = rng.choice(quotes) + 1 if quotes else 0
    return text[:place] + rng.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8", b"\x80", b"\xe9"]) + text[place:]


def surround(rng: random.Random, text: bytes) -> bytes:
    before, after = rng.choice(
        [(b"", b"x"), (b"", b"\x00"), (b"x=", b";"), (b"[", b"]"), (b"", text), (b"\n\n", b"\n")]
    )
    return before + text + after


def other_style(rng: random.Random, text: bytes) -> bytes:
    try:
        return json.dumps(json.loads(text), indent=rng.choice([1, "\t"]), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return text.replace(b",", b" ,\r\n ")


def no_text(rng: random.Random, text: bytes) -> bytes:
    return rng.choice([b"", b" \n", b"null", b"5", b'"x"', b"[]", b"{}", b"\xef\xbb\xbf", b"\x1f\x8b" + text[:50]])


def compressed(rng: random.Random, text: bytes) -> bytes:
    packed = gzip.compress(text, mtime=0)
    return rng.choice([packed, packed[: len(packed) // 2], packed + b"x", gzip.compress(packed, mtime=0)])


def trailing_commas(rng: random.Random, text: bytes) -> bytes:
    return text.replace(rng.choice([b"}", b"]"]), b" ,]", 1) if rng.random() < 0.3 else text.replace(b"]", b", ]")


OF_TEXT: list[Callable[[random.Random, bytes], bytes]] = [
    truncate, flip_bytes, insert_bytes, delete_bytes, other_encoding, invalid_utf8, surround, other_style, no_text,
    compressed, trailing_commas,
]  # fmt: skip


def dump(value: Any) -> str:
    """Write json, or text that resembles it."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{dump(inner)}" for key, inner in value) + "}"
    if isinstance(value, dict):
        again = value.get(AGAIN)
        pairs = [(key, inner) for key, inner in value.items() if key != AGAIN]
        if again:
            pairs.append((again[0], value.get(again[0]) if again[1] else []))
        return "{" + ",".join(f"{json.dumps(str(key))}:{dump(inner)}" for key, inner in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)
