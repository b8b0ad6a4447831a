"""Reservations from the command line, on a running pair."""

from __future__ import annotations

from running_pair import CommandLine


def test_a_reservation_from_the_command_line(cli: CommandLine) -> None:
    cli.make_customer("holder", "pro")
    held = cli("reserve", "holder", "api.calls", "100", "--reservation", "job", "--ttl", "5m")
    assert held.exit_code == 0, held.err
    assert "job" in held.out
    assert "100" in held.out
    again = cli("reserve", "holder", "api.calls", "100", "--reservation=job", "--ttl=5m", "--json")
    assert again.json["replayed"]
    shown = cli("entitlements", "holder", "--json").json["entitlements"]["features"]
    (calls,) = [each for each in shown if each["feature"] == "api.calls"]
    assert (calls["limits"][0]["used"], calls["limits"][0]["reserved"]) == (100, 100)
    assert "reserved" in cli("entitlements", "holder").out
    extended = cli("extend", "holder", "job", "--amount", "150", "--ttl", "90s", "--json")
    assert extended.json["reservation"]["amount"] == 150
    settled = cli("settle", "holder", "job", "160")
    assert settled.exit_code == 0, settled.err
    assert "beyond the hold" in settled.out
    assert cli("settle", "holder", "job", "161").exit_code == 5
    assert cli("release", "holder", "job").exit_code == 4
    other = cli("reserve", "holder", "api.calls", "10", "--json").json["reservation"]["id"]
    released = cli("release", "holder", other)
    assert released.exit_code == 0, released.err
    assert "10" in released.out
    assert cli("release", "holder", other, "--json").json["replayed"]
    cli.wait_for_usage("holder", 160)


def test_what_is_refused_or_wrong(cli: CommandLine) -> None:
    cli.make_customer("refused", "pro")
    assert cli("reserve", "refused", "nothing", "1").exit_code == 1
    assert cli("reserve", "refused", "api.calls", "1", "--ttl", "soon").exit_code == 2
    assert cli("reserve", "refused", "api.calls", "1", "--ttl", "2d").exit_code == 3
    assert cli("extend", "refused", "unknown", "--amount", "5").exit_code == 4
