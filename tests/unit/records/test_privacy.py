"""Treatments of personal data, and logs without secrets and addresses."""

from __future__ import annotations

import hashlib
import hmac
import io
import ipaddress
import json
import logging
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk import metrics
from singer_sdk.logging import StructuredFormatter

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.records.privacy import (
    MARKS,
    MODES,
    Privacy,
    RedactingFilter,
    domain_of,
    family_of,
    network_of,
    normalise,
    redact,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PEPPER = "pepper-of-the-tests"
HASH = Privacy("hash", PEPPER)
DOMAIN = Privacy("domain", PEPPER)
DROP = Privacy("drop", PEPPER)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzaXRlIjoiMSJ9.c2lnbmF0dXJl"

ADDRESSES = st.from_regex(
    r"[a-z0-9][a-z0-9_+=.-]{0,12}[a-z0-9]@[a-z0-9]{1,9}\.(org|com)", fullmatch=True
)


def treat(privacy: Privacy, mark: str, value: str | int) -> str | None:
    treatment = privacy.treatment(mark)
    assert treatment is not None
    treated: str | None = treatment(value)
    return treated


def mac(text: str) -> str:
    return hmac.new(PEPPER.encode(), text.encode(), hashlib.sha256).hexdigest()


JANE = mac("jane@x.org")
QUOTED = '"j doe"@x.org'


def test_a_hash_is_the_hmac_sha256_of_the_lower_case_text() -> None:
    expected = hmac.new(b"Jefe of the tests", b"what do ya want?", "sha256")
    made = Privacy("hash", "Jefe of the tests").hashed("What do ya want?")
    assert made == expected.hexdigest()


@pytest.mark.parametrize("mark", MARKS)
def test_mode_plain_changes_nothing(mark: str) -> None:
    assert Privacy().treatment(mark) is None


@pytest.mark.parametrize("mark", MARKS)
def test_mode_drop_makes_every_marked_value_null(mark: str) -> None:
    assert treat(DROP, mark, "x") is None
    assert treat(DROP, mark, 7) is None


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_mark_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="mark"):
        Privacy(mode, PEPPER).treatment("phone")


@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
@pytest.mark.parametrize("pepper", [None, ""])
def test_every_mode_but_plain_requires_a_pepper(mode: str, pepper: str | None) -> None:
    with pytest.raises(InvalidInput, match=r"pii\.pepper"):
        Privacy(mode, pepper)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"pii\.mode.*plain, hash, domain, drop"):
        Privacy("mask", PEPPER)


def test_the_pepper_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Privacy("hash", "s3cret" * 4))


@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
@pytest.mark.parametrize("pepper", ["x", "pepper", "p" * 15])
def test_a_pepper_that_is_easy_to_guess_is_refused(mode: str, pepper: str) -> None:
    with pytest.raises(InvalidInput, match="at least 16 characters") as refused:
        Privacy(mode, pepper)
    assert pepper not in str(refused.value).replace("pii.pepper", "").split()
    Privacy(mode, "p" * 16)


ONE_PERSON = [
    *("jane@b\u00fccher.de", "JANE@B\u00dcCHER.DE", "jane@xn--bcher-kva.de"),
    *("jane@b\u00fccher.de.", "mailto:jane@b\u00fccher.de", "jane@b\u00fccher.de,"),
    *("jane@bu\u0308cher.de", "Jane <jane@b\u00fccher.de>", "<jane@b\u00fccher.de>"),
    *("jane%40b\u00fccher.de", "jane%40b%C3%BCcher.de", "jane\uff20b\u00fccher.de"),
    *("jane%2540b%25C3%25BCcher.de", "jane\\u0040b\u00fccher.de"),
    *("\u200bjane@b\u00fccher.de", "jane@b\u00fc\u00adcher.de\ufeff"),
    *("\u202ajane@b\u00fccher.de\u202c", "\u2068Jane <jane@b\u00fccher.de>\u2069"),
    *('"jane@b\u00fccher.de"', "[jane@b\u00fccher.de]", "(jane@b\u00fccher.de)"),
    *("SMTP:jane@b\u00fccher.de", "rfc822; jane@b\u00fccher.de"),
    *("mailto://jane@b\u00fccher.de", '<"jane@b\u00fccher.de">'),
    *("jane&commat;b\u00fccher.de", "jane&#064;b\u00fccher.de"),
    *('"jane"@b\u00fccher.de', "jane(work)@b\u00fccher.de", "jane@b\u00fccher.de (x)"),
    *("Jane <jane@b\u00fccher.de>,", "MAILTO:jane@b\u00fccher.de?subject=Hi"),
    *(" jane@b\u00fccher.de;", "jane&#64;b\u00fccher.de", "Jane<jane@b\u00fccher.de.>"),
]


