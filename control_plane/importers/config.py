"""What prices of other systems mean here: one YAML file, checked before anything is taken."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from control_plane.config_file import read_config
from weighbridge.rules.credits import (
    CREDITS_MAX,
    DAYS_MAX,
    MICRO,
    PLACES_MAX,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
)
from weighbridge.rules.units import QUANTITY_MAX

DAY_MS: Final = 86_400_000

Name = Annotated[str, Field(min_length=1, max_length=128)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GrantTerms(_Part):
    """Credits that one of a price buys."""

    credit_type: Name
    amount: Annotated[
        Decimal, Field(gt=0, le=CREDITS_MAX, decimal_places=PLACES_MAX, allow_inf_nan=False)
    ]
    expires_after_days: Annotated[int, Field(ge=1, le=DAYS_MAX)] | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX)] = PRIORITY_DEFAULT

    @property
    def micro(self) -> int:
        """The amount in micro-credits."""
        return int(self.amount * MICRO)


class PriceRule(_Part):
    """A price or a product, and the one thing that it means."""

    price: Name | None = None
    product: Name | None = None
    plan: Name | None = None
    add_on: Name | None = None
    is_seats: Annotated[bool, Field(alias="seats")] = False
    grant: GrantTerms | None = None
    is_ignored: Annotated[bool, Field(alias="ignore")] = False
    times: Annotated[int, Field(ge=1, le=QUANTITY_MAX)] = 1
    """How many seats, or of the add-on, one of it is."""

    @model_validator(mode="after")
    def _means_one_thing(self) -> Self:
        if (self.price is None) == (self.product is None):
            raise ValueError("name a price or a product, one of them")
        means = (self.plan, self.add_on, self.grant)
        if sum(each is not None for each in means) + self.is_seats + self.is_ignored != 1:
            raise ValueError("name one of plan, add_on, seats, grant and ignore")
        return self


class StripeImport(_Part):
    """Webhooks of Stripe."""

    secret_file: Path
    tolerance_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    """How old a signature may be."""
    catalog: str = ""
    """Of customers that are made; not needed where there is one."""
    grace_days: Annotated[int, Field(ge=0, le=90)] = 7
    """How long a customer whose payment failed is served."""
    prices: tuple[PriceRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _prices_are_unique(self) -> Self:
        names = [each.price or each.product for each in self.prices]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"prices[{position}]: {name!r} is there twice")
        return self

    @property
    def grace_ms(self) -> int:
        """How long a customer whose payment failed is served."""
        return self.grace_days * DAY_MS

    def rule(self, price: str, product: str) -> PriceRule | None:
        """Return what a price means: by itself, else by its product."""
        rules = self._rules
        return rules.get(price) or rules.get(product)

    @property
    def _rules(self) -> Mapping[str, PriceRule]:
        return {each.price or each.product or "": each for each in self.prices}


class ImportsConfig(_Part):
    """All importers of a control plane."""

    stripe: StripeImport | None = None


def read_imports(path: Path) -> ImportsConfig:
    """Read the file. Raises InvalidArgumentError that names the file and the key."""
    return read_config(path, ImportsConfig)
