"""Values as records hold them, with the edges often."""

from hypothesis import strategies as st

_WORDS = [
    "",
    "a",
    "A",
    "b",
    "ab",
    "a\x01",
    "a\x02",
    "a%b",
    "a_b",
    "ä",
    "Ä",
    "\uffff",
    "😀",
    "1",
    "true",
    "null",
    "'",
    '"',
    "\\",
    "%",
]
_SIZES = [0, 1, -1, 2, 0.0, -0.0, 1.0, 1.5, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 2**63, float(2**63), 10**30]
_EXTREMES = [10**400, -(10**400), 1e308, -1e308, 5e-324, 1e16, 9007199254740993]

TEXTS = st.one_of(
    st.sampled_from(_WORDS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from(_SIZES),
    st.sampled_from(_EXTREMES),
    st.integers(-5, 5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
plain = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
_keys = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=2), max_leaves=4
)  # fmt: skip