@pytest.mark.parametrize("spelling", ONE_PERSON)
def test_all_spellings_of_an_address_have_one_hash(spelling: str) -> None:
    assert treat(HASH, "email", spelling) == mac("jane@xn--bcher-kva.de")
    assert treat(DOMAIN, "email", spelling) == "xn--bcher-kva.de"


SEVERAL_PERSONS = [
    *("Jane <>", "Joe <>", "Jane < >", "<>", "jane", "joe"),
    *("jane@x.org", "jane.@x.org", "j.ane@x.org", "jane+a@x.org", '"j ane"@x.org'),
    *("jane@x.com", "sales/jane@x.org", "jane@[192.0.2.1]", "jane@[192.0.2.2]"),
    *("jane@x.org, joe@x.org", "joe@x.org", "a@b@x.org", "a@x.org@x.org"),
]


def test_addresses_of_different_people_have_different_hashes() -> None:
    hashes = [treat(HASH, "email", one) for one in SEVERAL_PERSONS]
    assert len(set(hashes)) == len(hashes)


LEFT = [
    *("bob\uff20example.com", "bob\ufe6bexample.com", "bob@\uff45xample.com"),
    *("bob%2540example.com", "bob%25252540example.com", "bob\\u0040example.com"),
    *("bob&commat;example.com", "bob&#064;example.com", "bob&#X0040;example.com"),
    *("<bob@[192.0.2.1]>", "bob@[IPv6:2001:db8::1]", "sales/bob@example.com"),
    *('"bob smith"@example.com', "bob%40example.com", "mailto:bob@example.com"),
    *("bob(at work)@example.com", "bob@(home)example.com", "bob&#64;example.com"),
    *("bob@b\u00fccher.de", "b\u00f6b/bob@example.com", "bob+news@example.com"),
    *("sales/uk/bob@example.com", "bob@xn--bcher-kva.de", "BOB@EXAMPLE.COM."),
    *("o'bob@example.com", "bob=x@example.com", "bob@localhost", "bob&#x40;x.org"),
]


@pytest.mark.parametrize("address", LEFT)
@pytest.mark.parametrize("mark", ["text", "email_list"])
@pytest.mark.parametrize(
    "frame", ["{}", "550 {} unknown", "to <{}>: no", "({})", "{},"]
)
def test_no_spelling_of_an_address_remains_in_any_marked_value(
    address: str, mark: str, frame: str
) -> None:
    for privacy in (HASH, DOMAIN):
        treated = (treat(privacy, mark, frame.format(address)) or "").lower()
        assert "bob" not in treated
        assert "sales" not in treated
    assert "bob" not in redact(frame.format(address)).lower()


def test_an_address_in_a_text_has_the_hash_of_the_address_column() -> None:
    for spelling in LEFT:
        address = spelling.strip("<>.").removeprefix("mailto:")
        hashed = treat(HASH, "email", spelling)
        assert treat(HASH, "text", f"550 {address} no") == f"550 {hashed} no"


