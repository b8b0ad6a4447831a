"""The application of the tour: a process of its own that knows only the sidecar's gRPC port.

Usage: tour_client.py HOST:PORT first|upgraded|changed. Prints one JSON line per step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

from tour_steps import (
    FIRST_STEPS,
    STEPS_AFTER_UPGRADE,
    STEPS_AROUND_CHANGE,
    SUBSCRIBERS,
    UPGRADED,
    Step,
    Subscriber,
)

from weighbridge import Decision, SyncClient

WAIT_S: Final = 20.0
PAUSE_S: Final = 0.005


def wait_until_pushed(client: SyncClient, subscribers: Iterable[Subscriber]) -> None:
    """Wait until the sidecar has every customer on its plan."""
    deadline_s = time.monotonic() + WAIT_S
    for subscriber in subscribers:
        while client.entitlements(subscriber.customer).plan != subscriber.plan:
            if time.monotonic() > deadline_s:
                sys.exit(f"{subscriber.customer} did not reach the sidecar within {WAIT_S:g} s")
            time.sleep(PAUSE_S)


def run(client: SyncClient, step: Step) -> dict[str, Any]:
    """Make the call of a step and return what was answered."""
    if step.call == "report":
        receipt = client.report(step.customer, step.feature, step.recorded)
        return {"allowed": True, "overage": receipt.overage_amount}
    if step.call == "check":
        decision = client.check(step.customer, step.feature, step.amount, value=step.value)
    else:
        amount = 1 if step.amount is None else step.amount
        answer = client.consume(step.customer, step.feature, amount, dimensions=step.dimensions)
        decision = answer.decision
    return outcome(decision)


def go_through_change(client: SyncClient) -> None:
    """Ask, go on asking until the answer is another one, and do what passes then."""
    check, consume = STEPS_AROUND_CHANGE
    print(json.dumps(run(client, check)), flush=True)
    deadline_s = time.monotonic() + WAIT_S
    while not run(client, check)["allowed"]:
        if time.monotonic() > deadline_s:
            sys.exit(f"the answer stayed the same for {WAIT_S:g} s")
        time.sleep(PAUSE_S)
    changed_s = time.monotonic()
    print(json.dumps({**run(client, consume), "changed_s": changed_s}), flush=True)


def outcome(decision: Decision) -> dict[str, Any]:
    """Return what the tour looks at."""
    return {
        "allowed": decision.allowed,
        "reason": decision.reason.name if decision.reason else "",
        "overage": decision.overage_amount,
        "upgrades": {
            str(hint.plan or hint.add_on): hint.message for hint in decision.upgrade_hints
        },
    }


def main() -> None:
    """Run the steps of one part of the tour."""
    address, part = sys.argv[1:]
    is_first = part == "first"
    with SyncClient(address, timeout_s=5.0) as client:
        if part == "changed":
            go_through_change(client)
            return
        wait_until_pushed(client, SUBSCRIBERS if is_first else [UPGRADED])
        for step in FIRST_STEPS if is_first else STEPS_AFTER_UPGRADE:
            print(json.dumps(run(client, step)), flush=True)


if __name__ == "__main__":
    main()
