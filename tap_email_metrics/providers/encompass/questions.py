"""The open questions about the Email Metric API, in one table.

An answer that a contract report has confirmed is entered here: `expects` names the
reading, `confirmed` the date of the report.
"""

from __future__ import annotations

from tap_email_metrics.contract.questions import Question
from tap_email_metrics.providers.encompass.probes import EncompassProbes

QUESTIONS: tuple[Question, ...] = (
    Question(
        name="token_life",
        asks="How long does a token live?",
        readings={
            "a day": "up to two days, by `expires_in`",
            "longer": "longer than two days, by `expires_in`",
            "unsaid": "the answer does not say",
        },
        does=(
            "It trusts `expires_in`, renews early, and once more when the token is "
            "refused."
        ),
        how="The `expires_in` of the token that the report itself uses.",
        basis="seen in clients",
        probe=EncompassProbes.token_life,
    ),
    Question(
        name="limit_headers",
        asks="Are there rate limits?",
        readings={
            "announced": "headers announce one",
            "silent": "no header announces one",
        },
        does=(
            "It makes at most 10 requests per second, 4 at a time, and honours 429 and "
            "Retry-After."
        ),
        how="The names of the headers of all answers. No limit is provoked.",
        settings=("encompass.requests_per_second",),
        probe=EncompassProbes.limit_headers,
    ),
    Question(
        name="page_limit",
        asks="Does a page hold 1,000 rows?",
        readings={"1000": "yes", "fewer": "the server sends fewer"},
        does="It steps by the rows received.",
        how=(
            "The `maxResults` of the answers to requests for 1,000 rows, and a list "
            "with as many."
        ),
        basis="documented",
        expects="1000",
        probe=EncompassProbes.page_limit,
    ),
    Question(
        name="site_lists",
        asks="Are there lists of the whole site, such as `/v2/opens`?",
        readings={"absent": "no", "there": "yes"},
        does="It reads message by message.",
        how="One request for `/v2/opens`.",
        basis="inferred",
        expects="absent",
        probe=EncompassProbes.site_lists,
    ),
    Question(
        name="links",
        asks="Do `links` come in pages?",
        readings={
            "envelope": "in the envelope of the other lists, with pages",
            "paged array": "as a bare array that heeds `startAt` and `maxResults`",
            "whole array": "as a bare array, always whole",
        },
        does="It takes each; a page that adds no new id ends the list.",
        how=(
            "The links of up to six messages, until one has two of them; then one link "
            "of it."
        ),
        basis="seen in clients",
        probe=EncompassProbes.links,
    ),
    Question(
        name="open_fields",
        asks="Do opens have `dateAdded` and `userAgent`?",
        readings={"both": "both", "one": "one of them", "none": "none of them"},
        does="It takes what comes; absent values are null.",
        how="The fields of the opens of up to two messages.",
        basis="inferred",
        expects="both",
        probe=EncompassProbes.open_fields,
    ),
    Question(
        name="deliver_fields",
        asks="Do delivers have `recipientId`, `timestamp` and `dateAdded`?",
        readings={"all": "all of them", "some": "some of them"},
        does="It takes what comes; absent values are null.",
        how="The fields of the delivers of up to two messages.",
        basis="inferred",
        expects="all",
        probe=EncompassProbes.deliver_fields,
    ),
    Question(
        name="child_range",
        asks="Do the lists of a message heed `fromTimestamp` and `toTimestamp`?",
        readings={"ignored": "they ignore them", "heeded": "they heed them"},
        does="It does not send them there.",
        how="A list with rows is asked for the first millisecond of 1970.",
        expects="ignored",
        probe=EncompassProbes.child_range,
    ),
    Question(
        name="beyond_end",
        asks="What does a request that starts after the last row return?",
        readings={
            "empty": "a page without rows",
            "rows": "rows all the same",
            "error": "an error",
        },
        does="It stops at the total, and a page without new rows ends a list.",
        how="One row of a list, a million rows after its total.",
        basis="inferred",
        expects="empty",
        probe=EncompassProbes.beyond_end,
    ),
    Question(
        name="range_field",
        asks="Which date do `fromTimestamp` and `toTimestamp` of messages filter?",
        readings={
            "sent": "when the message was sent",
            "date_added": "when the message was added",
            "scheduled": "for when the message was scheduled",
            "ignored": "none: the range is ignored",
        },
        does="It always asks for all time and filters the messages itself.",
        how=(
            "For up to two messages with three different dates: three ranges of two "
            "milliseconds, each around one date. The date whose range alone shows the "
            "message is the filter."
        ),
        basis="inferred",
        expects="sent",
        probe=EncompassProbes.range_field,
    ),
    Question(
        name="range_bounds",
        asks="Are the bounds of that range inclusive?",
        readings={
            "both": "both are",
            "neither": "neither is",
            "from": "only `fromTimestamp` is",
            "to": "only `toTimestamp` is",
        },
        does="It always asks for all time and filters the messages itself.",
        how="For up to two messages: one range that starts, one that ends at the date.",
        probe=EncompassProbes.range_bounds,
    ),
    Question(
        name="order",
        asks="In which order do the rows of a list come?",
        readings={
            "ascending": "by ascending id",
            "descending": "by descending id",
            "fixed": "in another order, the same each time",
            "changes": "in an order that changes from request to request",
            "by list": "in one order here and another there",
        },
        does=(
            "It learns the order of each list from whole reads. Only a list that was "
            "seen in order is read in part."
        ),
        how=(
            "The messages and up to three lists with at least 8 rows are asked for "
            "twice. Ids that rise or fall strictly in both answers show an order."
        ),
        probe=EncompassProbes.order,
    ),
    Question(
        name="total",
        asks="Is `total` the number of rows, and the same on each page?",
        readings={
            "rows": "it is the number of rows",
            "differs": "it is another number, the same on each page",
            "moves": "it differs from page to page",
        },
        does=(
            "It compares the totals of the first and the last page with the rows, and "
            "reads again where they differ. Two reads with the same rows and the same "
            "total settle the list with a known shortfall."
        ),
        how=(
            "Up to two lists of messages of the last 170 days are read whole, and once "
            "more in two halves: the three totals and the distinct rows are compared."
        ),
        probe=EncompassProbes.total,
    ),
    Question(
        name="archived_total",
        asks="Do archived rows stay in `total`?",
        readings={
            "stays": "they stay in it: pages come short",
            "leaves": "they leave it",
        },
        does=(
            "It never takes a shrinking list for deletions, and steps over empty pages "
            "below the total."
        ),
        how=(
            "The delivers of up to four messages sent 183 to 500 days ago. A total "
            "above the rows shown says that they stay. A total that equals them and is "
            "under half of what a young message leads to expect says that they leave."
        ),
        probe=EncompassProbes.archived_total,
    ),
    Question(
        name="archived_recipients",
        asks="Does the archive take recipients, too?",
        readings={"stay": "no, they stay", "thin out": "yes, they thin out"},
        does=(
            "It counts the 180 days for opens, clicks, bounces and delivers. It never "
            "takes a shrinking list for deletions."
        ),
        how=(
            "The recipients of up to four messages sent 183 to 500 days ago, compared "
            "with what their number should be by a young message. Two have to agree."
        ),
        basis="inferred",
        expects="stay",
        probe=EncompassProbes.archived_recipients,
    ),
    Question(
        name="recipient_ids",
        asks="Does a recipient have the same id in two messages?",
        readings={"recur": "yes", "differ": "no"},
        does="The key is the message and the id, so both are right.",
        how="The addresses that the first pages of two messages share; none is kept.",
        basis="inferred",
        expects="recur",
        probe=EncompassProbes.recipient_ids,
    ),
    Question(
        name="archive_clock",
        asks="By which date does the archive count 180 days?",
        readings={
            "action": "the action itself (`timestamp`)",
            "date_added": "when the row was added (`dateAdded`)",
            "send": "when the message was sent",
        },
        does=(
            "It verifies each list before its oldest possible date is 180 days old, "
            "and never probes a list that the archive may have touched."
        ),
        how=(
            "Opens and delivers of up to three messages sent more than 182 days ago. A "
            "date that at least two rows have outlived by 182 days is not the one: the "
            "answer is the one that is left. If there is no row, it is the send, "
            "provided that 20 opens would be left by any other date, judged by young "
            "messages."
        ),
        probe=EncompassProbes.archive_clock,
    ),
    Question(
        name="bounce_types",
        asks="Which types of bounces are there?",
        readings={"known": "a known set of words", "free": "free text"},
        does="It takes the type as text.",
        how="No rule decides this. The report lists the words that it saw.",
    ),
    Question(
        name="refusals",
        asks="How is a request refused: with which status, after how many seconds?",
        readings={"status": "by 401, 403, 429 or 5xx", "other": "in another way"},
        does=(
            "After a 401 or 403 it asks for one new token. After a 429, a 5xx or a "
            "time-out it tries again, with smaller pages after a time-out. A 200 with "
            "a `message` in place of `data` is a time-out."
        ),
        how="It is not provoked.",
        basis="inferred",
        expects="status",
    ),
    Question(
        name="lifetime_in_fact",
        asks="How long is a token accepted in fact?",
        readings={"as said": "as long as it says", "shorter": "shorter"},
        does="A refused token is renewed once.",
        how="It is not asked: a report would have to wait that long.",
    ),
)
"""Cheap ones first: the requests may not suffice for all."""