@pytest.mark.parametrize(
    ("privacy", "mark", "value", "expected"),
    [
        (HASH, "email", "Jane@X.org", JANE),
        (HASH, "email", "  jane@x.org\n", JANE),
        (HASH, "email", "\uff4a\uff41\uff4e\uff45@x.org", JANE),
        (HASH, "email", "Jane Doe <jane@x.org> ", JANE),
        (HASH, "email", "no address", mac("no address")),
        (HASH, "email", " ", ""),
        (HASH, "email_list", "Doe, Jane <jane@x.org>; JANE@x.org", f"{JANE}, {JANE}"),
        (HASH, "email_list", "nobody", None),
        (HASH, "email_list", "", ""),
        (HASH, "name", "Jane", mac("jane")),
        (HASH, "name", "", ""),
        (HASH, "id", 44, mac("44")),
        (HASH, "id", "44", mac("44")),
        (HASH, "ip", "203.0.113.77", "203.0.113.0/24"),
        (HASH, "ip", "not an address", None),
        (HASH, "ip", "", ""),
        (HASH, "url", "https://u:p@x.org/a/b?t=1#f", "https://x.org/a/b"),
        (HASH, "url", "//u@x.org/a#f?t=1", "//x.org/a"),
        (HASH, "url", "https://x.org/jane%40x.org/a", f"https://x.org/{JANE}/a"),
        (HASH, "url", "https://x.org/jane%2540x.org/a", f"https://x.org/{JANE}/a"),
        (HASH, "url", "mailto:jane@x.org?subject=Hi", f"mailto:{JANE}"),
        (HASH, "url", "http://[x", "http://[x"),
        (HASH, "text", "550 <Jane@x.org>: unknown", f"550 <{JANE}>: unknown"),
        (HASH, "text", "Ask 'jane@x.org'.", f"Ask '{JANE}'."),
        (HASH, "text", "o'brien@x.org", mac("o'brien@x.org")),
        (HASH, "text", 'to "j doe"@x.org', f"to {mac(QUOTED)}"),
        (HASH, "text", "two @ home 100%", "two @ home 100%"),
        (HASH, "text", "550 jane@", f"550 {mac('jane@')}"),
        (HASH, "text", "550 jane@ ...", "550 jane@ ..."),
        (DOMAIN, "text", "550 jane%40 ", "550  "),
        (DOMAIN, "text", "two @", "two @"),
        (
            HASH,
            "text",
            "see https://u:p@x.org/a?m=1, or x?y",
            "see https://x.org/a or x?y",
        ),
        (HASH, "opaque", "x", None),
        (DOMAIN, "email", "Jane <Jane@Mail.X.org.>", "mail.x.org"),
        (DOMAIN, "email", "jane", None),
        (DOMAIN, "email", "jane@", None),
        (DOMAIN, "email", "jane@doe family", None),
        (DOMAIN, "email", "", ""),
        (DOMAIN, "email_list", "a@x.org, b@y.org", "x.org, y.org"),
        (DOMAIN, "name", "Jane", None),
        (DOMAIN, "id", 44, None),
        (DOMAIN, "ip", "2001:db8:1:2::3", "2001:db8:1::/48"),
        (DOMAIN, "url", "https://x.org/jane@y.org?a", "https://x.org/y.org"),
        (DOMAIN, "text", "user Jane@x.org is gone", "user x.org is gone"),
        (DOMAIN, "opaque", "x", None),
    ],
)
def test_each_mark_is_treated_by_the_rule_of_its_mode(
    privacy: Privacy, mark: str, value: str | int, expected: str | None
) -> None:
    assert treat(privacy, mark, value) == expected


@pytest.mark.parametrize(
    ("privacy", "expected"),
    [(HASH, f"to {JANE}!"), (DOMAIN, "to x.org!"), (DROP, "to !")],
)
def test_addresses_are_removed_from_text_without_a_mark(
    privacy: Privacy, expected: str
) -> None:
    treatment = privacy.unmarked
    assert treatment is not None
    text = "to jane@x.org!"
    assert treatment(text) == expected
    assert treatment([{text: [text, 7, None]}]) == [{expected: [expected, 7, None]}]
    assert treatment("DONE") == "DONE"
    assert Privacy().unmarked is None


@given(ADDRESSES)
def test_an_address_has_one_hash_in_columns_lists_texts_and_urls(address: str) -> None:
    hashed = treat(HASH, "email", address)
    assert treat(HASH, "email", f" {address.upper()} ") == hashed
    assert treat(HASH, "email_list", f"Jo <{address}>, {address}") == (
        f"{hashed}, {hashed}"
    )
    assert treat(HASH, "text", f"Hi {address}, bye") == f"Hi {hashed}, bye"
    assert treat(HASH, "url", f"https://x.org/{address}/") == f"https://x.org/{hashed}/"
    assert hashed == mac(address)
    assert hashed != Privacy("hash", "another-of-the-tests").hashed(address)


@given(ADDRESSES, st.sampled_from(["text", "url", "email_list", "user_agent"]))
def test_no_address_remains_in_any_context(address: str, mark: str) -> None:
    local = address.partition("@")[0] + "@"
    for text in (address, f"to:<{address}>", f"a/{address}?x", f"=[{address}]."):
        for privacy in (HASH, DOMAIN):
            assert local not in (treat(privacy, mark, text) or "")


@given(st.text())
def test_normalising_a_text_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_a_normalised_text_is_composed_after_lower_casing() -> None:
    # A small j with caron is one character; a capital one exists only as two.
    assert normalise("J\u030c") == "\u01f0"


@given(st.text(), st.sampled_from(MARKS), st.sampled_from([HASH, DOMAIN, DROP]))
def test_any_text_can_be_treated(text: str, mark: str, privacy: Privacy) -> None:
    treated = treat(privacy, mark, text)
    assert treated is None or isinstance(treated, str)


