"""Result records that are kept by column."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.errors import SegtrainError
from segtrain.mask_records import MaskRecords, column, reaching, select
from segtrain.masks import encode_labels
from segtrain.records import Category, Instances, to_predictions


@st.composite
def records(draw: st.DrawFn) -> list[Any]:
    rles = encode_labels(np.array([[1, 1, 0], [2, 0, 3]]))
    one = st.builds(
        lambda image_id, category_id, rle, score: {
            "image_id": image_id, "category_id": category_id, "segmentation": rle, "score": score,
        },
        st.integers(0, 2**53), st.sampled_from([-1, 1, 9]), st.sampled_from(rles), st.floats(0, 1, width=32),
    )  # fmt: skip
    return draw(st.lists(one, max_size=6))


@given(records(), st.data())
def test_records_by_column_are_the_records(given_records: list[Any], data: st.DataObject) -> None:
    kept = MaskRecords.of(given_records)
    assert list(kept) == given_records
    assert json.dumps(list(kept)) == json.dumps(given_records)
    assert [kept[n] for n in range(len(kept))] == given_records
    assert list(kept[1:4]) == given_records[1:4]
    assert list(MaskRecords.of(kept)) == given_records
    chosen = np.array(data.draw(st.permutations(range(len(kept)))), dtype=np.int64)[:3]
    assert list(select(kept, chosen)) == select(given_records, chosen)
    assert list(reaching(kept, 0.5)) == reaching(given_records, 0.5)
    for key in ("image_id", "category_id", "score"):
        assert column(kept, key).tolist() == column(given_records, key).tolist()
    assert list(kept.with_category(4)) == [{**record, "category_id": 4} for record in given_records]
    assert list(kept) == given_records


@given(st.lists(st.integers(0, 2), max_size=4), st.sampled_from([(3,), (3, 9)]))
def test_columns_of_an_image_are_those_of_its_records(labels: list[int], ids: tuple[int, ...]) -> None:
    (rle,) = encode_labels(np.array([[1, 1, 0]]))
    count = len(labels)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    boxes = np.zeros((count, 4), dtype=np.float32)
    found = Instances((1, 3), boxes, np.array(labels, dtype=np.int64), scores, [rle] * count)
    categories = [Category(own, str(own)) for own in ids]
    if max(labels, default=0) > len(ids):
        with pytest.raises(SegtrainError, match="label 2 has no category"):
            MaskRecords.of_image(found, 7, categories)
    else:
        own = MaskRecords.of_image(found, 7, categories)
        assert list(own) == to_predictions(found, 7, categories)
        assert list(MaskRecords.joined([own, own])) == 2 * to_predictions(found, 7, categories)


def test_an_index_out_of_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        MaskRecords.of([])[0]
