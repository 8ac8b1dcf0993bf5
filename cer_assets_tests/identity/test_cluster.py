import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from cer_assets.identity.cluster import MILLION, average_linkage, components, joins

CUT = MILLION // 2


def arrays(pairs: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.array([(a, b, s) for (a, b), s in pairs.items()], dtype=np.int64).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist())) == len(set(other.tolist()))
    )


# Distinct scores, since ties are settled by position here and by scipy in its own way.
scores = st.lists(st.integers(0, MILLION), min_size=45, max_size=45, unique=True)


@settings(deadline=None, max_examples=60)
@given(scores, st.integers(100_000, 900_000))
def test_groups_are_those_of_textbook_average_linkage(drawn: list[int], cut: int) -> None:
    pairs = {(a, b): drawn.pop() for a in range(10) for b in range(a + 1, 10)}
    ours = average_linkage(*arrays(pairs), size=10, cut=cut, cap=100)
    distance = np.array([1 - pairs[a, b] / MILLION for a in range(10) for b in range(a + 1, 10)])
    theirs = fcluster(linkage(distance, "average"), 1 - cut / MILLION, criterion="distance")
    assert same_partition(ours, theirs)


@settings(deadline=None, max_examples=30)
@given(scores)
def test_joins_are_at_the_heights_of_the_textbook_dendrogram(drawn: list[int]) -> None:
    pairs = {(a, b): drawn.pop() for a in range(10) for b in range(a + 1, 10)}
    rounds = list(joins(*arrays(pairs), size=10, cut=0, cap=10))
    ours = sorted(float(mean) for _, _, means in rounds for mean in means)
    distance = np.array([MILLION - pairs[a, b] for a in range(10) for b in range(a + 1, 10)])
    assert np.allclose(ours, sorted(MILLION - linkage(distance, "average")[:, 2]))
    # What went into another group is never named again, and a group is named by its smallest record.
    gone = np.concatenate([g for _, g, _ in rounds])
    assert len(set(gone.tolist())) == len(gone) == 9
    assert all((into < gone).all() for into, gone, _ in rounds)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(0, MILLION)), max_size=40), st.randoms())
def test_the_order_of_pairs_does_not_matter(rows: list[tuple[int, int, int]], random) -> None:
    pairs = {(min(a, b), max(a, b)): s for a, b, s in rows if a != b}
    mixed = list(pairs.items())
    random.shuffle(mixed)
    one = average_linkage(*arrays(pairs), size=12, cut=CUT, cap=100)
    other = average_linkage(*arrays(dict(mixed)), size=12, cut=CUT, cap=100)
    assert one.tolist() == other.tolist()


def test_a_bridge_does_not_join_what_does_not_belong_together() -> None:
    bridge = {(0, 1): 990_000, (1, 2): 900_000, (0, 2): 10_000}
    assert average_linkage(*arrays(bridge), size=3, cut=CUT, cap=100).tolist() == [0, 0, 2]


def test_no_group_grows_over_the_cap() -> None:
    clique = {(a, b): 999_000 for a in range(9) for b in range(a + 1, 9)}
    groups = average_linkage(*arrays(clique), size=9, cut=CUT, cap=4)
    assert np.bincount(groups).max() <= 4


def test_a_component_over_the_cap_is_taken_apart_at_higher_scores() -> None:
    chain = {(i, i + 1): 990_000 if i % 2 == 0 else 600_000 for i in range(7)}
    together = components(*arrays(chain), size=8, cuts=[CUT, 900_000], cap=8)
    apart = components(*arrays(chain), size=8, cuts=[CUT, 900_000], cap=4)
    assert together.tolist() == [0] * 8
    assert apart.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]


def test_without_pairs_everyone_is_alone() -> None:
    assert average_linkage(*arrays({}), size=3, cut=CUT, cap=9).tolist() == [0, 1, 2]
    assert components(*arrays({}), size=3, cuts=[CUT], cap=9).tolist() == [0, 1, 2]
