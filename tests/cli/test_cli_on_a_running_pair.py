"""Every command against `weighbridge up`, as a script would use it."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest
from running_pair import CommandLine, Outcome, Up, catalog_text

from weighbridge.cli.exit_codes import ExitCode


def test_up_says_where_everything_is(up: Up) -> None:
    directory = Path(up.addresses["data_dir"])
    written = json.loads((directory / "addresses.json").read_text(encoding="utf-8"))
    assert written == up.addresses
    for name in ("admin_token_file", "sync_token_file"):
        assert stat.S_IMODE(Path(up.addresses[name]).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_check_consume_and_usage(cli: CommandLine) -> None:
    cli.make_customer("ask")
    checked = cli("check", "ask", "api.calls", "--amount", "10", "--json")
    assert checked.exit_code == ExitCode.OK
    assert checked.json["decision"]["allowed"] is True

    consumed = cli("consume", "ask", "api.calls", "--amount", "10", "--json")
    assert consumed.exit_code == ExitCode.OK
    assert consumed.json["receipt"]["amount"] == 10
    assert consumed.json["decision"]["remaining"] == 0

    refused = cli("consume", "ask", "api.calls", "--json")
    assert refused.exit_code == ExitCode.NO
    decision = refused.json["decision"]
    assert decision["reason"] == "LIMIT_REACHED"
    assert decision["upgrade_hints"][0]["plan"] == "pro"
    assert refused.json["receipt"] is None

    cli.wait_for_usage("ask", 10)


def test_decisions_as_people_read_them(cli: CommandLine) -> None:
    cli.make_customer("reader")
    allowed = cli("consume", "reader", "api.calls", "--amount", "4")
    assert "allowed" in allowed.out
    assert "recorded" in allowed.out
    assert "units leased to this sidecar" in allowed.out
    assert "at most 0" in allowed.out
    partly = cli("consume", "reader", "api.calls", "--amount", "8")
    assert partly.exit_code == ExitCode.NO
    assert "allowed amount" in partly.out
    told = cli("check", "reader", "api.calls", "--amount", "8", "--json").json["decision"]
    assert (told["allowed_amount"], told["max_overshoot"]) == (6, 0)
    refused = cli("check", "reader", "exports")
    assert refused.exit_code == ExitCode.NO
    assert "refused: FEATURE_NOT_IN_PLAN" in refused.out
    assert "Pro has a million calls." in refused.out
    value = cli("check", "reader", "models", "--value", "large")
    assert "refused: VALUE_NOT_ALLOWED" in value.out


def test_a_key_counts_once_and_belongs_to_its_payload(cli: CommandLine) -> None:
    cli.make_customer("keyed")
    ask = ("consume", "keyed", "api.calls", "--key", "order-1", "--json")
    assert cli(*ask).json["replayed"] is False
    assert cli(*ask).json["replayed"] is True
    other = cli(*ask, "--amount", "2")
    assert other.exit_code == ExitCode.CONFLICT
    assert json.loads(other.err)["error"]["code"] == "CONFLICT"
    cli.wait_for_usage("keyed", 1)


def test_invalid_requests_name_the_field(cli: CommandLine) -> None:
    cli.make_customer("fields")
    refused = cli("consume", "fields", "api.calls", "--amount", "-1")
    assert refused.exit_code == ExitCode.INVALID
    assert refused.err.startswith("error: amount: ")
    assert cli("check", "", "api.calls").err.startswith("error: customer: ")


def test_unknown_customer(cli: CommandLine) -> None:
    asked = cli("check", "nobody", "api.calls", "--json")
    assert asked.exit_code == ExitCode.NO
    assert asked.json["decision"]["reason"] == "CUSTOMER_UNKNOWN"
    assert cli("customer", "get", "nobody").exit_code == ExitCode.NOT_FOUND


def test_report(cli: CommandLine) -> None:
    cli.make_customer("late")
    reported = cli("report", "late", "api.calls", "--amount", "25", "--at", "1h", "--json")
    assert reported.exit_code == ExitCode.OK
    assert reported.json["receipt"]["amount"] == 25
    cli.wait_for_usage("late", 25)
    by_day = cli("usage", "--customer", "late", "--from", "2d", "--group-by", "day", "--json")
    assert sum(row["amount"] for row in by_day.json["rows"]) == 25
    assert cli("usage", "--customer", "late", "--to", "1d", "--json").json["rows"] == []


def test_report_a_file_twice_counts_once(cli: CommandLine, tmp_path: Path) -> None:
    cli.make_customer("batch")
    file = tmp_path / "usage.csv"
    rows = [f"batch,api.calls,{amount},small" for amount in range(1, 101)]
    header = "customer,feature,amount,dimension.model"
    file.write_text("\n".join([header, *rows]), encoding="utf-8")
    send = ("report", "--file", str(file), "--key-prefix", "import-1", "--json")
    assert cli(*send).json == {"lines": 100, "replayed": 0, "amount": 5050}
    assert cli(*send).json == {"lines": 100, "replayed": 100, "amount": 5050}
    cli.wait_for_usage("batch", 5050)


def test_report_a_file_with_a_line_that_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("customer,feature,amount\nacme,api.calls,1\n,api.calls,1\n", "utf-8")
    sent = cli("report", "--file", str(file))
    assert sent.exit_code == ExitCode.INVALID
    assert sent.err.startswith(f"error: {file}:3: customer: ")


def test_migration_history_rollback_pin_and_follow(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"

    def apply(limit: int, *arguments: str) -> Outcome:
        file.write_text(catalog_text(limit, "versions"), encoding="utf-8")
        return cli("catalog", "apply", str(file), "--yes", *arguments)

    apply(10)
    cli("customer", "create", "pinned", "--catalog", "versions", "--plan", "free")
    assert cli("subscription", "pin", "pinned").exit_code == ExitCode.OK
    cli("customer", "create", "old", "--catalog", "versions", "--plan", "free")
    assert apply(20, "--migration", "free=new_customers").exit_code == ExitCode.OK
    assert "does not change" in apply(30, "--migration", "pro=now").err
    assert apply(30, "--migration", "sometime").exit_code == ExitCode.USAGE
    cli.wait_until_allowed("old", "api.calls", 10)
    assert cli("check", "old", "api.calls", "--amount", "20").exit_code == ExitCode.NO
    followed = cli("subscription", "follow", "old", "--json").json["customer"]
    assert followed["subscriptions"][0]["plan_version"] is None
    cli.wait_until_allowed("old", "api.calls", 20)

    history = cli("catalog", "history", "versions", "--limit", "1")
    assert "free 2 (new_customers)" in history.out
    assert "--page-token 1" in history.out
    assert cli("catalog", "rollback", "versions", "1").exit_code == ExitCode.USAGE
    rolled = cli("catalog", "rollback", "versions", "1", "--yes", "--json")
    assert rolled.json["version"] == 3
    versions = cli("catalog", "history", "versions", "--json").json["versions"]
    assert [(each["version"], each["restores"]) for each in versions] == [(3, 1), (2, 0), (1, 0)]
    kept = cli("customer", "get", "pinned", "--json").json["customer"]["subscriptions"]
    assert kept[0]["plan_version"] == 1


def test_whoever_applies_second_is_told_what_changed(cli: CommandLine, tmp_path: Path) -> None:
    mine, yours = tmp_path / "mine.yaml", tmp_path / "yours.yaml"
    mine.write_text(catalog_text(10, "shared"), encoding="utf-8")
    assert cli("catalog", "apply", str(mine), "--yes").exit_code == ExitCode.OK
    # Both are compared with version 1 before either is applied.
    mine.write_text(catalog_text(20, "shared"), encoding="utf-8")
    yours.write_text(catalog_text(30, "shared"), encoding="utf-8")
    second = cli("catalog", "apply", str(mine), str(yours), "--yes")
    assert second.exit_code == ExitCode.CONFLICT
    assert "limits.month.limit changed from 10 to 20" in second.err
    assert "catalog history shared --changes" in second.err
    assert "of the files before it, shared is at version 2" in second.err
    history = cli("catalog", "history", "shared", "--changes")
    assert "10 -> 20" in history.out
    assert "10 -> 30" not in history.out


def test_the_life_of_a_subscription(cli: CommandLine) -> None:
    cli.make_customer("living", "pro")
    later = cli("subscription", "set", "living", "free", "--when", "period_end", "--json")
    now, then = later.json["customer"]["subscriptions"]
    assert now["ends_at_unix_ms"] == then["starts_at_unix_ms"]
    assert "free" in cli("customer", "get", "living").out
    kept = cli("subscription", "set", "living", "pro", "--quantity", "4", "--json")
    (subscription,) = kept.json["customer"]["subscriptions"]
    assert (subscription["quantity"], subscription["ends_at_unix_ms"]) == (4, None)

    paused = cli("subscription", "pause", "living", "--until", "+1d")
    assert "paused until" in paused.out
    cli.wait_until_refused("living", "api.calls", "NO_ACTIVE_SUBSCRIPTION")
    assert cli("subscription", "past-due", "living", "--until", "+7d").exit_code == ExitCode.OK
    cli.wait_until_allowed("living", "api.calls", 1)
    assert cli("subscription", "resume", "living").exit_code == ExitCode.OK
    trial = cli(
        "subscription", "set", "living", "free", "--trial-days", "3", "--trial-at-end", "cancel"
    )
    assert "active trial" in trial.out
    gone = cli("subscription", "cancel", "living", "--when", "period_end", "--json")
    assert gone.json["customer"]["subscriptions"][0]["is_trial"] is True


def test_plan_change_reaches_the_sidecar(cli: CommandLine) -> None:
    cli.make_customer("climber")
    changed = cli("subscription", "set", "climber", "pro", "--add-on", "seat=3", "--json")
    (subscription,) = changed.json["customer"]["subscriptions"]
    assert subscription["add_ons"] == [{"add_on": "seat", "quantity": 3}]
    cli.wait_for_plan("climber", "pro")
    assert cli("check", "climber", "seats", "--amount", "8").exit_code == ExitCode.OK
    assert cli("check", "climber", "seats", "--amount", "9").exit_code == ExitCode.NO
    assert cli("subscription", "cancel", "climber").exit_code == ExitCode.OK
    cli.wait_for_plan("climber", "")
    refused = cli("check", "climber", "seats", "--json").json["decision"]
    assert refused["reason"] == "NO_ACTIVE_SUBSCRIPTION"


def test_overrides(cli: CommandLine) -> None:
    cli.make_customer("special")
    limit = ("override", "set", "special", "api.calls", "--limit", "month=50")
    made = cli(*limit, "--expires", "+30d", "--json")
    (override,) = made.json["customer"]["overrides"]
    assert override["entitlement"]["limits"][0]["limit"] == 50
    cli.wait_until_allowed("special", "api.calls", 50)
    assert cli("check", "special", "api.calls", "--amount", "51").exit_code == ExitCode.NO
    assert cli("override", "remove", "special", "api.calls").exit_code == ExitCode.OK
    again = cli("override", "remove", "special", "api.calls")
    assert again.exit_code == ExitCode.NOT_FOUND


def test_archive_revoke_activate(cli: CommandLine) -> None:
    cli.make_customer("leaver")
    for command, status, reason in (
        ("archive", "ARCHIVED", "CUSTOMER_ARCHIVED"),
        ("revoke", "REVOKED", "REVOKED"),
    ):
        assert cli("customer", command, "leaver", "--json").json["customer"]["status"] == status
        cli.wait_until_refused("leaver", "api.calls", reason)
    assert cli("customer", "activate", "leaver").exit_code == ExitCode.OK
    cli.wait_until_allowed("leaver", "api.calls", 1)


def test_resources(cli: CommandLine) -> None:
    cli.make_customer("group")
    added = cli("customer", "add-resource", "group", "staging", "--json")
    assert added.json["customer"]["resources"] == ["staging"]
    subscribed = cli("subscription", "set", "group", "pro", "--resource", "staging")
    assert subscribed.exit_code == ExitCode.OK
    cli.wait_until_allowed("group", "exports", None, "--resource", "staging")
    assert cli("check", "group", "exports").exit_code == ExitCode.NO


def test_create_customers_from_a_file(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "id,name,catalog,plan,resources\nf-1,One,shop,free,\nf-2,Two,shop,pro,a b\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert cli("customer", "create", "--file", "-", "--json").json == {"created": 2}
    second = cli("customer", "get", "f-2", "--json").json["customer"]
    assert (second["name"], second["resources"]) == ("Two", ["a", "b"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("id,catalog\nf-3,shop\nf-1,shop\n"))
    taken = cli("customer", "create", "--file", "-")
    assert taken.exit_code == ExitCode.CONFLICT
    assert taken.err.startswith("error: -:3: ")
    assert "1 customers were made before it" in taken.err


def test_list_customers_by_page(cli: CommandLine) -> None:
    for number in range(3):
        cli("customer", "create", f"page-{number}", "--catalog", "shop")
    first = cli("customer", "list", "--limit", "2", "--json").json
    assert len(first["customers"]) == 2
    token = first["next_page_token"]
    rest = cli("customer", "list", "--limit", "0", "--page-token", token, "--json").json
    assert rest["next_page_token"] is None
    ids = [customer["id"] for customer in (*first["customers"], *rest["customers"])]
    assert ids == sorted(set(ids))
    assert {"page-0", "page-1", "page-2"} <= set(ids)
    shown = cli("customer", "list", "--limit", "1")
    assert "There are more: --page-token" in shown.out


def test_names_cannot_steer_the_terminal(cli: CommandLine) -> None:
    name = "\N{ESCAPE}]0;owned\N{BELL}[bold]"
    cli("customer", "create", "evil", "--catalog", "shop", "--name", name)
    shown = cli("customer", "get", "evil").out
    assert "\N{ESCAPE}" not in shown
    assert "[bold]" in shown


def test_catalog_diff_apply_show(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "plans.yaml"
    file.write_text(catalog_text(catalog="plans"), encoding="utf-8")
    new = cli("catalog", "diff", "--exit-code", str(file), "--json")
    assert new.exit_code == ExitCode.NO
    assert new.json["catalogs"][0]["current_version"] == 0

    asked = cli("catalog", "apply", str(file))
    assert asked.exit_code == ExitCode.USAGE
    assert "--yes" in asked.err
    applied = cli("catalog", "apply", "--yes", str(file), "--json")
    assert applied.json["catalogs"][0]["version"] == 1

    cli("customer", "create", "planner", "--catalog", "plans", "--plan", "free")
    file.write_text(catalog_text(limit=20, catalog="plans"), encoding="utf-8")
    changed = cli("catalog", "diff", str(file))
    assert changed.exit_code == ExitCode.OK
    assert "customers affected: 1 (planner)" in changed.out
    applied_again = cli("catalog", "apply", "-y", str(file))
    assert "plans: version 2 is current" in applied_again.out
    unchanged = cli("catalog", "apply", str(file))
    assert unchanged.exit_code == ExitCode.OK
    assert "nothing changes (version 2)" in unchanged.out

    shown = cli("catalog", "show", "plans", "--version", "1")
    assert "10 (hard, calendar month)" in shown.out
    document = cli("catalog", "show", "plans", "--document")
    assert document.out == file.read_text(encoding="utf-8")
    listed = cli("catalog", "list", "--json").json["catalogs"]
    assert {each["catalog"]: each["version"] for each in listed}["plans"] == 2


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_apply_asks_at_a_terminal(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "asked.yaml"
    file.write_text(catalog_text(catalog="asked"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    refused = cli("catalog", "apply", str(file))
    assert refused.exit_code == ExitCode.NO
    assert refused.err.endswith("error: nothing was applied\n")
    assert cli("catalog", "show", "asked").exit_code == ExitCode.NOT_FOUND
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert "asked: version 1 is current" in cli("catalog", "apply", str(file)).out


def test_bad_catalogs_are_told_with_file_line_and_path(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(catalog_text(catalog="bad") + "colour: blue\n", encoding="utf-8")
    refused = cli("catalog", "apply", "--yes", str(file))
    assert refused.exit_code == ExitCode.INVALID
    assert f"{file}:" in refused.err
    assert "colour" in refused.err
    assert refused.err.count("\n") == 1
    assert cli("catalog", "show", "bad").exit_code == ExitCode.NOT_FOUND


def test_watch_prints_a_line_per_change(cli: CommandLine) -> None:
    cli.make_customer("watched")
    watched = cli("watch", "watched", "--count", "1", "--json")
    assert watched.exit_code == ExitCode.OK
    assert watched.json["customer"] == "watched"
    shown = cli("watch", "watched", "--count", "1").out
    assert "api.calls" in shown


def test_entitlements_as_people_read_them(cli: CommandLine) -> None:
    cli.make_customer("owner", "pro")
    shown = cli("entitlements", "owner").out
    assert "pro (version 1)" in shown
    assert "small, large" in shown
    assert "month (soft, calendar month)" in shown


def test_wrong_token(cli: CommandLine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wb_this_is_nobodys_token\n", encoding="ascii")
    refused = cli("catalog", "list", "--token-file", str(token))
    assert refused.exit_code == ExitCode.UNAUTHENTICATED
    assert "wb_this_is_nobodys_token" not in refused.err


def test_by_unix_socket(cli: CommandLine, up: Up) -> None:
    cli.make_customer("local")
    asked = cli("check", "local", "api.calls", "--sidecar", up.addresses["sidecar_socket"])
    assert asked.exit_code == ExitCode.OK


def test_doctor_on_a_healthy_pair(cli: CommandLine, up: Up) -> None:
    examined = cli("doctor", "--data-dir", up.addresses["data_dir"], "--json")
    bad = [check for check in examined.json["checks"] if check["level"] != "ok"]
    assert bad == []
    assert examined.json["well"] is True
    assert examined.exit_code == ExitCode.OK
    seen = {check["check"] for check in examined.json["checks"]}
    assert {"control plane", "sidecar", "sidecars connected", "wall clocks"} <= seen


def test_doctor_says_what_to_do(cli: CommandLine, up: Up) -> None:
    examined = cli(
        "doctor",
        *("--data-dir", up.addresses["data_dir"], "--timeout", "0.5"),
        *("--sidecar", "127.0.0.1:1", "--sidecar-probes", "127.0.0.1:1"),
    )
    assert examined.exit_code == ExitCode.NO
    assert "127.0.0.1:1 does not answer" in examined.out
    assert "-> start it: weighbridge up" in examined.out
