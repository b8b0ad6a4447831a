"""Every way a catalog document can be wrong: one error with file, line and path."""

from __future__ import annotations

import pytest
from catalog_samples import changed, error_of, line_with

MONTH = "{limit: 1000, window: month}"
MAILS = "plans.free.features.mails.limits[0]"
ADDED = "add_ons.more_mails.features.mails.limits[0]"

# What is replaced by what; the path; the line that holds the text; a part of the problem.
CASES = {
    "unknown key at the top": (
        ("description:", "descriptoin:"),
        ("descriptoin", "descriptoin", "known keys: catalog, description, features, plans"),
    ),
    "a single price is no key": (
        ("    name: Free\n", "    name: Free\n    price: 10\n"),
        ("plans.free.price", "price: 10", "is not a key here; known keys: name, extends"),
    ),
    "unknown key of a feature": (
        ("{type: boolean}", "{type: boolean, unit: x}"),
        ("features.own_domain.unit", "own_domain:", "is not a key here; known keys: type, name"),
    ),
    "unknown key of a number feature": (
        ("unit: MB}", "values: [a]}"),
        ("features.attachment_mb.values", "attachment_mb:", "known keys: type, name, unit"),
    ),
    "unknown key of an enum feature": (
        ("phone]}", "phone], outage: deny}"),
        ("features.support.outage", "support:", "known keys: type, name, values"),
    ),
    "unknown key of an outage policy": (
        ("safe_capacity", "safe"),
        ("features.mails.outage.safe", "safe", "known keys: safe_capacity"),
    ),
    "unknown key of a grant": (
        ("limits: [{id: month, limit: 1000}]", "limit: 3"),
        ("add_ons.more_mails.features.mails.limit", "limit: 3", "known keys: limits"),
    ),
    "misspelled key is told, not the one missing": (
        (MONTH, "{limit: 1000, windw: month}"),
        (f"{MAILS}.windw", "windw", "known keys: id, limit, kind, window"),
    ),
    "unknown key of a calendar window": (
        (MONTH, "{limit: 1, window: {calendar: day, tz: UTC}}"),
        (f"{MAILS}.window.tz", "tz", "known keys: calendar, time_zone"),
    ),
    "calendar and anniversary at once": (
        (MONTH, "{limit: 1, window: {calendar: day, anniversary: day}}"),
        (f"{MAILS}.window.calendar", "anniversary: day", "known keys: anniversary, time_zone"),
    ),
    "unknown key of an add-on": (
        ("    plans: [free]", "    price: 1\n    plans: [free]"),
        (
            "add_ons.more_mails.price",
            "price",
            "known keys: name, plans, features, prices",
        ),
    ),
    "unknown key of an add-on limit": (
        ("limit: 1000}]", "limit: 1000, period: day}]"),
        (f"{ADDED}.period", "period", "known keys: id, limit, kind, window"),
    ),
    "unknown key of an offer": (
        ("{message: More mails.}", "{link: x}"),
        ("add_ons.more_mails.offer.link", "link", "known keys: message, url"),
    ),
    "duplicate feature": (
        ("  contacts: {", "  mails: {type: boolean}\n  contacts: {"),
        ("features.mails", "mails: {type: boolean}", "is there twice, first on line 4"),
    ),
    "duplicate plan": (
        ("  pro:", "  free: {}\n  pro:"),
        ("plans.free", "free: {}", "is there twice"),
    ),
    "duplicate key": (
        ("limit: 1000, ", "limit: 1000, limit: 5, "),
        (f"{MAILS}.limit", "limit: 5", "is there twice"),
    ),
    "duplicate limit id": (
        ("id: day", "id: month"),
        (
            "plans.free.features.mails.limits[1].id",
            "id: month",
            "limits[0] has the id 'month' too",
        ),
    ),
    "duplicate limit id by default": (
        (MONTH, f"{MONTH}\n          - {{limit: 7, window: month}}"),
        ("plans.free.features.mails.limits[1]", "limit: 7", "give each limit an id of its own"),
    ),
    "duplicate enum value": (
        ("[community, email, phone]", "[community, email, email]"),
        ("features.support.values[2]", "[community, email, email]", "'email' is there twice"),
    ),
    "duplicate granted value": (
        ("[phone, email]", "[phone, phone]"),
        ("plans.pro.features.support[1]", "[phone, phone]", "is there twice"),
    ),
    "duplicate upgrade": (
        ("[pro]", "[pro, pro]"),
        ("plans.free.upgrades_to[1]", "[pro, pro]", "is there twice"),
    ),
    "plan inherits from itself": (
        ("extends: free", "extends: pro"),
        ("plans.pro.extends", "extends: pro", "in a cycle: pro -> pro"),
    ),
    "cycle of two": (
        ("    name: Free", "    extends: pro"),
        ("plans.free.extends", "extends: pro", "in a cycle: free -> pro -> free"),
    ),
    "unknown parent": (
        ("extends: free", "extends: fre"),
        ("plans.pro.extends", "extends: fre", "there is no plan 'fre'; known: free, pro"),
    ),
    "unknown upgrade": (
        ("[pro]", "[team]"),
        ("plans.free.upgrades_to[0]", "[team]", "there is no plan 'team'"),
    ),
    "upgrade to itself": (
        ("[pro]", "[free]"),
        ("plans.free.upgrades_to[0]", "upgrades_to", "is the plan itself"),
    ),
    "unknown plan of an add-on": (
        ("plans: [free]", "plans: [fre]"),
        ("add_ons.more_mails.plans[0]", "plans: [fre]", "there is no plan 'fre'"),
    ),
    "no plan of an add-on": (
        ("plans: [free]", "plans: []"),
        ("add_ons.more_mails.plans", "plans: []", "is empty"),
    ),
    "unknown feature of a plan": (
        ("      attachment_mb: 5", "      attachment: 5"),
        ("plans.free.features.attachment", "attachment: 5", "there is no feature 'attachment'"),
    ),
    "unknown feature of an add-on": (
        ("      mails: {limits: [{id", "      mail: {limits: [{id"),
        ("add_ons.more_mails.features.mail", " mail: {limits", "there is no feature 'mail'"),
    ),
    "limit on a boolean": (
        ("own_domain: true", "own_domain: {limits: [{limit: 1, window: day}]}"),
        (
            "plans.pro.features.own_domain.limits",
            "own_domain: {limits",
            "own_domain is a boolean feature and takes no limits; write true or false",
        ),
    ),
    "limit on a number": (
        ("attachment_mb: 5", "attachment_mb: {limits: [{limit: 1, window: day}]}"),
        ("plans.free.features.attachment_mb.limits", "mb: {limits", "is a number feature"),
    ),
    "limit on an enum": (
        ("support: [community]", "support: {limits: [{limit: 1, window: day}]}"),
        ("plans.free.features.support.limits", "support: {limits", "is an enum feature"),
    ),
    "integer for a boolean": (
        ("own_domain: true", "own_domain: 1"),
        ("plans.pro.features.own_domain", "own_domain: 1", "write true or false"),
    ),
    "boolean for a number": (
        ("attachment_mb: 5", "attachment_mb: true"),
        ("plans.free.features.attachment_mb", "mb: true", "write an integer, unlimited or false"),
    ),
    "unlimited for an enum": (
        ("support: [community]", "support: unlimited"),
        ("plans.free.features.support", "support: unlimited", "write a list of its values"),
    ),
    "integer for a metered": (
        ("contacts: unlimited", "contacts: 5"),
        ("plans.pro.features.contacts", "contacts: 5", "write limits, rates, credits, unlimited"),
    ),
    "yes is no boolean": (
        ("own_domain: true", "own_domain: yes"),
        ("plans.pro.features.own_domain", "own_domain: yes", "is the text 'yes'; write true"),
    ),
    "fraction for a grant": (
        ("attachment_mb: 5", "attachment_mb: 5.5"),
        ("plans.free.features.attachment_mb", "5.5", "but is the number 5.5"),
    ),
    "value that the enum lacks": (
        ("support: [community]", "support: [comunity]"),
        (
            "plans.free.features.support[0]",
            "[comunity]",
            "'comunity' is not a value of support; its values: community, email, phone",
        ),
    ),
    "values that are no list": (
        ("values: [community, email, phone]", "values: community"),
        ("features.support.values", "values: community", "must be a list"),
    ),
    "no values": (
        ("values: [community, email, phone]", "values: []"),
        ("features.support.values", "values: []", "is empty"),
    ),
    "false in an add-on": (
        ("      mails: {limits: [{id: month, limit: 1000}]}", "      contacts: false"),
        ("add_ons.more_mails.features.contacts", "contacts: false", "takes nothing away"),
    ),
    "wrong form in an add-on": (
        ("      mails: {limits: [{id: month, limit: 1000}]}", "      own_domain: 3"),
        ("add_ons.more_mails.features.own_domain", "own_domain: 3", "write true"),
    ),
    "add-on limit that the plan lacks": (
        ("{id: month, limit", "{id: week, limit"),
        (f"{ADDED}.id", "id: week", "plan 'free' has no limit 'week' on mails; it has: month, day"),
    ),
    "add-on limit on a feature that the plan lacks": (
        ("mails: {limits: [{id: month", "contacts: {limits: [{id: month"),
        (
            "add_ons.more_mails.features.contacts.limits[0].id",
            "contacts: {limits",
            "plan 'free' has no contacts whose limit this could add to",
        ),
    ),
    "add-on limit without id": (
        ("{id: month, limit: 1000}", "{limit: 1000}"),
        (f"{ADDED}.id", "[{limit: 1000}]", "is missing"),
    ),
    "add-on window unlike the plan's": (
        ("limit: 1000}]", "limit: 1000, window: week}]"),
        (f"{ADDED}.window", "window: week", "is not calendar:month:UTC, the window of plan 'free'"),
    ),
    "add-on kind unlike the plan's": (
        ("limit: 1000}]", "limit: 1000, kind: soft}]"),
        (f"{ADDED}.kind", "kind: soft}", "is not hard, the kind of plan 'free'"),
    ),
    "unknown time zone": (
        ("window: {anniversary: month}", "window: {anniversary: month, time_zone: Europe/Berln}"),
        (
            "plans.pro.features.mails.limits[0].window.time_zone",
            "Berln",
            "'Europe/Berln' is not a time zone",
        ),
    ),
    "region is no time zone": (
        ("window: {anniversary: month}", "window: {calendar: month, time_zone: Europe}"),
        ("plans.pro.features.mails.limits[0].window.time_zone", "Europe", "is not a time zone"),
    ),
    "window that is none": (
        (MONTH, "{limit: 1, window: fortnight}"),
        (f"{MAILS}.window", "fortnight", "write hour, day, week, month, year, lifetime"),
    ),
    "rolling and session at once": (
        (MONTH, "{limit: 1, window: {rolling: day, session: day}}"),
        (f"{MAILS}.window.session", "session: day", "is not a key here; known keys: rolling"),
    ),
    "unknown key of a length": (
        (MONTH, "{limit: 1, window: {session: {weeks: 1}}}"),
        (f"{MAILS}.window.session.weeks", "weeks", "known keys: minutes, hours, days"),
    ),
    "length that is none": (
        (MONTH, "{limit: 1, window: {rolling: month}}"),
        (f"{MAILS}.window.rolling", "month", "write hour, day, week or such as {hours: 5}"),
    ),
    "length without any": (
        (MONTH, "{limit: 1, window: {rolling: {}}}"),
        (f"{MAILS}.window.rolling", "rolling: {}", "says no length; write minutes, hours, days"),
    ),
    "length of nothing": (
        (MONTH, "{limit: 1, window: {session: {hours: 0}}}"),
        (f"{MAILS}.window.session.hours", "hours: 0", "0 is too small; at least 1"),
    ),
    "length of more than a year": (
        (MONTH, "{limit: 1, window: {session: {days: 366, minutes: 1}}}"),
        (f"{MAILS}.window.session", "days: 366", "is 366d1m long; a window has at most 366 days"),
    ),
    "period that is none": (
        (MONTH, "{limit: 1, window: {calendar: decade}}"),
        (f"{MAILS}.window.calendar", "decade", "write one of 'hour', 'day'"),
    ),
    "no window": (
        (MONTH, "{limit: 1000}"),
        (f"{MAILS}.window", "- {limit: 1000}", "is missing"),
    ),
    "negative limit": (
        (MONTH, "{limit: -1, window: month}"),
        (f"{MAILS}.limit", "limit: -1", "-1 is negative; at least 0"),
    ),
    "limit too large": (
        (MONTH, "{limit: 1000000000000001, window: month}"),
        (f"{MAILS}.limit", "0001", "is too large; at most 1000000000000000"),
    ),
    "limit with more digits than numbers have": (
        (MONTH, f"{{limit: {'9' * 5000}, window: month}}"),
        (f"{MAILS}.limit", "999", "write an integer or unlimited"),
    ),
    "text for a limit": (
        (MONTH, '{limit: "1000", window: month}'),
        (f"{MAILS}.limit", '"1000"', "is the text '1000'; write an integer or unlimited"),
    ),
    "octal for a limit": (
        (MONTH, "{limit: 0100, window: month}"),
        (f"{MAILS}.limit", "0100", "is the text '0100'"),
    ),
    "boolean for a limit": (
        (MONTH, "{limit: true, window: month}"),
        (f"{MAILS}.limit", "limit: true", "must be an integer, but is true"),
    ),
    "fraction for a limit": (
        (MONTH, "{limit: 1.0, window: month}"),
        (f"{MAILS}.limit", "limit: 1.0", "must be an integer, but is the number 1.0"),
    ),
    "unknown kind": (
        (MONTH, "{limit: 1, window: month, kind: firm}"),
        (f"{MAILS}.kind", "firm", "write one of 'hard' or 'soft'"),
    ),
    "no limits": (
        ("{limits: [{limit: 50000, kind: soft, window: {anniversary: month}}]}", "{limits: []}"),
        ("plans.pro.features.mails.limits", "limits: []", "is empty"),
    ),
    "limit that is no mapping": (
        (MONTH, "1000"),
        (MAILS, "- 1000", "must be a mapping, but is the number 1000"),
    ),
    "unknown feature type": (
        ("{type: boolean}", "{type: bool}"),
        ("features.own_domain.type", "type: bool", "write one of boolean, number, enum, metered"),
    ),
    "no feature type": (
        ("{type: boolean}", "{name: Domain}"),
        ("features.own_domain.type", "name: Domain", "is missing"),
    ),
    "feature that is no mapping": (
        ("{type: boolean}", "boolean"),
        ("features.own_domain", "own_domain: boolean", "must be a mapping, but is the text"),
    ),
    "unknown outage policy": (
        ("outage: deny", "outage: maybe"),
        ("features.contacts.outage", "maybe", "write leased, deny, allow, last_known"),
    ),
    "unknown excess policy": (
        ("outage: deny", "excess: maybe"),
        ("features.contacts.excess", "maybe", "write reject, take_available, overdraft"),
    ),
    "negative overdraft": (
        ("outage: deny", "excess: {overdraft: -1}"),
        ("features.contacts.excess.overdraft", "-1", "is negative"),
    ),
    "negative capacity": (
        ("safe_capacity: 100", "safe_capacity: -100"),
        ("features.mails.outage.safe_capacity", "-100", "is negative"),
    ),
    "number for a name": (
        ("name: Free", "name: 5"),
        ("plans.free.name", "name: 5", "must be text, but is the number 5"),
    ),
    "empty name": (
        ("name: Free", 'name: ""'),
        ("plans.free.name", 'name: ""', "is empty text"),
    ),
    "long name": (
        ("name: Free", f"name: {'x' * 129}"),
        ("plans.free.name", "xxx", "is longer than 128 characters"),
    ),
    "key without a value": (
        ("name: Free", "name:"),
        ("plans.free.name", "    name:", "has no value"),
    ),
    "address that is none": (
        ("https://example.com/free", "example.com/free"),
        ("plans.free.offer.url", "offer", "is not an address"),
    ),
    "id that is none": (
        ("catalog: mail", "catalog: my mail"),
        ("catalog", "catalog", "'my mail' is not an id; an id is 1 to 128 characters"),
    ),
    "feature id that is none": (
        ("  own_domain: {", "  own domain: {"),
        ("features.'own domain'", "own domain: {", "is not an id"),
    ),
    "no catalog id": (
        ("catalog: mail\n", ""),
        ("catalog", "description", "is missing"),
    ),
    "plans that are a list": (
        ("add_ons:", "add_ons: [1]\nx:"),
        ("add_ons", "add_ons", "must be a mapping, but is a list"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_error_with_path_and_line(case: str) -> None:
    replacement, (path, line_holds, problem) = CASES[case]
    text = changed(replacement)
    told_path, told_line, told_problem = error_of(text)
    assert told_path == path
    assert problem in told_problem
    assert "\n" not in told_problem
    assert told_line == line_with(text, line_holds)
