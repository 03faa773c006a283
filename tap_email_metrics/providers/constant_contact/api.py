"""The API object of the Constant Contact streams: client, campaigns, privileges."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from typing_extensions import override

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Fatal,
    Gone,
    InvalidInput,
    Skippable,
    TapError,
    Unavailable,
)
from tap_email_metrics.providers.constant_contact.auth import (
    ConstantContactAuthenticator,
)
from tap_email_metrics.providers.constant_contact.campaign_snapshot import by_campaign
from tap_email_metrics.providers.constant_contact.campaigns import CampaignCache
from tap_email_metrics.providers.constant_contact.client import (
    ConstantContactClient,
    parse_page,
)
from tap_email_metrics.providers.constant_contact.observers import OBSERVERS
from tap_email_metrics.providers.constant_contact.readings import Readings
from tap_email_metrics.providers.constant_contact.settings import (
    SUMMARY,
    ConstantContactSettings,
)
from tap_email_metrics.providers.constant_contact.tokens import (
    NoStore,
    TokenStore,
    owner_fingerprint,
    seed_fingerprint,
)
from tap_email_metrics.records.values import is_id
from tap_email_metrics.run.api import Api
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.workers import in_background
from tap_email_metrics.state.plans import Parent, Policy
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_email_metrics.records.values import Row
    from tap_email_metrics.run.api import ApiContext
    from tap_email_metrics.state.streams import StreamState

Result = TypeVar("Result")

PRIVILEGES = "/account/user/privileges"
ACCOUNT_ID = "encoded_account_id"
UNKNOWN_OWNER = (
    "Constant Contact: it is not known at present which account the new refresh token "
    "belongs to ({}). The state is of a known account, so nothing is read. The next "
    "run asks again"
)
UNTOLD_OWNER = (
    f"Constant Contact: GET {SUMMARY} is denied, so it is not known whether the "
    "refresh token belongs to the account of the state. Authorise again with the scope "
    "account_read: tap-email-metrics-login asks for it"
)
OTHER_LOGIN = (
    "Constant Contact: {} has the login of another constant_contact.account than the "
    "settings. Give each account its own token_store and run tap-email-metrics-login "
    "with its settings. If the account only has a new name, run it once more"
)
OVERLAP = 3600.0
"""Seconds before the start of the last run for which changes are requested again."""


@dataclass(frozen=True, slots=True)
class Emails:
    """Campaigns of the account, including drafts.

    Attributes:
        rows: the rows in the order of the response.
        is_listed: the response has a list; without one, `rows` is empty.
    """

    rows: list[Row]
    is_listed: bool


class ConstantContactApi(Api[ConstantContactSettings]):
    """Shared by the Constant Contact streams of one run.

    Attributes:
        campaign_cache: the campaigns; call `campaigns` to read it first.
        nameless_contacts: number of contacts that were listed without a usable id.
    """

    name = "constant_contact"
    headroom = 0.02
    observers = OBSERVERS

    def __init__(self, settings: ConstantContactSettings, context: ApiContext) -> None:
        super().__init__(settings, context)
        control = context.control
        path = settings.token_store
        former = settings.former_store
        self._context = context
        self._fingerprint = settings.fingerprint(self.name)
        self._seed = seed_fingerprint(settings.refresh_token)
        self._store = (
            NoStore(self._remembered_owner())
            if path is None
            else TokenStore(path, former)
        )
        self._authenticator = ConstantContactAuthenticator(
            settings, self._store, context.transport, control
        )
        self._client = ConstantContactClient(
            settings.api_url, self._authenticator, self.limits, control, self._http
        )
        self.campaign_cache = CampaignCache(
            self.client,
            context.memory,
            self.policy,
            self.now,
            self._all_emails,
            backfill=context.common.backfill,
        )
        self._lock = threading.Lock()
        self._looked = False
        self._failure: TapError | None = None
        self._emails: dict[str | None, Emails] = {}
        self._readings: Readings | None = None
        self._contacts: list[str] | None = None
        self._deleted: set[str] = set()
        states = context.memory.selected.values()
        self._last_run = max((one.checked_through or 0.0 for one in states), default=0)
        self.nameless_contacts = 0
        self._is_counted = False
        self._dead: Fatal | None = None
        self._is_identified = False
        self._summary: Row | None = None
        self._privileges: frozenset[str] | None = None

    @property
    @override
    def client(self) -> ConstantContactClient:
        return self._client

    @override
    def now(self) -> float:
        """Return this machine's time, or the API's; see the base.

        If the API's clock is days ahead, the state tells which one is wrong: this
        machine's, only if an earlier run has seen a later time.
        """
        moment, own = super().now(), self._control.clock.now()
        return moment if own < self._last_run else min(moment, own)

    @cached_property
    @override
    def policy(self) -> Policy:
        window = self.settings.activity_window_days * DAY
        start = self.common.start
        return Policy(
            window=window,
            floor=0.0 if start is None else max(0.0, start - window),
        )

    @override
    def close(self) -> None:
        self._authenticator.close()
        super().close()

    # Reading

    def wait(self, work: Callable[[], Result]) -> Result:
        """Run a function in another thread, so that this one notices a signal.

        Raises:
            Unavailable: the account's token, user or app may not read this.
        """
        self._identify()
        try:
            return self._in_background(work)
        except Denied as error:
            raise self.explain(error) from error

    def _in_background(self, work: Callable[[], Result]) -> Result:
        return in_background(work, self._control.stop, self._control.idle)

    def check(self) -> None:
        """Do nothing, unless it is known that no request can succeed.

        Raises:
            AuthenticationFailed: the app is denied everything, gets no token, or the
                token belongs to another account than the state.
            Fatal: it is not known which account the token belongs to.
        """
        failure = self._dead or self._authenticator.failure
        if failure:
            raise failure

    def listing(
        self,
        template: str,
        field: str,
        params: Mapping[str, int | str],
        tries: int = 6,
        *,
        may_lack: bool = False,
    ) -> list[Row]:
        """Return all rows of a list.

        Args:
            template: path of the list.
            field: field of the response that holds the rows.
            params: the query of the first page.
            tries: total number of tries.
            may_lack: a response without a list counts as an empty list.

        Raises:
            Skippable: the list cannot be read.
            Unavailable: access to the list is denied.
        """
        rows = partial(self.client.rows, template, params=params, field=field)
        return self.wait(partial(rows, may_lack=may_lack, tries=tries))

    def campaigns(self) -> CampaignCache:
        """Return the campaigns with their counters; they are read once per run.

        Raises:
            TapError: the campaigns cannot be read; every later call raises it again.
        """
        if self._failure:
            raise self._failure
        if not self._looked:
            try:
                cache = self.campaign_cache
                cache.take(self.wait(cache.read))
                self.nameless = len(cache.snapshot.nameless)
            except Unavailable as error:
                self._failure = error
                raise  # `raise error from error` would lose the cause
            except (Fatal, Skippable) as error:
                self._failure = _for_all_streams(error)
                raise self._failure from error
            self._looked = True
        return self.campaign_cache

    @override
    def parents(self) -> Sequence[Parent[str]]:
        return self.campaigns().parents()

    def readings(self, state: StreamState[Any, Any]) -> Readings:
        """Return the readings of snapshot lists that still need a record."""
        if self._readings is None:
            self._readings = Readings(state)
        return self._readings

    def emails(self, after: str | None, *, may_lack: bool) -> Emails:
        """Return the campaigns that changed after an instant; read once per run.

        Args:
            after: the instant; None for all campaigns.
            may_lack: a response without a list counts as an empty list.

        Raises:
            Skippable: the campaigns cannot be read.
            Unavailable: access to the campaigns is denied.
        """
        return self.wait(partial(self._read_emails, after, may_lack=may_lack))

    def _all_emails(self) -> list[Row]:
        return self._read_emails(None, may_lack=False).rows

    def _read_emails(self, after: str | None, *, may_lack: bool) -> Emails:
        found = self._emails.get(after)
        if found is None or not (found.is_listed or may_lack):
            params: dict[str, int | str] = {"limit": 500}
            if after is not None:
                params["after_date"] = after
            rows: list[Row] = []
            is_listed = True
            parse = partial(parse_page, field="campaigns")
            for page in self.client.pages(
                "/emails", params=params, parse=parse, may_lack=may_lack
            ):
                is_listed = page.is_listed
                rows += page.rows
            named, nameless = by_campaign(rows)
            found = Emails([*named.values(), *nameless], is_listed)
            self._emails[after] = found
        return found

    def count_of_emails(self) -> Count | None:
        """Return the count of the list of campaigns if it lacks some, once a run."""
        hidden = len(self.campaign_cache.snapshot.hidden)
        if self._is_counted or not hidden:
            return None
        self._is_counted = True
        rows = len(self._all_emails())
        return Count(parent="all", rows=rows, api_rows=rows + hidden, verified=True)

    def contact_ids(self) -> list[str]:
        """Return the sorted ids of all contacts; they are read once per run."""
        if self._contacts is None:
            rows = self.listing(
                "/contacts", "contacts", {"status": "all", "limit": 500}
            )
            ids = [row.get("contact_id") for row in rows]
            self._contacts = sorted({str(one) for one in ids if is_id(one)})
            self.nameless_contacts = sum(not is_id(one) for one in ids)
            self._deleted = {
                str(row.get("contact_id")) for row in rows if row.get("deleted_at")
            }
        return self._contacts

    def is_deleted(self, contact_id: str) -> bool:
        """Return whether the list of contacts says that a contact was deleted."""
        return contact_id in self._deleted

    def cursor(self) -> str:
        """Return the instant after which the next run asks for changes.

        Call it after the first response, which has the time of the API's clock. If the
        clocks differ, the earlier one counts, so that no change is missed.
        """
        ahead = self.now() - self._control.clock.now()
        return iso(self._control.started + min(0.0, ahead) - OVERLAP)

    # Which account it is

    def account_summary(self) -> Row:
        """Return the account itself; it is read once per run.

        Raises:
            Skippable: it cannot be read.
            Unavailable: access to it is denied.
        """
        self._identify()
        if self._summary is None:
            self._summary = self.wait(partial(self._read_summary, TRIES))
        return self._summary

    def _read_summary(self, tries: int) -> Row:
        return self.client.one(SUMMARY, id_field=ACCOUNT_ID, tries=tries)

    def _identify(self) -> None:
        """Learn which account the tokens belong to, and compare it with the state.

        One app can read several accounts, so the client id does not tell. The API is
        asked once per login; the token store remembers the answer.

        Raises:
            AuthenticationFailed: they belong to another account than the state.
            Fatal: that cannot be known at present.
        """
        self.check()
        if self._is_identified:
            return
        login = self._in_background(partial(self._authenticator.login, self.client))
        known = self._context.known.removeprefix(self._fingerprint).strip()
        owner = login.owner
        if owner is None:
            owner = self._ask_for_owner(is_needed=bool(known))
            self._remember(owner)
        if owner != known and not login.is_for(self.settings.account):
            self._fail(AuthenticationFailed(OTHER_LOGIN.format(self._store)))
        if owner:
            self._compare(owner)
        elif known:
            self._control.logger.warning("%s", UNTOLD_OWNER)
        self._is_identified = True

    def _compare(self, owner: str) -> None:
        try:
            self._context.identify(f"{self._fingerprint} {owner}")
        except InvalidInput as error:
            self._fail(AuthenticationFailed(str(error)))

    def _fail(self, error: Fatal) -> NoReturn:
        """End every stream."""
        self._dead = error
        raise error

    def _ask_for_owner(self, *, is_needed: bool) -> str | None:
        """Return the digest of the account's id, see `Tokens.owner`.

        Raises:
            Fatal: it is needed, but the API does not tell at present.
        """
        try:
            self._summary = self._in_background(partial(self._read_summary, 2))
        except Denied as error:
            if isinstance(found := self.explain_all(error), AuthenticationFailed):
                raise found from error
            return ""
        except Gone:
            return ""
        except AuthenticationFailed:
            raise
        except (Skippable, Unavailable, Fatal) as error:
            if is_needed:
                self._fail(Fatal(UNKNOWN_OWNER.format(error)))
            return None
        return owner_fingerprint(str(self._summary[ACCOUNT_ID]))

    def _remember(self, owner: str | None) -> None:
        """Remember the account until the next login, unless it is not known."""
        if owner is None:
            return
        if self.settings.token_store is None:
            self._in_state()["login"] = [self._seed, owner]
            return
        with suppress(InvalidInput):  # the next run asks again
            self._authenticator.note_owner(owner)

    def _remembered_owner(self) -> str | None:
        """Return the account that the state has for a login without a token store."""
        seed, owner = self._in_state().get("login", ("", ""))
        return owner if seed == self._seed else None

    def _in_state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._context.memory.shared.setdefault(self.name, {})
        return found

    # Who may read what

    def explain(self, denied: Denied) -> TapError:
        """Return the reason why a request was denied.

        If the app is deactivated, even the user's privileges are denied. Otherwise the
        user lacks a privilege, or else the token lacks a scope.
        """
        return self.explain_all(denied) or Unavailable(self.explain_one(denied))

    def explain_all(self, denied: Denied) -> TapError | None:
        """Return the reason if all similar requests are denied, too; None otherwise."""
        try:
            have = self.privileges()
        except Denied:
            self._dead = deactivated(str(denied))
            return self._dead
        except Skippable:
            return None
        privilege, _ = _needs(str(denied))
        if privilege in have:
            return None
        return Unavailable(
            f"{denied}: the user who authorised the app lacks the privilege "
            f"{privilege}. Have an account owner or manager authorise it (the role "
            "Campaign Creator has no reports)"
        )

    def explain_one(self, denied: Denied) -> str:
        """Return the reason if a scope may be missing."""
        _, scope = _needs(str(denied))
        return (
            f"{denied}: the token lacks the scope {scope}. Authorise again with it: "
            "tap-email-metrics-login asks for all scopes that the tap uses"
        )

    def privileges(self) -> frozenset[str]:
        """Return the privileges of the user; they are read once per run.

        Raises:
            Skippable: the privileges cannot be read.
        """
        with self._lock:
            if self._privileges is None:
                rows = in_background(
                    partial(self.client.many, PRIVILEGES),
                    self._control.stop,
                    self._control.idle,
                )
                self._privileges = frozenset(
                    str(row.get("privilege_name"))
                    for row in rows
                    if isinstance(row, dict)
                )
            return self._privileges


def deactivated(denied: str) -> AuthenticationFailed:
    """Return the error of an app that is denied even the privileges of its user.

    Args:
        denied: the path, and how it was answered.
    """
    return AuthenticationFailed(
        "Constant Contact denies everything to this app: it is deactivated, or its "
        "user is. Activate it under My Applications on developer.constantcontact.com "
        f"({denied})"
    )


def _needs(denied: str) -> tuple[str, str]:
    """Return the privilege and the scope that a path needs."""
    if "/reports/contact_reports" in denied:
        return "ui:campaign:metrics", "contact_data"
    if "/reports/" in denied:
        return "ui:campaign:metrics", "campaign_data"
    if "/account/" in denied:
        return "account:read", "account_read"
    if "/contact_lists" in denied or "/segments" in denied:
        return "contacts:lists:read", "contact_data"
    if "/contact" in denied:
        return "contacts:read", "contact_data"
    return "campaign:read", "campaign_data"


def _for_all_streams(error: TapError) -> TapError:
    """Return the error that ends every stream that needs the campaigns."""
    if isinstance(error, Skippable):
        return Fatal(f"Constant Contact: the campaigns cannot be read: {error}")
    return error
