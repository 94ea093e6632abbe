"""Types of settings that several modules share: ranges and choices; `segtrain.values.check_value` enforces them."""

from typing import Annotated, Literal

from msgspec import Meta

Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
ProperFraction = Annotated[float, Meta(gt=0, lt=1)]
TunedMetric = Literal["mask_ap", "miou"]