@given(st.ip_addresses())
def test_an_ip_address_is_reduced_to_its_network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    network = network_of(str(address))
    assert network is not None
    parsed = ipaddress.ip_network(network)
    assert parsed.prefixlen == (24 if parsed.version == 4 else 48)
    assert parsed.version == 4 or address in parsed


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2002:cb00:714d::1", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        (" 203.0.113.77 ", "203.0.113.0/24"),
        ("203.0.113.77:443", None),
        ("203.0.113.77, 10.0.0.1", None),
    ],
)
def test_unusual_ip_addresses_are_reduced_or_dropped(
    address: str, network: str | None
) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Safari/537",
            "Mozilla (Windows NT) AppleWebKit Safari",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-G991B) Mobile/15E148",
            "Mozilla (Linux; Android) Mobile",
        ),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) (via ggpht.com GoogleImageProxy)",
            "Mozilla (Windows NT) (via ggpht.com GoogleImageProxy)",
        ),
        ("bot/1.0 (1; bot@x.org)", "bot"),
        ("Mozilla (Linux   ;  U 5)", "Mozilla (Linux; U)"),
        ("", ""),
    ],
)
def test_a_user_agent_is_reduced_to_its_family(agent: str, family: str) -> None:
    assert family_of(agent) == family


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    "unit", ["a", "a.", " ", "@", "'", "(", ";", "<", "/", "%40", '"', '"a']
)
def test_the_time_of_a_treatment_grows_linearly_with_the_text(
    mark: str, unit: str
) -> None:
    started = time.process_time()
    treat(HASH, mark, unit * 20_000)
    redact(unit * 20_000)
    # A quadratic search would take minutes.
    assert time.process_time() - started < 5


def schema(**columns: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": columns}


@pytest.mark.parametrize(
    ("privacy", "kind"),
    [
        (Privacy(), "integer"),
        (HASH, "string"),
        (DOMAIN, "integer"),
        (DROP, "integer"),
    ],
)
def test_the_emitted_schema_follows_the_mode(privacy: Privacy, kind: str) -> None:
    given_ = schema(
        id={"type": "integer"},
        member_id={"type": ["integer", "null"], "x-pii": "id"},
        email={"type": ["string", "null"], "x-pii": "email"},
        extra={"type": ["object", "null"], "x-pii": "opaque"},
    )
    before = json.dumps(given_)
    emitted = privacy.apply_to_schema(given_)
    assert json.dumps(given_) == before
    assert emitted["properties"].pop("member_id")["type"] == [kind, "null"]
    given_["properties"].pop("member_id")
    assert emitted == given_


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("for jane.doe@x.org: denied", "for [address]: denied"),
        ("/users/jane%40x.org/report", "/users/[address]/report"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [token]"),
        ("Basic dXNlcjpwYXNz", "Basic [token]"),
        (f"token={JWT};", "token=[token];"),
        ("GET /v2/messages?startAt=0&x=1 failed", "GET /v2/messages?[query] failed"),
        ("https://h/p?abc", "https://h/p?[query]"),
        ("https://me:pw@h/p", "https://[user]@h/p"),
        ("What? 12 rows @ 3 s", "What? 12 rows @ 3 s"),
    ],
)
def test_addresses_in_text_are_redacted_once(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


class Log:
    """A separate logger with one handler, and the text it wrote."""

    def __init__(self, formatter: logging.Formatter, *secrets: str) -> None:
        self.filter = RedactingFilter(secrets)
        self._out = io.StringIO()
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(formatter)
        handler.addFilter(self.filter)
        self.logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        return self._out.getvalue()


FORMATTERS = pytest.mark.parametrize(
    "formatter", [logging.Formatter, StructuredFormatter]
)


@FORMATTERS
def test_message_arguments_extra_and_stack_are_masked(
    formatter: Callable[[], logging.Formatter],
) -> None:
    log = Log(formatter(), "hunter2-hunter2")
    log.logger.warning(
        "%s of %s", "hunter2-hunter2", ["jane@x.org"], extra={"u": "a@x.org"}
    )
    log.logger.warning(
        "hunter2-hunter2 100%", stack_info=True, extra={"u": {"k": "hunter2-hunter2"}}
    )
    assert "hunter2-hunter2" not in log.text
    assert "x.org" not in log.text
    assert "[secret] of ['[address]']" in log.text
    assert "[secret] 100%" in log.text


def fail(cause: str, message: str) -> None:
    raise RuntimeError(message) from ValueError(cause)


def refuse(text: str) -> None:
    try:
        fail(text, text)
    except RuntimeError as error:
        raise InvalidInput("set pii.pepper") from error


@FORMATTERS
def test_tracebacks_are_masked_with_their_causes(
    formatter: Callable[[], logging.Formatter],
) -> None:
    log = Log(formatter(), "hunter2-hunter2")
    try:
        fail("hunter2-" + "hunter2", "jane" + "@x.org")
    except RuntimeError:
        log.logger.exception("failed")
    assert "failed" in log.text
    assert "RuntimeError" in log.text
    assert "raise RuntimeError(message)" in log.text
    assert "hunter2-hunter2" not in log.text
    assert "jane@x.org" not in log.text


@FORMATTERS
def test_only_exceptions_of_the_tap_are_quoted(
    formatter: Callable[[], logging.Formatter],
) -> None:
    log = Log(formatter())
    log.logger.handlers[0].addFilter(RedactingFilter())  # two handlers filter twice
    name = "Zebu" + "lon"
    try:
        int(name)
    except ValueError as error:
        log.logger.exception("%s", error.args[0])  # as the SDK does
        log.logger.warning("Failed to parse: %s", error, extra={"why": error})
        log.logger.warning(error)
    try:
        refuse(name)
    except InvalidInput:
        log.logger.exception("failed")
    assert "Zebulon" not in log.text
    assert "Failed to parse: ValueError" in log.text
    assert "set pii.pepper" in log.text
    assert "int(name)" in log.text


def test_arguments_that_do_not_fit_the_message_are_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = Log(logging.Formatter())
    log.logger.warning("%d rows", "jane@x.org")
    assert log.text == "%d rows (arguments do not fit)\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("a b/c d/e", "x=a%20b%2Fc%20d%2Fe"),
        ("a b/c d/e", "x=a+b%2Fc+d%2Fe"),
        ('quotes "\\', '{"k": "quotes \\"\\\\"}'),
        ('it\'s "x"', repr('it\'s "x"')),
        ("p\u00e9ppers!", json.dumps("p\u00e9ppers!")),
    ],
)
def test_a_secret_is_masked_in_each_of_its_encodings(secret: str, text: str) -> None:
    assert "[secret]" in RedactingFilter([secret]).mask(text)


