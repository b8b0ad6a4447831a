"""Every way credits can be wrong: one error with file, line and path."""

from __future__ import annotations

import pytest
from catalog_samples import error_of, line_with
from credit_samples import recredited

COSTS = "credit_types.ai.costs"
FREE = "plans.free.credit_grants[0]"
PRO = "plans.pro.credit_grants"
TOP_UP = "plans.pro.top_ups[0]"
START = "{id: start, type: ai, amount: 5}"
WEEKLY = "{id: weekly, type: ai, amount: 3, every: week}"
IMAGES = "{feature: images, cost: 4.5}"
PACK = "{id: pack, type: ai, amount: 100, kind: prepaid, expires: never}"
PRICE = "price: {USD: 20.00, EUR: 18.00}"
LARGE = "match: {model: large}, cost: 250, per: 1000000"
UNLIMITED = "calls: unlimited"

# What is replaced by what; the path; the line that holds the text; a part of the problem.
CASES = {
    "unknown key of a type": (
        ("decimals: 3", "places: 3"),
        (
            "credit_types.ai.places",
            "places: 3",
            "known keys: name, unit, decimals, worth, notify_below, costs",
        ),
    ),
    "too many decimals": (
        ("decimals: 3", "decimals: 7"),
        ("credit_types.ai.decimals", "decimals: 7", "at most 6"),
    ),
    "worth in no currency": (
        ("EUR: 0.009", "ZZZ: 0.009"),
        ("credit_types.ai.worth.ZZZ", "ZZZ", "is not a currency"),
    ),
    "unknown key of a cost": (
        (IMAGES, "{feature: images, price: 4}"),
        (f"{COSTS}[2].price", "price: 4}", "known keys: feature, match, cost, per"),
    ),
    "cost of nothing": (
        (IMAGES, "{feature: image, cost: 4.5}"),
        (f"{COSTS}[2].feature", "image,", "there is no feature 'image'"),
    ),
    "cost of a switch": (
        (IMAGES, "{feature: own_domain, cost: 4.5}"),
        (f"{COSTS}[2].feature", "own_domain, cost", "is not metered (but boolean)"),
    ),
    "cost of what is held": (
        (IMAGES, "{feature: seats, cost: 4.5}"),
        (f"{COSTS}[2].feature", "seats, cost", "is held and given back"),
    ),
    "negative cost": (
        (IMAGES, "{feature: images, cost: -1}"),
        (f"{COSTS}[2].cost", "cost: -1", "-1 is negative"),
    ),
    "cost that is no integer of micro-credits": (
        (IMAGES, "{feature: images, cost: 1, per: 3}"),
        (f"{COSTS}[2].cost", "per: 3}", "no whole number of micro-credits"),
    ),
    "cost that is too much": (
        (IMAGES, "{feature: images, cost: 1000001}"),
        (f"{COSTS}[2].cost", "1000001", "that is too much"),
    ),
    "two costs of the same": (
        (LARGE, "cost: 250, per: 1000000"),
        (f"{COSTS}[1]", "cost: 0.025", "fits the same usage as costs[0]; let their matches differ"),
    ),
    "two costs that overlap": (
        (IMAGES, "{feature: tokens, match: {region: eu}, cost: 1}"),
        (f"{COSTS}[2]", "region: eu", "fits the same usage as costs[0]"),
    ),
    "paid with nothing": (
        (", credits: ai}", ", credits: ia}"),
        ("plans.free.features.tokens.credits", "credits: ia", "there is no credit type 'ia'"),
    ),
    "paid with an unknown kind": (
        ("kind: soft}}", "kind: mild}}"),
        ("plans.pro.features.tokens.credits.kind", "mild", "write one of 'hard' or 'soft'"),
    ),
    "unknown key of a draw": (
        ("{type: ai, kind: soft}", "{type: ai, soft: true}"),
        ("plans.pro.features.tokens.credits.soft", "soft: true", "known keys: type, kind"),
    ),
    "paid where nothing is metered": (
        ("      own_domain: true", "      own_domain: {credits: ai}"),
        ("plans.pro.features.own_domain.credits", "own_domain: {", "and takes no credits"),
    ),
    "paid without a cost": (
        (UNLIMITED, "calls: {credits: ai}"),
        ("plans.pro.features.calls.credits", "calls: {credits", "has no cost for calls"),
    ),
    "add-on changes how a plan is paid": (
        (
            "      images: {credits: ai}",
            "      images: {credits: ai}\n      tokens: {credits: gold}",
        ),
        ("add_ons.pictures.features.tokens.credits", "gold}", "credit type 'gold' has no cost"),
    ),
    "add-on has a free feature paid": (
        (
            "    features:\n      tokens: {limits",
            "    features:\n      images: unlimited\n      tokens: {limits",
        ),
        ("add_ons.pictures.features.images.credits", "images: {credits", "without credits"),
    ),
    "two add-ons pay in two ways": (
        (
            "      images: {credits: ai}\n",
            (
                "      images: {credits: ai}\n"
                "  more: {plans: [free], features: {images: {credits: gold}}}\n"
            ),
        ),
        ("add_ons.more.features.images.credits", "more: {", "is not 'ai', with which add-on"),
    ),
    "grant without id": (
        (START, "{type: ai, amount: 5}"),
        (f"{FREE}.id", "{type: ai, amount: 5}", "is missing"),
    ),
    "unknown key of a grant": (
        (START, "{id: start, type: ai, amount: 5, for: fun}"),
        (f"{FREE}.for", "for: fun", "known keys: id, type, amount, kind, every"),
    ),
    "grant of an unknown type": (
        (START, "{id: start, type: ia, amount: 5}"),
        (f"{FREE}.type", "type: ia", "there is no credit type 'ia'; known: ai, gold"),
    ),
    "grant of credits that pay for nothing": (
        (START, "{id: start, type: gold, amount: 5}"),
        (f"{FREE}.type", "type: gold", "nothing is paid with 'gold'"),
    ),
    "grant of nothing": (
        (START, "{id: start, type: ai, amount: 0}"),
        (f"{FREE}.amount", "amount: 0}", "is 0, which grants nothing"),
    ),
    "negative grant": (
        (START, "{id: start, type: ai, amount: -5}"),
        (f"{FREE}.amount", "amount: -5", "-5 is negative"),
    ),
    "grant too fine": (
        (START, "{id: start, type: ai, amount: 0.0000001}"),
        (f"{FREE}.amount", "0.0000001", "at most 6 decimal places"),
    ),
    "grant too large": (
        (START, "{id: start, type: ai, amount: 1000000000001}"),
        (f"{FREE}.amount", "1000000000001", "is too large; at most 1000000000000"),
    ),
    "grant by hand": (
        (START, "{id: start, type: ai, amount: 5, kind: manual}"),
        (f"{FREE}.kind", "manual", "write one of 'recurring', 'prepaid', 'promotional' or 'trial'"),
    ),
    "recurring once": (
        (START, "{id: start, type: ai, amount: 5, kind: recurring}"),
        (f"{FREE}.every", "recurring}", "is missing: a recurring grant says how often"),
    ),
    "prepaid every month": (
        (START, "{id: start, type: ai, amount: 5, kind: prepaid, every: month}"),
        (f"{FREE}.every", "prepaid,", "a prepaid grant comes once; leave it out"),
    ),
    "grant in a window that never turns": (
        (WEEKLY, "{id: weekly, type: ai, amount: 3, every: lifetime}"),
        (f"{PRO}[3].every", "every: lifetime", "leave it out for a grant that comes once"),
    ),
    "grant in a window that rolls": (
        (WEEKLY, "{id: weekly, type: ai, amount: 3, every: {rolling: day}}"),
        (f"{PRO}[3].every", "rolling", "is no window that comes again by itself"),
    ),
    "grant in an unknown time zone": (
        ("Europe/Berlin", "Europe/Atlantis"),
        (f"{PRO}[0].every.time_zone", "Atlantis", "is not a time zone"),
    ),
    "rollover of what comes once": (
        (START, "{id: start, type: ai, amount: 5, rollover_max: 1}"),
        (f"{FREE}.rollover_max", "rollover_max: 1}", "but the grant has none"),
    ),
    "period end of what comes once": (
        (START, "{id: start, type: ai, amount: 5, expires: period_end}"),
        (f"{FREE}.expires", "period_end", "the grant has no period"),
    ),
    "rollover past the period": (
        (WEEKLY, "{id: w, type: ai, amount: 3, every: week, rollover_max: 1, expires: period_end}"),
        (f"{PRO}[3].rollover_max", "rollover_max: 1,", "keep one of them"),
    ),
    "expiry that is no expiry": (
        (START, "{id: start, type: ai, amount: 5, expires: soon}"),
        (f"{FREE}.expires", "soon", "write never, period_end, trial_end or {after_days: DAYS}"),
    ),
    "unknown key of an expiry": (
        (START, "{id: start, type: ai, amount: 5, expires: {after_months: 1}}"),
        (f"{FREE}.expires.after_months", "after_months", "known keys: after_days"),
    ),
    "trial without trial": (
        (START, "{id: start, type: ai, amount: 5, kind: trial}"),
        (f"{FREE}.kind", "kind: trial", "which only a plan with a trial has"),
    ),
    "trial of an add-on": (
        (PACK, "{id: pack, type: ai, amount: 100, expires: trial_end}"),
        ("add_ons.pack.credit_grants[0].expires", "trial_end", "a plan, and not an add-on"),
    ),
    "seats of an add-on": (
        (PACK, "{id: pack, type: ai, amount: 100, per_seat: true}"),
        ("add_ons.pack.credit_grants[0].per_seat", "per_seat: true}", "leave it out"),
    ),
    "two grants with one id": (
        (WEEKLY, "{id: bonus, type: ai, amount: 3, every: week}"),
        (
            f"{PRO}[3].id",
            "id: bonus, type: ai, amount: 3",
            "credit_grants[1] has the id 'bonus' too",
        ),
    ),
    "an add-on's grant with a plan's id": (
        (PACK, "{id: start, type: ai, amount: 100}"),
        ("add_ons.pack.credit_grants[0].id", "amount: 100}", "plan 'free' has a grant 'start' too"),
    ),
    "two add-ons' grants with one id": (
        (
            "  pictures:\n    plans: [free]\n",
            (
                "  pictures:\n    plans: [free]\n"
                "    credit_grants: [{id: pack, type: ai, amount: 1}]\n"
            ),
        ),
        ("add_ons.pictures.credit_grants[0].id", "amount: 1}]", "add-on 'pack' has a grant 'pack'"),
    ),
    "unknown key of a top-up": (
        ("        threshold: 100\n", "        below: 100\n"),
        (f"{TOP_UP}.below", "below", "known keys: type, threshold, target, monthly_cap, price"),
    ),
    "top-up to less": (
        ("target: 1000\n", "target: 100\n"),
        (f"{TOP_UP}.target", "target: 100", "is not above threshold"),
    ),
    "top-up capped below one": (
        ("monthly_cap: 5000", "monthly_cap: 899.999999"),
        (f"{TOP_UP}.monthly_cap", "monthly_cap", "not one top-up would be whole"),
    ),
    "top-up of an unknown type": (
        ("      - type: ai\n        threshold", "      - type: ia\n        threshold"),
        (f"{TOP_UP}.type", "type: ia", "there is no credit type 'ia'"),
    ),
    "top-up in no currency": (
        (PRICE, "price: {usd: 1}"),
        (f"{TOP_UP}.price.usd", "usd", "is not a currency"),
    ),
    "top-up that ends with a period": (
        ("expires: {after_days: 365}", "expires: period_end"),
        (f"{TOP_UP}.expires", "expires: period_end", "a top-up expires never or"),
    ),
    "top-up without a currency of the plan": (
        (PRICE, "price: {USD: 20.00}"),
        (f"{TOP_UP}.price", "price: {USD: 20.00}", "is not in EUR, in which plan 'pro' is sold"),
    ),
    "top-up in another currency": (
        (PRICE, "price: {USD: 20.00, EUR: 18.00, GBP: 16.00}"),
        (f"{TOP_UP}.price.GBP", "GBP", "plan 'pro' is not sold in GBP, but in USD, EUR"),
    ),
    "inherited top-up in another currency": (
        ("features: {own_domain: false}", "prices: {GBP: [{flat: 9}]}"),
        (
            f"{TOP_UP}.price",
            PRICE,
            "is not in GBP, in which plan 'team', which inherits this top-up",
        ),
    ),
    "price of unknown credits": (
        ("{credits: ai, per_unit: 0.02,", "{credits: ia, per_unit: 0.02,"),
        ("plans.pro.prices.USD[1].credits", "credits: ia", "there is no credit type 'ia'"),
    ),
    "price of credits that nothing overdraws": (
        ("tokens: {credits: {type: ai, kind: soft}}", "tokens: {credits: ai}"),
        ("plans.pro.prices.USD[1].credits", "USD: [{flat", "let a feature say credits: {type: ai"),
    ),
    "unknown key of a price of credits": (
        ("per_unit: 0.02, per: 1}", "per_unit: 0.02, included: 1}"),
        ("plans.pro.prices.USD[1].included", "included: 1", "known keys: id, every, credits"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_error_with_path_and_line(
    case: tuple[tuple[str, str], tuple[str, str, str]],
) -> None:
    (old, new), (path, on_line, problem) = case
    text = recredited((old, new))
    told_path, line, told_problem = error_of(text)
    assert told_path == path
    assert problem in told_problem
    assert on_line.strip("\n") in text.splitlines()[line - 1]


EUROS = "prices: {EUR: [{flat: 9}]}\n    top_ups: []"


def test_a_change_of_plan_keeps_the_currency() -> None:
    text = recredited(
        ("features: {own_domain: false}", EUROS),
        ("    trial: {days: 14, at_end: pro}", "    trial: {days: 14, at_end: team}"),
    )
    path, line, problem = error_of(text)
    assert (path, line) == ("plans.pro.trial.at_end", line_with(text, "at_end: team"))
    assert problem == (
        "plan 'team' is not sold in USD, in which this plan is; a change of plan keeps the currency"
    )
    text = recredited(
        ("features: {own_domain: false}", EUROS),
        ("    trial: {days: 14, at_end: pro}", "    trial: {days: 14}\n    upgrades_to: [team]"),
    )
    path, _, problem = error_of(text)
    assert path == "plans.pro.upgrades_to[0]"
    assert "is not sold in USD" in problem


def test_an_add_on_is_sold_in_no_currency_that_its_plans_are_not() -> None:
    pack = "  pack:\n    plans: [free, pro]\n"
    dear = "{USD: [{flat: 1}], EUR: [{flat: 1}], GBP: [{flat: 1}]}"
    text = recredited((pack, f"  pack:\n    plans: [pro]\n    prices: {dear}\n"))
    path, _, problem = error_of(text)
    assert path == "add_ons.pack.prices.GBP"
    assert problem == "no plan that it suits is sold in GBP, but in EUR, USD"
    text = recredited((pack, f"{pack}    prices: {{USD: [{{flat: 1}}]}}\n"))
    path, _, problem = error_of(text)
    assert (path, problem) == (
        "add_ons.pack.prices",
        "has no prices in EUR, in which plan 'pro' is sold",
    )
