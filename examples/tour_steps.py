"""What the tour does: customers on plans of the six example catalogs, calls, and what to expect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Subscriber:
    """A customer of the tour. `add_ons` maps ids to quantities."""

    customer: str
    catalog: str
    plan: str
    add_ons: dict[str, int] = field(default_factory=dict)
    seats: int = 1


@dataclass(frozen=True)
class Expected:
    """What the sidecar is to answer. `upgrade` is to be among the upgrade hints."""

    allowed: bool
    reason: str = ""
    upgrade: str = ""
    overage: int = 0


@dataclass(frozen=True)
class PlanChange:
    """A new version of a plan, applied while an application asks. The text is replaced once."""

    catalog: str
    plan: str
    before: str
    after: str


@dataclass(frozen=True)
class Step:
    """One call of the application."""

    customer: str
    call: str
    feature: str
    expected: Expected
    amount: int | None = None
    value: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """The call in words."""
        wanted = self.value or ("" if self.amount is None else f"{self.amount:,}")
        return " ".join(part for part in (self.call, wanted, self.feature) if part)

    @property
    def recorded(self) -> int:
        """Units that the control plane is to see of it."""
        if self.call == "check" or not self.expected.allowed:
            return 0
        return 1 if self.amount is None else self.amount


def allowed(overage: int = 0) -> Expected:
    """Expect the call to pass."""
    return Expected(allowed=True, overage=overage)


def refused(reason: str, upgrade: str) -> Expected:
    """Expect a refusal, and what would help."""
    return Expected(allowed=False, reason=reason, upgrade=upgrade)


# Title of a model, its catalog, and what of it the tour can show.
MODELS: Final = (
    ("pay per use", "pay_per_use", ""),
    ("subscription", "subscription_tiers", ""),
    ("freemium", "freemium", ""),
    ("credits", "credits", ""),
    (
        "revenue share",
        "revenue_share",
        "what a publisher may do; partner apps only shown",
    ),
    ("hybrid", "hybrid", ""),
)

SUBSCRIBERS: Final = (
    Subscriber("maps-trial", "pay_per_use", "evaluation"),
    Subscriber("maps-shop", "pay_per_use", "pay_as_you_go"),
    Subscriber("desk-trial", "subscription_tiers", "trial"),
    Subscriber("desk-team", "subscription_tiers", "support_team", {"agent_team": 2}),
    Subscriber("login-app", "freemium", "sandbox"),
    Subscriber("llm-lab", "credits", "evaluation"),
    Subscriber("market-maker", "revenue_share", "evaluation"),
    Subscriber("code-team", "hybrid", "evaluation"),
)

FIRST_STEPS: Final = (
    # Pay per use: a quota that refuses; and a free cap past which usage is counted as overage.
    Step("maps-trial", "consume", "geocoding.requests", allowed(), 5),
    Step(
        "maps-trial", "consume", "geocoding.requests", refused("LIMIT_REACHED", "pay_as_you_go"), 1
    ),
    Step("maps-trial", "check", "street_view", refused("FEATURE_NOT_IN_PLAN", "pay_as_you_go")),
    Step("maps-shop", "consume", "geocoding.requests", allowed(), 10_000),
    Step("maps-shop", "consume", "geocoding.requests", allowed(overage=250), 250),
    Step("maps-shop", "report", "maps.static_loads", allowed(), 42),
    # Subscription: three seats of five resolutions each, channels by tier.
    Step("desk-trial", "consume", "automated.resolutions", allowed(), 3),
    Step(
        "desk-trial",
        "consume",
        "automated.resolutions",
        refused("LIMIT_REACHED", "support_team"),
        1,
    ),
    Step("desk-team", "check", "agents", allowed(), 3),
    Step("desk-team", "check", "agents", refused("VALUE_NOT_ALLOWED", "agent_team"), 4),
    Step("desk-team", "consume", "automated.resolutions", allowed(), 15),
    Step("desk-team", "consume", "automated.resolutions", allowed(overage=2), 2),
    Step(
        "desk-team", "check", "channels", refused("VALUE_NOT_ALLOWED", "suite_team"), value="voice"
    ),
    # Freemium: the sandbox fills up.
    Step("login-app", "consume", "users.monthly", allowed(), 3),
    Step("login-app", "consume", "users.monthly", refused("LIMIT_REACHED", "free"), 1),
    Step("login-app", "check", "mfa", refused("FEATURE_NOT_IN_PLAN", "essentials")),
    # Credits: limits beside what tokens cost, which a promotional grant pays.
    Step("llm-lab", "consume", "llm.requests", allowed(), 3),
    Step("llm-lab", "consume", "llm.requests", refused("LIMIT_REACHED", "tier_1"), 1),
    Step(
        "llm-lab",
        "consume",
        "llm.input_tokens",
        allowed(),
        8_000,
        dimensions={"model": "gpt-4o-mini"},
    ),
    Step(
        "llm-lab",
        "consume",
        "llm.input_tokens",
        refused("LIMIT_REACHED", "scale"),
        3_000,
        dimensions={"model": "gpt-4o-mini"},
    ),
    Step("llm-lab", "check", "llm.models", refused("VALUE_NOT_ALLOWED", "tier_1"), value="gpt-4o"),
    # Revenue share, as far as publishers go.
    Step("market-maker", "consume", "marketplace.orders", allowed(), 3),
    Step("market-maker", "consume", "marketplace.orders", refused("LIMIT_REACHED", "free_app"), 1),
    Step("market-maker", "check", "sales.paid", refused("FEATURE_NOT_IN_PLAN", "checkout")),
    # Hybrid, as far as counts go.
    Step("code-team", "consume", "completions", allowed(), 3),
    Step("code-team", "consume", "completions", refused("LIMIT_REACHED", "free"), 1),
    Step(
        "code-team", "check", "models", refused("VALUE_NOT_ALLOWED", "pro_plus"), value="frontier"
    ),
)

# Then the freemium customer upgrades, and the call that was refused passes.
UPGRADED: Final = Subscriber("login-app", "freemium", "free")
STEPS_AFTER_UPGRADE: Final = (
    Step("login-app", "consume", "users.monthly", allowed(), 1),
    Step("login-app", "check", "login.methods", allowed(), value="passkey"),
)

# Then a plan changes for everybody on it, while the application goes on asking.
# A balance that four sidecars spend at once.
DRAINED: Final = Subscriber("llm-shop", "credits", "tier_1")

CHANGED: Final = SUBSCRIBERS[0]
CHANGE: Final = PlanChange(
    "pay_per_use",
    "evaluation",
    "geocoding.requests: {limits: [{limit: 5, window: day}]}",
    "geocoding.requests: {limits: [{limit: 8, window: day}]}",
)
STEPS_AROUND_CHANGE: Final = (
    Step("maps-trial", "check", "geocoding.requests", refused("LIMIT_REACHED", "pay_as_you_go"), 1),
    Step("maps-trial", "consume", "geocoding.requests", allowed(), 1),
)
