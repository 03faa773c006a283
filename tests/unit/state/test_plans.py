"""The order in which lists are read, and how a stopped run is continued."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.providers.constant_contact.schedule import (
    BY_CAMPAIGN,
    CampaignSchedule,
    CounterMark,
)
from tap_email_metrics.providers.encompass.schedule import NUMBERED, Mark
from tap_email_metrics.state.marks import QUARANTINE_AFTER
from tap_email_metrics.state.plans import (
    InOrder,
    Parent,
    Policy,
    Visit,
    history_key,
    in_turn,
    newest_first,
    spread,
    with_unlisted,
)
from tap_email_metrics.state.streams import StreamState

NOW = 1_790_000_000.0
DAY = 86_400.0
SENT = NOW - 400 * DAY
POLICY = Policy(window=30 * DAY)


def campaign(name: str, sent: float = SENT) -> Parent[str]:
    return Parent(name, sent=sent, newest=sent, oldest=sent)


@pytest.mark.parametrize("stops_after", [1, 2, 3])
def test_a_history_can_stop_between_campaigns_sent_at_the_same_time(
    stops_after: int,
) -> None:
    """Each run reads some of the history; together they read every campaign once."""
    parents = [campaign(name) for name in "bdac"]
    state = StreamState("constant_contact_opens", {}, BY_CAMPAIGN)
    schedule = CampaignSchedule(lambda _: 5)
    read: list[str] = []
    for _ in range(4):
        for visit in schedule.plan(parents, state, NOW, POLICY).history[:stops_after]:
            read.append(visit.parent.id)
            state.set_history(history_key(visit.parent))
    assert sorted(read) == ["a", "b", "c", "d"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), unique=True))
@settings(deadline=None)
def test_newest_first_sorts_by_strictly_falling_keys(
    whole: list[tuple[int, int]],
) -> None:
    parents = [Parent(one, newest=at / 10) for at, one in whole]
    visits: list[Visit[int, Mark]] = [
        Visit(parent, None, everything=True) for parent in parents
    ]
    keys = [history_key(visit.parent) for visit in newest_first(visits)]
    assert keys == sorted(keys, reverse=True)


def turns(marks: dict[int, Mark]) -> list[int]:
    """Return the ids of parents in the order of their visits; a higher id is newer."""
    visits = [
        Visit(Parent(one, newest=NOW - 10 * DAY + one), mark, everything=False)
        for one, mark in marks.items()
    ]
    random.Random(0).shuffle(visits)  # noqa: S311 - no secret
    return [visit.parent.id for visit in in_turn(visits, NOW)]


def test_the_list_that_was_read_longest_ago_comes_first() -> None:
    """Lists that are due in every run take turns, and new lists come first."""
    marks = {
        1: Mark(checked=NOW - 2 * DAY),
        2: Mark(checked=NOW - 3 * DAY),
        3: Mark(checked=NOW - 2 * DAY),
        4: Mark(),
    }
    assert turns(marks) == [4, 2, 3, 1]


def test_a_failed_or_cut_list_comes_after_the_others_for_two_days() -> None:
    """Failed lists come last, the oldest try first, but they are not starved."""
    checked = NOW - DAY
    marks = {
        1: Mark(checked=checked),
        2: Mark(checked=checked).failed(NOW - 0.2 * DAY),
        3: Mark().failed(NOW - 0.3 * DAY),
        4: Mark().interrupted(NOW - 0.1 * DAY),
        5: Mark().failed(NOW - 2 * DAY),
    }
    assert turns(marks) == [5, 1, 3, 2, 4]


@given(st.permutations(range(8)), st.integers(0, 8))
def test_a_saved_place_never_skips_a_visit_that_has_not_ended(
    ended: list[int], count: int
) -> None:
    """Lists end out of order, and a cut run must not skip any of them."""
    visits: list[Visit[int, Mark]] = [
        Visit(Parent(one), None, everything=True) for one in range(8)
    ]
    order = InOrder(visits)
    place = -1
    for number in ended[:count]:
        last = order.after(visits[number])
        place = place if last is None else last.parent.id
    done = set(ended[:count])
    assert set(range(place + 1)) <= done
    assert place + 1 not in done
    assert order.is_complete is (count == len(visits))


@given(st.integers(0, 60), st.integers(2, 10))
def test_a_sample_has_the_newest_the_oldest_and_parents_in_between(
    size: int, count: int
) -> None:
    """A stream is not judged by its newest parents alone."""
    visits: list[Visit[int, Mark]] = [
        Visit(Parent(one, newest=float(one)), None, everything=True)
        for one in range(size)
    ]
    random.Random(0).shuffle(visits)  # noqa: S311 - no secret
    ids = [visit.parent.id for visit in spread(visits, count)]
    assert len(set(ids)) == len(ids) == min(size, count)
    if ids:
        assert (ids[0], ids[-1]) == (size - 1, 0)
        widest = max((one - two for one, two in pairwise(ids)), default=0)
        assert widest <= (size - 1) / (len(ids) - 1) + 1 if len(ids) > 1 else True


def test_a_parent_that_is_not_listed_is_planned_from_its_mark() -> None:
    marks = {
        7: Mark(newest=NOW - DAY, checked=NOW),
        8: Mark(checked=NOW),
        9: Mark(),
    }
    listed = Parent(9, sent=NOW)
    assert list(with_unlisted([listed], marks)) == [
        listed,
        Parent(7, sent=NOW - DAY, newest=NOW - DAY, listed=False),
        Parent(8, sent=NOW, newest=NOW, listed=False),
    ]


times = st.none() | st.floats(-1e9, NOW)


@given(
    st.builds(
        CounterMark,
        counter=st.none() | st.integers(0, 10**9),
        newest=st.none() | st.integers(0, 2 * 10**12),
        tries=st.integers(0, 3),
        checked=times,
        verified=times,
        failures=st.sampled_from([0, 1, QUARANTINE_AFTER]),
        tried=times,
    )
)
@settings(deadline=None)
def test_a_campaigns_mark_is_the_same_after_packing(
    mark: CounterMark,
) -> None:
    assert mark.in_whole_minutes() == CounterMark.unpack(mark.pack())


@given(
    st.builds(
        Mark, newest=times, checked=times, failures=st.integers(0, 9), tried=times
    )
)
@settings(deadline=None)
def test_a_messages_mark_is_the_same_after_packing(mark: Mark) -> None:
    assert mark.in_whole_minutes() == Mark.unpack(mark.pack())


def test_a_stream_without_marks_leaves_marks_in_its_state_alone() -> None:
    """The same holds for a stream that this version of the tap does not know."""
    entry = {"marks": {"x": "?"}, "history": ["x"]}
    state: StreamState[int, Mark] = StreamState("encompass_gone", entry, None)
    assert state.marks == {}
    assert state.history is None
    with pytest.raises(TypeError, match="encompass_gone keeps no marks"):
        state.set_mark(1, Mark())
    assert entry == {"marks": {"x": "?"}, "history": ["x"]}
    assert StreamState("encompass_opens", {}, NUMBERED).format is NUMBERED
