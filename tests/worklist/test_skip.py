"""The skip rule: cases from its definition, a plain reference, and independence of any order."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi.core.messages import TASK_DTYPE
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.worklist.skip_lines import skipped_lines
from tasoc_mpi.worklist.skip_rule import StarIndex, groups, primaries, skip_rule

OK, ERROR, WARNING, ABORT, UNKNOWN = STATUS.OK, STATUS.ERROR, STATUS.WARNING, STATUS.ABORT, STATUS.UNKNOWN


def outcome(stars, claims):
    """{starid: skipping starid}; stars {starid: (tmag, own status[, primary])}, claims {starid: [...]}."""
    ids = list(stars)
    skipped_by = skip_rule(
        StarIndex(np.zeros(len(ids), np.int64), np.array(ids, dtype=np.int64)),
        np.array([stars[i][0] for i in ids], dtype=float),
        np.array([stars[i][2] if len(stars[i]) > 2 else -1 for i in ids], dtype=np.int64),
        np.array([stars[i][1] for i in ids], dtype=np.int32),
        np.array([ids.index(i) for i, listed in claims.items() for _ in listed], dtype=np.int64),
        np.array([other for listed in claims.values() for other in listed], dtype=np.int64),
    )
    return {ids[i]: ids[by] for i, by in enumerate(skipped_by) if by >= 0}


def test_nothing():
    assert outcome({}, {}) == {}
    assert outcome({1: (10, OK)}, {}) == {}


def test_a_bright_star_skips_the_fainter_ones_of_its_mask():
    stars = {1: (8, OK), 2: (10, OK), 3: (12, OK), 4: (13, OK)}
    assert outcome(stars, {1: [2, 3]}) == {2: 1, 3: 1}


def test_a_faint_star_is_skipped_by_the_brightest_of_its_mask():
    stars = {1: (8, OK), 2: (10, OK), 3: (12, WARNING)}
    assert outcome(stars, {3: [2, 1]}) == {3: 1}


@pytest.mark.parametrize("own", [ERROR, ABORT])
def test_a_star_without_a_light_curve_has_no_say(own):
    assert outcome({1: (8, own), 2: (10, OK)}, {1: [2]}) == {}
    # ... and is no reason to skip another one, which then skips it.
    assert outcome({1: (8, own), 2: (10, OK), 3: (11, OK)}, {2: [1, 3]}) == {3: 2}


@pytest.mark.parametrize("own", [UNKNOWN, ERROR, ABORT, OK, WARNING])
def test_a_fainter_star_is_skipped_whatever_became_of_it(own):
    assert outcome({1: (8, OK), 2: (10, own)}, {1: [2]}) == {2: 1}


def test_a_skipped_star_has_no_say():
    stars = {1: (8, OK), 2: (10, OK), 3: (12, OK)}
    assert outcome(stars, {1: [2], 2: [3]}) == {2: 1}
    # 2 skips itself for 1 and so does not skip 3.
    assert outcome(stars, {2: [1, 3]}) == {2: 1}
    # 2 is skipped, so it is no reason to skip 3.
    assert outcome(stars, {1: [2], 3: [2]}) == {2: 1}


def test_equal_magnitudes_go_by_tic_id_and_unknown_ones_last():
    assert outcome({7: (10, OK), 3: (10, OK)}, {7: [3], 3: [7]}) == {7: 3}
    assert outcome({1: (np.nan, OK), 2: (16, OK)}, {1: [2], 2: [1]}) == {1: 2}


def test_stars_outside_the_work_list_do_not_count():
    assert outcome({2: (10, OK), 3: (12, OK)}, {2: [1, 3, 99]}) == {3: 2}
    assert outcome({2: (10, OK)}, {2: [2]}) == {}


def test_a_secondary_target_that_holds_its_primary_is_skipped_by_it():
    # Brighter than the primary, and a third star in its mask is brighter still.
    stars = {1: (6, OK), 2: (8, OK, 3), 3: (11, OK)}
    assert outcome(stars, {2: [3, 1]}) == {2: 3}
    assert outcome(stars, {2: [3], 3: [2]}) == {2: 3}
    # Without its primary in the mask it is a star like any other.
    assert outcome(stars, {2: [1]}) == {2: 1}
    assert outcome(stars, {3: [2]}) == {3: 2}


def test_a_secondary_target_does_not_skip_a_primary_that_has_failed():
    stars = {2: (8, OK, 3), 3: (11, ERROR), 4: (12, OK)}
    assert outcome(stars, {2: [3, 4]}) == {4: 2}


def test_groups_and_primaries_of_rows():
    rows = np.zeros(7, TASK_DTYPE)
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = 1, 2, 3, 1800
    rows["datasource"] = ["ffi", "ffi", "tpf", "tpf:44", "tpf:45", "ffi", "ffi"]
    rows["ccd"][5] = 4
    rows["cadence"][6] = 600
    group = groups(rows)
    assert group[0] == group[1]
    assert group[2] == group[3] == group[4]
    assert len(set(group.tolist())) == 4
    assert primaries(rows).tolist() == [-1, -1, -1, 44, 45, -1, -1]


@st.composite
def fields(draw):
    """Stars of up to three groups with results and skip lists, some of them secondary targets."""
    n = draw(st.integers(1, 9))
    ids = draw(st.permutations(range(1, n + 1)))
    star = st.tuples(
        st.integers(0, 1),
        st.integers(5, 8),
        st.sampled_from([OK, OK, OK, WARNING, ERROR, ABORT]),
        st.lists(st.integers(1, n + 1), max_size=4, unique=True),
        st.sampled_from([-1, -1, -1, 1, 2]),
    )
    return [(i, *draw(star)) for i in ids]


def apply(stars):
    """`skip_rule` for [(starid, group, tmag, own, claims, primary)] as a list of indices."""
    columns = list(zip(*stars, strict=True))
    return skip_rule(
        StarIndex(np.array(columns[1], np.int64), np.array(columns[0], np.int64)),
        np.array(columns[2], float),
        np.array(columns[5], np.int64),
        np.array(columns[3], np.int32),
        np.array([i for i, star in enumerate(stars) for _ in star[4]], np.int64),
        np.array([other for star in stars for other in star[4]], np.int64),
    ).tolist()


def reference(stars):
    """The rule as its definition reads, star by star."""
    index = {star[0]: i for i, star in enumerate(stars)}

    def key(i, follow=True):
        starid, group, tmag, _, claims, primary = stars[i]
        own = (tmag, starid)
        if follow and primary in claims and primary != starid and primary in index:
            p = index[primary]
            if stars[p][1] == group and key(p, False) > own:
                return (*key(p, False)[:2], 1, *own)
        return (*own, 0, *own) if follow else own

    skipped = {}
    for i in sorted(range(len(stars)), key=key):
        starid, group, _, own, claims, primary = stars[i]
        if i in skipped or own not in (OK, WARNING):
            continue
        listed = [index[c] for c in claims if c != starid and c in index and stars[index[c]][1] == group]
        brighter = [
            j for j in listed if key(j) < key(i) and j not in skipped and stars[j][3] in (OK, WARNING)
        ]
        if brighter:
            first = [j for j in brighter if stars[j][0] == primary]
            skipped[i] = first[0] if first else min(brighter, key=lambda j: (stars[j][2], stars[j][0]))
        else:
            for j in listed:
                if key(j) > key(i):
                    skipped.setdefault(j, i)
    return [skipped.get(i, -1) for i in range(len(stars))]


@settings(max_examples=400, deadline=None)
@given(fields())
def test_agrees_with_the_definition(stars):
    assert apply(stars) == reference(stars)


@given(fields(), st.randoms())
def test_does_not_depend_on_the_order_of_rows_or_claims(stars, random):
    by_id = {star[0]: (stars[by][0] if by >= 0 else -1) for star, by in zip(stars, apply(stars), strict=True)}
    shuffled = [(*star[:4], random.sample(star[4], len(star[4])), star[5]) for star in stars]
    random.shuffle(shuffled)
    for star, by in zip(shuffled, apply(shuffled), strict=True):
        assert by_id[star[0]] == (shuffled[by][0] if by >= 0 else -1)


@given(fields())
def test_a_skipped_star_is_skipped_by_a_published_one_of_its_group(stars):
    skipped_by = apply(stars)
    for i, by in enumerate(skipped_by):
        if by >= 0:
            assert skipped_by[by] == -1
            assert stars[by][3] in (OK, WARNING)
            assert stars[by][1] == stars[i][1]
            assert stars[i][0] in stars[by][4] or stars[by][0] in stars[i][4]


@settings(max_examples=300, deadline=None)
@given(fields(), st.data())
def test_stars_that_others_skip_need_not_be_computed(stars, data):
    """Computing in any order, without what is skipped by then, until nothing is left: the same outcome."""
    complete = apply(stars)
    known = [(*star[:3], UNKNOWN, [], star[5]) for star in stars]
    while True:
        skipped_by = apply(known)
        left = [i for i, by in enumerate(skipped_by) if by < 0 and known[i][3] == UNKNOWN]
        if not left:
            break
        for i in data.draw(st.lists(st.sampled_from(left), min_size=1, unique=True)):
            known[i] = stars[i]
    assert skipped_by == complete


def test_many_stars_are_quick():
    """A CCD's worth of stars of which every fourth has a skip list takes a second, not minutes."""
    n = 200_000
    start = time.process_time()
    rng = np.random.default_rng(1)
    claim_row = np.repeat(np.arange(0, n, 4), 3)
    found = skip_rule(
        StarIndex(np.arange(n) // 10_000, np.arange(n)),
        rng.uniform(5, 15, n),
        np.full(n, -1),
        np.ones(n, np.int32),
        claim_row,
        np.minimum(claim_row + np.tile([1, 2, 3], n // 4), n - 1),
    )
    assert (found >= 0).sum() > n / 4
    assert time.process_time() - start < 10


def test_the_largest_tic_number_is_found():
    largest = 2**63 - 1
    index = StarIndex(np.zeros(3, np.int64), np.array([largest, 7, largest - 1]))
    assert index.find(largest).tolist() == [0]
    assert index.find(largest - 1).tolist() == [2]


def test_lines_about_skipped_stars_name_a_star_once():
    """Stars 1 and 2 have two rows each; star 3 is in the masks of two stars."""
    rows = np.zeros(8, TASK_DTYPE)
    rows["starid"], rows["tmag"] = [1, 1, 4, 2, 2, 3, 5, 3], [7, 7, 8, 9, 9, 10, 11, 10]
    skipped_by = np.array([-1, -1, -1, 0, 1, 0, 2, 2])
    lines = list(skipped_lines(rows, skipped_by, "sector1 --photometry halo", 3))
    assert lines == [
        "SKIPPED: the light of 3 stars is in the light curve of a brighter star",
        "  by TIC 1 (Tmag 7.00): TIC 2, TIC 3",
        "  by TIC 4 (Tmag 8.00): TIC 5, TIC 3",
        "  `tasoc-mpi show 1 sector1 --photometry halo` shows the first of these stars",
    ]
    assert list(skipped_lines(rows, skipped_by, "sector1", 1))[2] == "  and 2 stars by 1 other star"
    assert list(skipped_lines(rows, np.full(8, -1), "sector1", 3)) == []
