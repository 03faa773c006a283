"""The open questions about LuxSci's API, in one table.

An answer that a contract report has confirmed is entered here: `expects` names the
reading, `confirmed` the date of the report.
"""

from __future__ import annotations

from tap_email_metrics.contract.questions import Question
from tap_email_metrics.providers.luxsci.probes import LuxSciProbes

_SAMPLE = "The first report with three rows in the last 60 days"

QUESTIONS: tuple[Question, ...] = (
    Question(
        name="at_sign",
        asks="How is the `@` of a login written in a path?",
        readings={
            "both": "as `@` or as `%40`",
            "plain": "as `@` only",
            "encoded": "as `%40` only",
        },
        does="It signs and sends `@`, as the vendor's samples do.",
        how="One report of a login, with each spelling.",
        basis="seen in clients",
        expects="plain",
        probe=LuxSciProbes.at_sign,
    ),
    Question(
        name="row_form",
        asks="Are rows arrays or objects?",
        readings={"arrays": "arrays", "objects": "objects"},
        does="It takes both.",
        how=f"{_SAMPLE}.",
        probe=LuxSciProbes.row_form,
    ),
    Question(
        name="header_place",
        asks="Where is the header?",
        readings={
            "top": "at the top of the answer",
            "data": "below `data`",
            "nowhere": "nowhere",
        },
        does="It takes both; rows that are arrays need one.",
        how=f"{_SAMPLE}.",
        probe=LuxSciProbes.header_place,
    ),
    Question(
        name="header_form",
        asks="Are the entries of the header strings or objects?",
        readings={"strings": "strings", "objects": "objects"},
        does="It takes both; of an object it takes the label that is a known column.",
        how=f"{_SAMPLE}.",
        probe=LuxSciProbes.header_form,
    ),
    Question(
        name="count_place",
        asks="Where is the number of rows?",
        readings={"top": "at the top of the answer", "data": "below `data`"},
        does="It takes both, under several names.",
        how="The same report with `matches=0`.",
        probe=LuxSciProbes.count_place,
    ),
    Question(
        name="count_meaning",
        asks="What does the number beside rows count?",
        readings={
            "all": "all rows of the window",
            "page": "the rows of the page",
            "nothing": "there is none beside rows",
        },
        does="It asks with `matches=0` for a count that it trusts.",
        how="Two rows of a report with more, compared with its count.",
        probe=LuxSciProbes.count_meaning,
    ),
    Question(
        name="page_size",
        asks="Is `matches`, the number of rows per page, heeded?",
        readings={
            "heeded": "yes",
            "cut": "the server sends fewer",
            "ignored": "no",
        },
        does="It continues after the last row received.",
        how="Two rows of a report with more, and a page of up to 500.",
        basis="documented",
        expects="heeded",
        probe=LuxSciProbes.page_size,
    ),
    Question(
        name="page_limit",
        asks="Does a page hold 50,000 rows?",
        readings={
            "50000": "yes",
            "fewer": "no: a page is shorter than what was asked for, and rows follow",
        },
        does="It asks for 50,000 rows, and continues after the last row received.",
        how=(
            "All rows of a year, or of 60 days if a year has more than 50,000, and the "
            "two rows after the page that came."
        ),
        basis="documented",
        expects="50000",
        probe=LuxSciProbes.page_limit,
    ),
    Question(
        name="delivery_date",
        asks="Which date bounds the report of deliveries?",
        readings={"own": "the last update", "send": "the send"},
        does=(
            "It notices rows whose own date lies outside the window, and from then on "
            "reads that list's look-back of `delivery_lookback_days`."
        ),
        how=(
            "For up to two rows with different dates: the second of each date. The one "
            "that shows the row alone bounds the report."
        ),
        settings=("luxsci.delivery_lookback_days",),
        probe=LuxSciProbes.delivery_date,
    ),
    Question(
        name="event_date",
        asks="Which date bounds the reports of opens, clicks and other events?",
        readings={"own": "the event's own", "send": "the send's"},
        does=(
            "It notices rows whose own date lies outside the window, and from then on "
            "reads that list's look-back of `delivery_lookback_days`."
        ),
        how="For up to two opens: the second of each date.",
        settings=("luxsci.delivery_lookback_days",),
        probe=LuxSciProbes.event_date,
    ),
    Question(
        name="order",
        asks="In which order do rows come?",
        readings={
            "rising": "by the date that bounds the report, oldest first",
            "falling": "by that date, newest first",
            "another": "in another order, such as that of insertion",
        },
        does=(
            "It never relies on it: it counts before and after, and takes no row of an "
            "earlier page again."
        ),
        how="The two dates of the rows of a report of deliveries.",
        probe=LuxSciProbes.order,
    ),
    Question(
        name="no_date",
        asks="What stands for no date?",
        readings={"null": "null", "empty": "an empty text", "zero": "zeros"},
        does="Each of them becomes null.",
        how="The dates of all rows that were read.",
        basis="inferred",
        probe=LuxSciProbes.no_date,
    ),
    Question(
        name="numbers",
        asks="Do whole numbers come as numbers or as texts?",
        readings={"numbers": "as numbers", "texts": "as texts"},
        does="It takes both; what does not fit is null, and kept.",
        how="The number columns of all rows that were read.",
        probe=LuxSciProbes.numbers,
    ),
    Question(
        name="tracked_headers",
        asks="Are captured headers asked for by `tracked_headers=1`?",
        readings={"adds": "yes", "otherwise": "no: in another way"},
        does="It sends that where `luxsci.tracked_headers` is set.",
        how=(
            "A report with that parameter. New columns say yes. Without any, the "
            "question stays open: perhaps no header is captured."
        ),
        probe=LuxSciProbes.tracked_headers,
    ),
    Question(
        name="detail",
        asks="Are custom fields asked for by `detail=1`?",
        readings={"adds": "yes", "otherwise": "no: in another way"},
        does="It sends that where `luxsci.detail` is set.",
        how=(
            "The marketing logs of up to three logins with that parameter. New columns "
            "say yes. Without any, the question stays open: perhaps there is no custom "
            "field."
        ),
        probe=LuxSciProbes.detail,
    ),
    Question(
        name="code_life",
        asks="How long does an auth code live?",
        readings={"a run": "at least as long as a run", "shorter": "shorter"},
        does="It uses a code until it is refused, and then asks for one new one.",
        how="It is not asked: a report would have to wait.",
    ),
    Question(
        name="revocation",
        asks="How is an auth code revoked?",
        readings={"delete": "by `DELETE` on `/auth`", "other": "in another way"},
        does="It sends that at the end of a run; a failure has no consequence.",
        how="It is not asked: the request is sent at the end of each run.",
        basis="inferred",
        expects="delete",
    ),
    Question(
        name="allowed_skew",
        asks="How far may the clock of a client be off?",
        readings={"minutes": "some minutes", "seconds": "less"},
        does="It says by how much the clocks differ where credentials are refused.",
        how="It is not asked: a wrong date would look like an attack.",
    ),
    Question(
        name="refusals",
        asks="How is a request denied, throttled, or out of quota?",
        readings={"status": "by its status", "words": "by words in a 200"},
        does=(
            "It goes by the status, and in a 200 with `success` 0 and in a 429 also by "
            "words of the error text, which are guesses. Such words and the two clocks "
            "tell why credentials were refused. It never shows the text."
        ),
        how="It is not provoked.",
    ),
    Question(
        name="where",
        asks="Where are the reports?",
        readings={
            "as assumed": "where the tap looks for them",
            "elsewhere": "at least one is at another path",
        },
        does=(
            "It looks in `path_overrides`, in `openapi_path`, then in its own table. A "
            "404 on a guess says which setting mends it."
        ),
        how=(
            "Each report with `matches=0`: 404 is another path, 403 a report that the "
            "integration may not read. A report of logins is missing if it is for up "
            "to three of them. A missing report is looked for under other spellings "
            "until the requests are spent."
        ),
        settings=("luxsci.path_overrides", "luxsci.openapi_path"),
        probe=LuxSciProbes.where,
    ),
)
