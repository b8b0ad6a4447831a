"""The desk where sidecars ask for shares of rates. Sans-I/O, and in memory alone.

A sidecar's shares end when nothing was heard of it for `ttl_ms`: it stopped to spend them before,
since it counts from when it asked. What a process before this one gave is not given again before
its time must have run out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

from control_plane.granting.desk import Session
from control_plane.granting.rate_account import RateAccount, Told
from control_plane.granting.work import RateSharesTold, ShareTold
from weighbridge.rules.rate_share import UNIT_LEVEL, RateClaim, RateKey, RateShare

FORGET_INTERVAL_MS: Final = 10_000


class HeldShare(NamedTuple):
    """A share that a hello says is held, and all of its rate."""

    key: RateKey
    share: RateShare
    whole: RateShare


class RateAck(NamedTuple):
    """What a sidecar says of a share: it has it as told, or (`has_ended`) gave it back."""

    key: RateKey
    serial: int
    returned: int
    has_ended: bool


class RateAsk(NamedTuple):
    """What a sidecar wants of a rate; `whole` is the rate as it has it, None: not looked at."""

    key: RateKey
    whole: RateShare | None
    claim: RateClaim


class RateRequest(NamedTuple):
    """What a sidecar says of rates."""

    acks: Sequence[RateAck]
    asks: Sequence[RateAsk]
    revision: int


class RateDelivery(NamedTuple):
    """A message for a session."""

    session: Session
    message: RateSharesTold


@dataclass(slots=True)
class _Seat:
    """A sidecar that may have shares; `session` None: it has no stream."""

    session: Session | None
    ends_ms: int
    keys: set[RateKey] = field(default_factory=set)


class RateDesk:
    """All rates that are shared out."""

    def __init__(self, ttl_ms: int) -> None:
        self._ttl_ms = ttl_ms
        self._accounts: dict[RateKey, RateAccount] = {}
        self._seats: dict[str, _Seat] = {}
        self._sidecars: dict[Session, str] = {}
        # Those that time alone may change.
        self._busy: set[RateKey] = set()
        self._serials = count(1)
        # Until when sidecars may have what a process before this one gave; None: there was none.
        self._fenced_until_ms: int | None = None
        self._is_fenced = False
        self._forgotten_ms = 0

    def __len__(self) -> int:
        """Return how many rates are known."""
        return len(self._accounts)

    @property
    def shares(self) -> int:
        """How many sidecars have or want a share, summed over all rates."""
        return sum(len(account.holders) for account in self._accounts.values())

    @property
    def is_busy(self) -> bool:
        """Whether something may be due soon."""
        return bool(self._busy) or self._is_fenced

    def fence(self, now_ms: int) -> None:
        """Begin as one that follows another: that one may have given everything away just now."""
        self._fenced_until_ms = now_ms + self._ttl_ms
        self._is_fenced = True

    def connect(
        self, session: Session, sidecar: str, held: Iterable[HeldShare], now_ms: int
    ) -> list[RateDelivery]:
        """Take in a hello: what it does not name has ended."""
        seat = self._seats.get(sidecar)
        if seat is None:
            seat = self._seats[sidecar] = _Seat(session, now_ms)
        elif seat.session is not None:
            self._sidecars.pop(seat.session, None)
        seat.session = session
        self._sidecars[session] = sidecar
        told: dict[RateKey, list[Told]] = defaultdict(list)
        shares = {each.key: each for each in held}
        for key in seat.keys - shares.keys():
            self._accounts[key].end(sidecar, now_ms)
            told[key] = []
        seat.keys.clear()
        # Where its time ran out before, others may have been given what it names.
        seat.ends_ms = now_ms + self._ttl_ms
        for key, share in shares.items():
            account = self._account(key, share.whole, now_ms)
            if self._is_fenced:
                account.adopt(sidecar, share.share, now_ms)
            told[key].append(account.keep(sidecar, share.share, now_ms))
            seat.keys.add(key)
        return self._share_out(told, now_ms)

    def disconnect(self, session: Session) -> None:
        """Drop a stream; what its sidecar has stays its own, until its time runs out."""
        sidecar = self._sidecars.pop(session, None)
        if sidecar is None:
            return
        seat = self._seats[sidecar]
        seat.session = None
        for key in seat.keys:
            self._accounts[key].lose_sight(sidecar)

    def renew(self, session: Session, now_ms: int) -> None:
        """Extend the time of a sidecar's shares."""
        sidecar = self._sidecars.get(session)
        if sidecar is not None:
            self._seats[sidecar].ends_ms = now_ms + self._ttl_ms

    def request(self, session: Session, request: RateRequest, now_ms: int) -> list[RateDelivery]:
        """Take in what a sidecar says of rates."""
        sidecar = self._sidecars.get(session)
        if sidecar is None:
            # A newer stream of it took over.
            return []
        told: dict[RateKey, list[Told]] = {}
        for ack in request.acks:
            account = self._accounts.get(ack.key)
            if account is not None:
                note = account.given_back if ack.has_ended else account.acknowledged
                note(sidecar, ack.serial, ack.returned, now_ms)
                told[ack.key] = []
        for ask in request.asks:
            account = self._accounts.get(ask.key)
            if account is None and ask.whole is not None:
                account = self._account(ask.key, ask.whole, now_ms)
            if account is None:
                continue
            if ask.whole is not None:
                account.redefine(ask.whole, request.revision, now_ms)
            account.claim(sidecar, ask.claim, now_ms)
            self._seats[sidecar].keys.add(ask.key)
            told[ask.key] = []
        return self._share_out(told, now_ms)

    def tick(self, now_ms: int) -> list[RateDelivery]:
        """Do what is due: to be called often where `is_busy`, else each second."""
        told: dict[RateKey, list[Told]] = {key: [] for key in self._busy}
        if self._is_fenced and now_ms >= (self._fenced_until_ms or 0):
            self._is_fenced = False
            for key, account in self._accounts.items():
                account.lift_fence(now_ms)
                told[key] = []
        for sidecar, seat in tuple(self._seats.items()):
            if seat.ends_ms > now_ms:
                continue
            for key in seat.keys:
                self._accounts[key].end(sidecar, now_ms)
                told[key] = []
            seat.keys.clear()
            if seat.session is None:
                del self._seats[sidecar]
        deliveries = self._share_out(told, now_ms)
        if now_ms - self._forgotten_ms >= FORGET_INTERVAL_MS:
            self._forgotten_ms = now_ms
            self._forget_full(now_ms)
        return deliveries

    def _account(self, key: RateKey, whole: RateShare, now_ms: int) -> RateAccount:
        account = self._accounts.get(key)
        if account is None:
            level = self._first_level(whole, now_ms)
            account = self._accounts[key] = RateAccount(whole, level, self._serials, now_ms)
            if self._is_fenced:
                account.fence()
        return account

    def _first_level(self, whole: RateShare, now_ms: int) -> int:
        """Return what a rate has that nobody asked for so far: what came back at least."""
        full = whole.burst * UNIT_LEVEL
        if self._fenced_until_ms is None:
            return full
        return min(full, whole.parts * max(now_ms - self._fenced_until_ms, 0))

    def _share_out(self, told: dict[RateKey, list[Told]], now_ms: int) -> list[RateDelivery]:
        shares: dict[str, list[ShareTold]] = defaultdict(list)
        for key, news in told.items():
            account = self._accounts[key]
            for each in [*news, *account.share_out(now_ms)]:
                retry_ms = each.retry_in_ms and self._retry_ms(each.retry_in_ms, now_ms)
                share = ShareTold(key, each.serial, each.share, each.added, retry_ms)
                shares[each.sidecar].append(share)
            self._note_busy(key, account)
        deliveries = []
        for sidecar, given in shares.items():
            session = self._seats[sidecar].session
            if session is not None:
                given.sort(key=lambda share: share.serial)
                deliveries.append(RateDelivery(session, RateSharesTold(tuple(given))))
        return deliveries

    def _retry_ms(self, retry_ms: int, now_ms: int) -> int:
        if self._is_fenced and self._fenced_until_ms is not None:
            return max(self._fenced_until_ms - now_ms, retry_ms)
        return retry_ms

    def _note_busy(self, key: RateKey, account: RateAccount) -> None:
        if account.is_busy:
            self._busy.add(key)
        else:
            self._busy.discard(key)

    def _forget_full(self, now_ms: int) -> None:
        for key, account in tuple(self._accounts.items()):
            is_as_new = account.is_full(now_ms) and not self._is_fenced
            if is_as_new and self._first_level(account.whole, now_ms) == (
                account.whole.burst * UNIT_LEVEL
            ):
                del self._accounts[key]
                self._busy.discard(key)
                for seat in self._seats.values():
                    seat.keys.discard(key)
