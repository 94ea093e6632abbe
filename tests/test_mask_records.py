"""Result records that are kept by column."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.mask_records import MaskRecords, column, reaching, select
from segtrain.masks import encode_labels


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


def test_an_index_out_of_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        MaskRecords.of([])[0]