def test_secrets_can_be_added_and_the_longest_wins() -> None:
    masking = RedactingFilter(["abcabcabc", "", " "])
    assert masking.mask("abcabcabcdef and abcabcabc") == "[secret]def and [secret]"
    masking.add("abcabcabcdef")
    assert masking.mask("abcabcabcdef and abcabcabc") == "[secret] and [secret]"


@pytest.mark.parametrize("secret", ["x", "login", "secret7", " login \n"])
def test_a_short_or_ordinary_word_is_not_masked(secret: str) -> None:
    text = f"x: run tap-email-metrics-login; {secret.strip()}"
    assert RedactingFilter([secret]).mask(text) == text


@pytest.mark.parametrize("secret", ["encompass_opens", "behind_since", "email_metrics"])
def test_public_names_are_never_masked(secret: str) -> None:
    public = ("encompass_opens", "email_metrics_runs", "behind_since")
    text = json.dumps(dict.fromkeys(public))
    assert RedactingFilter([secret], public).mask(text) == text


def test_a_secret_read_with_a_line_break_is_masked_without_it() -> None:
    assert RedactingFilter(["hunter2-hunter2\n"]).mask("hunter2-hunter2") == "[secret]"


def test_a_log_record_with_nothing_to_mask_is_unchanged() -> None:
    log = Log(StructuredFormatter(), "hunter2-hunter2")
    point = metrics.Point("counter", metrics.Metric.RECORD_COUNT, 3)
    log.logger.info("METRIC: %s", point)
    log.logger.info("%s rows", 3)
    first, second = (json.loads(line) for line in log.text.splitlines())
    assert first["metric_info"]["value"] == 3
    assert second["message"] == "3 rows"


def test_the_domain_of_an_address_is_the_text_after_its_last_at_sign() -> None:
    assert domain_of("A@B@c.ORG") == "c.org"


def test_repeated_networks_and_user_agents_are_treated_once() -> None:
    """Opens share a few networks and mail programs, so results are cached."""
    network, agent = HASH.treatment("ip"), HASH.treatment("user_agent")
    assert network is not None
    assert agent is not None
    with (
        mock.patch.object(ipaddress, "ip_address", wraps=ipaddress.ip_address) as parse,
        mock.patch(f"{Privacy.__module__}._agent_word", return_value="") as words,
    ):
        for one in range(1000):
            network(f"203.0.113.{one % 5}")
            agent(f"Repeated{one % 5} (Mailer)")
    assert parse.call_count <= 5
    assert words.call_count <= 10
