"""GeoJSON of masks against shapely: valid polygons that hold the pixels of the mask and no others."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import shape

from segtrain import masks
from segtrain.prediction.found_objects import FoundObject
from segtrain.prediction.geojson import to_geojson
from segtrain.records import Category


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)).filter(np.any))
def test_polygons_hold_the_pixels(mask: np.ndarray) -> None:
    features = to_geojson([FoundObject(7, Category(3, "cell"), 0.5, masks.encode(mask), int(mask.sum()))])["features"]
    (feature,) = features
    drawn = shape(feature["geometry"])
    assert drawn.is_valid
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    assert np.array_equal(shapely.contains_xy(drawn, x + 0.5, y + 0.5), mask.astype(bool))
    assert drawn.area == mask.sum()
    assert feature["properties"]["classification"]["name"] == "cell"
    assert feature["properties"]["measurements"] == {"score": 0.5}
