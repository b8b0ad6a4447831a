"""Exports and external ids on the command line."""

from __future__ import annotations

from running_pair import CommandLine

from weighbridge.cli.exit_codes import ExitCode


def test_customers_have_names_elsewhere(cli: CommandLine) -> None:
    cli.make_customer("named")
    cli.make_customer("other")
    assert cli("external-id", "set", "named", "stripe", "cus_1").exit_code == ExitCode.OK
    assert cli("external-id", "set", "named", "stripe", "cus_2").exit_code == ExitCode.OK
    assert cli("external-id", "set", "named", "crm", "0017").exit_code == ExitCode.OK
    listed = cli("external-id", "list", "--customer", "named", "--json").json["external_ids"]
    assert [(each["system"], each["external_id"]) for each in listed] == [
        ("crm", "0017"),
        ("stripe", "cus_2"),
    ]
    taken = cli("external-id", "set", "other", "stripe", "cus_2")
    assert taken.exit_code == ExitCode.CONFLICT
    assert "customer 'named'" in taken.err
    assert cli("external-id", "remove", "named", "stripe").exit_code == ExitCode.OK
    assert cli("external-id", "set", "other", "stripe", "cus_2").exit_code == ExitCode.OK
    wrong = cli("external-id", "set", "other", "Not A System", "x")
    assert (wrong.exit_code, "system: " in wrong.err) == (ExitCode.INVALID, True)


def test_without_exporters_it_says_so(cli: CommandLine) -> None:
    assert "no exporters are configured" in cli("export", "list").out
    missing = cli("export", "run", "billing", "--dry-run")
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert "there are: none" in missing.err


def test_without_imports_nothing_is_kept(cli: CommandLine) -> None:
    assert "no events" in cli("import", "list", "--state", "set-aside").out
    assert cli("import", "replay", "--all", "--json").json == {"events": []}
    assert cli("import", "replay", "evt_1").exit_code == ExitCode.NOT_FOUND
    assert cli("import", "replay").exit_code == ExitCode.USAGE
