"""Any mark of an Encompass list, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tap_email_metrics.providers.encompass.schedule import Mark
from tests.support.encompass import NOW

instants = st.floats(1_451_606_400.0, NOW)
marks = st.builds(
    Mark,
    rows=st.integers(0, 10**9),
    last_id=st.none() | st.integers(-(2**63), 2**63 - 1),
    newest=st.none() | instants,
    checked=st.none() | instants,
    order=st.sampled_from(["a", "d", "n"]),
    verified=st.integers(0, 200),
    unsettled=st.sampled_from([False, False, True]),
    total=st.none() | st.integers(0, 10**9),
    failures=st.sampled_from([0, 0, 0, 0, 1, 4, 5, 99]),
    tried=st.none() | instants,
    ahead=st.sampled_from([0, 0, 1, 999]),
)
