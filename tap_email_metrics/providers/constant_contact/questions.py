"""The open questions about Constant Contact's API, in one table.

An answer that a contract report has confirmed is entered here: `expects` names the
reading, `confirmed` the date of the report.
"""

from __future__ import annotations

from tap_email_metrics.contract.questions import Question
from tap_email_metrics.providers.constant_contact.probes import ConstantContactProbes

QUESTIONS: tuple[Question, ...] = (
    Question(
        name="next_link",
        asks="Where is the link to the next page?",
        readings={
            "relative": "in `_links.next.href`, without the host",
            "absolute": "in `_links.next.href`, with the host",
            "elsewhere": "in another place",
        },
        does=(
            "It follows the link as it is, from several places, and only to the API's "
            "own host. A link that it does not understand fails the list, and so does "
            "a page that says that more rows follow, but has no link."
        ),
        how="A page of one campaign, if the account has two.",
        basis="documented",
        expects="relative",
        probe=ConstantContactProbes.next_link,
    ),
    Question(
        name="last_page",
        asks="How does the last page say that it is the last?",
        readings={
            "no links": "it has no `_links`",
            "null links": "`_links` is null",
            "no next": "`_links` has no `next`",
            "null next": "`_links.next` is null",
            "null href": "`_links.next.href` is null",
            "varied": "each list has a way of its own",
        },
        does="It takes each of them.",
        how="The ends of at least six lists that fit into one page.",
        probe=ConstantContactProbes.last_page,
    ),
    Question(
        name="full_page",
        asks="Does an empty page follow one that is just full?",
        readings={"follows": "yes", "ends": "no, the list ends"},
        does="It takes both.",
        how="The sends of a small campaign, with a `limit` of exactly their number.",
        probe=ConstantContactProbes.full_page,
    ),
    Question(
        name="gates",
        asks="Does each counter count the rows of its report?",
        readings={
            "as listed": "yes: opens and clicks by row, the others by contact",
            "otherwise": "no",
        },
        does=(
            "It reads a report when its counter moves, and compares the two. A "
            "campaign whose counter stays wrong is read in full every 30 days."
        ),
        how=(
            "The six reports of up to three campaigns that are quiet and have one "
            "email, compared with their counters."
        ),
        basis="inferred",
        expects="as listed",
        probe=ConstantContactProbes.gates,
    ),
    Question(
        name="resends",
        asks="Do the counters of a campaign with a resend add up both emails?",
        readings={"sum": "yes", "one": "no: they are those of one of them"},
        does="It compares them with the rows of all emails of the campaign.",
        how="The sends of both emails of a quiet campaign, compared with `em_sends`.",
        basis="inferred",
        expects="sum",
        probe=ConstantContactProbes.resends,
    ),
    Question(
        name="stats_keys",
        asks="How are the names of counters spelled?",
        readings={
            "underscores": "with underscores: `em_opens_all_mobile`",
            "dots": "with dots: `em_opens.all.mobile`",
        },
        does="It takes both.",
        how="The counters of up to ten campaigns.",
        probe=ConstantContactProbes.stats_keys,
    ),
    Question(
        name="counts",
        asks="Are counters numbers or texts?",
        readings={"numbers": "numbers", "texts": "texts"},
        does="It takes both.",
        how="The counters of up to ten campaigns.",
        probe=ConstantContactProbes.counts,
    ),
    Question(
        name="aggregate",
        asks="What is `aggregate_percents` of the summaries?",
        readings={"object": "an object", "array": "an array", "absent": "not there"},
        does="It does not use it.",
        how="The first page of the summaries.",
        probe=ConstantContactProbes.aggregate,
    ),
    Question(
        name="times",
        asks="How is `created_time` of an event written?",
        readings={
            "fractions": "in UTC, with fractions of a second",
            "seconds": "in UTC, in whole seconds",
            "offset": "with an offset",
        },
        does="It takes each; equal events are told apart by their number.",
        how="The sends and opens of one campaign.",
        probe=ConstantContactProbes.times,
    ),
    Question(
        name="tracking_order",
        asks="In which order do the rows of a report come?",
        readings={"newest first": "newest first", "another": "in another order"},
        does=(
            "It reads down to the newest known row, and to the end where the counter "
            "announces more rows than that brought."
        ),
        how="Lists of at least 8 opens of up to three campaigns.",
        basis="documented",
        expects="newest first",
        probe=ConstantContactProbes.tracking_order,
    ),
    Question(
        name="emails_order",
        asks="By which date is `/emails` ordered?",
        readings={
            "updated": "by `updated_at`, newest first",
            "created": "by `created_at`, newest first",
            "another": "by another one",
        },
        does="It reads the list to its end.",
        how="The first page of `/emails`.",
        probe=ConstantContactProbes.emails_order,
    ),
    Question(
        name="bounds",
        asks="Is the bound of `after_date` inclusive?",
        readings={"inclusive": "yes", "exclusive": "no"},
        does="It asks from an hour before the last run on.",
        how="`/emails` with the `updated_at` of up to two campaigns as the bound.",
        probe=ConstantContactProbes.bounds,
    ),
    Question(
        name="updates",
        asks="Does `updated_at` of a campaign move when engagement arrives?",
        readings={"stays": "no", "moves": "yes"},
        does="It assumes that it does not.",
        how=(
            "Campaigns with an open more than an hour after `updated_at`. They "
            "cannot show that it moves."
        ),
        expects="stays",
        probe=ConstantContactProbes.updates,
    ),
    Question(
        name="unsubscribes",
        asks="Does `updated_at` of a contact move when it unsubscribes?",
        readings={"stays": "no", "moves": "yes"},
        does="It asks for changed and for unsubscribed contacts, with two cursors.",
        how="The two dates of contacts that have unsubscribed.",
        basis="seen in clients",
        expects="stays",
        probe=ConstantContactProbes.unsubscribes,
    ),
    Question(
        name="limit_headers",
        asks="Do headers say how many requests are allowed?",
        readings={"announced": "yes", "silent": "no"},
        does=(
            "It makes at most 4 requests per second and 9,500 per day, and honours "
            "Retry-After."
        ),
        how="The names of the headers of all answers. No limit is provoked.",
        settings=("constant_contact.requests_per_second",),
        probe=ConstantContactProbes.limit_headers,
    ),
    Question(
        name="refusals",
        asks="How is a request refused: with which status and which body?",
        readings={
            "keys": "by 4xx and 5xx, and 429 by an `error_key`",
            "other": "in another way",
        },
        does=(
            "It goes by the status. A 429 with `quota_exceeded` ends the day; after "
            "any other it waits. It accepts an array of errors, one error, or no body."
        ),
        how="It is not provoked.",
        basis="documented",
        expects="keys",
    ),
    Question(
        name="refused_refresh",
        asks="How is a refresh token refused?",
        readings={
            "invalid_grant": "by 400 with `invalid_grant`",
            "other": "in another way",
        },
        does="After a 400, 401 or 403 it says: authorise again.",
        how="It is not provoked: it would end the access of the tap.",
        basis="inferred",
        expects="invalid_grant",
    ),
    Question(
        name="stats_batch",
        asks="For how many campaigns can one request ask for stats?",
        readings={"150": "for 150", "fewer": "for fewer"},
        does=(
            "It asks for 150 at most. A request that is refused is halved until the "
            "campaign that is refused is found."
        ),
        how="It is not asked: few accounts have so many campaigns.",
        basis="inferred",
        expects="150",
    ),
    Question(
        name="counter_age",
        asks="How far behind the events are the counters?",
        readings={"fresh": "not at all", "behind": "some time"},
        does=(
            "A counter is stored only once its rows were found. After three tries and "
            "two days a full read decides, and the difference is reported."
        ),
        how="It is not asked: one look does not show what comes later.",
    ),
    Question(
        name="page_shift",
        asks="Do the pages of one list show the same rows while events arrive?",
        readings={"fixed": "yes", "shifting": "no: rows shift to the next page"},
        does="It reads again where the head of the list moved.",
        how="It is not asked: events would have to arrive between two requests.",
        basis="inferred",
        expects="shifting",
    ),
    Question(
        name="retention",
        asks="How long are reports kept?",
        readings={"for ever": "as long as the account", "limited": "for some time"},
        does="A campaign that the reports drop stays in your tables.",
        how="It is not asked: one look does not show what was dropped.",
    ),
    Question(
        name="proxy_opens",
        asks="When are opens of mail proxies taken out of the counts?",
        readings={"at once": "before they are shown", "later": "some time later"},
        does="It keeps all events, and reads each report in full every 30 days.",
        how="It is not asked: a report would have to watch the account for months.",
        basis="documented",
        expects="later",
    ),
    Question(
        name="refresh_tokens",
        asks="Do refresh tokens rotate?",
        readings={"rotate": "each refresh brings a new one", "stay": "they stay"},
        does="It stores a new one before it uses its access token.",
        how="It is not asked: a refresh that nobody needs would use up a token.",
        basis="documented",
    ),
)
