"""No account and no duplicate stands on two sides, whatever the posts; and what was promised about stability holds."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tweetcap.collect.splits import SHARES, SPLITS, SplitPost, assign_splits


def date(number: int) -> str:
    return f"2024-01-{1 + number // 1440 % 28:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00.000Z"


@st.composite
def some_posts(draw, fewest_accounts: int = 1):
    """Posts of up to 12 accounts, every one of which has one; drawn from a seed, since single draws take long."""
    accounts, clusters = draw(st.integers(fewest_accounts, 12)), draw(st.integers(1, 40))
    count, most = draw(st.integers(accounts, 60)), draw(st.integers(0, 3))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return [
        SplitPost(
            post_id=str(1000 + number),
            account=f"u{number if number < accounts else rng.randrange(accounts)}",
            created_at=date(rng.randrange(5000)),
            clusters=tuple(f"c{cluster}" for cluster in {rng.randrange(clusters) for _ in range(rng.randint(0, most))}),
        )
        for number in range(count)
    ]


def shared_out(posts, splits, key) -> dict[str, set[str]]:
    """Return the splits in which each value of `key` (a function that yields several) occurs."""
    seen: dict[str, set[str]] = {}
    for post in posts:
        if post.post_id in splits.posts:
            for value in key(post):
                seen.setdefault(value, set()).add(splits.posts[post.post_id])
    return seen


@given(some_posts())
@settings(deadline=None)
def test_no_duplicate_cluster_crosses_splits_and_every_post_has_one(posts):
    splits = assign_splits(posts)
    assert set(splits.posts) | set(splits.dropped) == {post.post_id for post in posts}
    assert not set(splits.posts) & set(splits.dropped)
    assert set(splits.posts.values()) <= set(SPLITS)
    assert all(len(found) == 1 for found in shared_out(posts, splits, lambda post: post.clusters).values())


@given(some_posts(fewest_accounts=3))
@settings(deadline=None)
def test_no_account_crosses_splits_and_no_split_stays_empty(posts):
    splits = assign_splits(posts)
    assert splits.by == "account"
    assert all(len(found) == 1 for found in shared_out(posts, splits, lambda post: [post.account]).values())
    authors = {post.account for post in posts if post.post_id in splits.posts}
    assert len(set(splits.posts.values())) == min(len(authors), 3)


@given(some_posts(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_posts_does_not_matter(posts, rng):
    shuffled = posts[:]
    rng.shuffle(shuffled)
    assert assign_splits(shuffled) == assign_splits(posts)


@given(some_posts())
@settings(deadline=None)
def test_a_dropped_post_copies_an_earlier_one_of_another_account_that_stays(posts):
    by_id = {post.post_id: post for post in posts}
    splits = assign_splits(posts)
    for copy, original in splits.dropped.items():
        assert original in splits.posts
        assert by_id[original].age < by_id[copy].age
        assert by_id[original].account != by_id[copy].account
        assert set(by_id[original].clusters) & set(by_id[copy].clusters)


@given(some_posts(fewest_accounts=3), some_posts(fewest_accounts=1))
@settings(deadline=None)
def test_an_account_keeps_its_split_when_posts_and_accounts_are_added(posts, more):
    before = assign_splits(posts)
    more = [
        SplitPost(
            f"9{post.post_id}",
            f"new {post.account}" if int(post.account[1:]) % 2 else post.account,
            post.created_at,
            post.clusters,
        )
        for post in more
    ]
    after = assign_splits([*posts, *more], previous=before.accounts)
    assert {account: after.accounts[account] for account in before.accounts} == before.accounts
    everything = [*posts, *more]
    assert all(len(found) == 1 for found in shared_out(everything, after, lambda post: post.clusters).values())
    assert all(len(found) == 1 for found in shared_out(everything, after, lambda post: [post.account]).values())


@given(some_posts(fewest_accounts=3), st.integers(0, 99))
@settings(deadline=None)
def test_dividing_the_same_posts_again_changes_nothing(posts, seed):
    once = assign_splits(posts, seed=seed)
    again = assign_splits(posts, previous=once.accounts, seed=seed)
    assert (again.posts, again.accounts, again.dropped) == (once.posts, once.accounts, once.dropped)
    kept = [post for post in posts if post.post_id in once.posts]
    assert assign_splits(kept, previous=once.accounts, seed=seed).posts == once.posts


def corpus(seed: int, steal: float) -> list[SplitPost]:
    """31 accounts of very different sizes; a share of the posts copies another's photo."""
    rng = random.Random(seed)
    posts = []
    for number in range(3000):
        account = f"u{min(int(rng.expovariate(0.12)), 30):02d}"
        stolen = posts and rng.random() < steal
        cluster = rng.choice(posts).clusters if stolen else (f"c{number}",)
        posts.append(SplitPost(str(10**6 + number), account, date(number), cluster))
    return posts


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_are_met_as_well_as_whole_accounts_allow(seed):
    splits = assign_splits(corpus(seed, steal=0))
    assert not splits.dropped and not splits.notes
    assert splits.shares() == pytest.approx(SHARES, abs=0.03)


def test_accounts_that_all_steal_from_each_other_lose_the_later_copies_and_are_told_so():
    posts = corpus(0, steal=0.1)
    splits = assign_splits(posts)
    assert "31 accounts share photos or texts" in splits.notes[0] and "left out" in splits.notes[0]
    assert 0 < len(splits.dropped) < 0.06 * len(posts)  # copies within a split stay
    assert splits.shares() == pytest.approx(SHARES, abs=0.05)


def test_a_pair_that_shares_a_photo_goes_to_one_split_and_loses_nothing():
    posts = [SplitPost(str(n), f"u{n % 10}", date(n), (f"c{n}",)) for n in range(100)]
    posts.append(SplitPost("100", "u4", date(100), ("c7",)))
    splits = assign_splits(posts)
    assert splits.groups == [["u4", "u7"]] and not splits.dropped
    assert splits.accounts["u4"] == splits.accounts["u7"]


def test_one_account_is_divided_by_post_stably_and_with_its_duplicates_together():
    posts = [SplitPost(str(n), "me", date(n), (f"c{n // 2}",)) for n in range(2000)]
    splits = assign_splits(posts)
    assert splits.by == "post" and "1 account is too few" in splits.notes[0]
    assert splits.shares() == pytest.approx(SHARES, abs=0.03)
    more = [*posts, *(SplitPost(str(n), "me", date(n), (f"c{n // 2}",)) for n in range(2000, 2500))]
    assert splits.posts.items() <= assign_splits(more).posts.items()


def test_a_large_account_fills_train_and_the_small_ones_are_held_out():
    posts = [SplitPost(str(n), "big" if n < 90 else f"u{n % 2}", date(n)) for n in range(100)]
    splits = assign_splits(posts)
    assert splits.accounts["big"] == "train"
    assert Counter(splits.posts.values()) == {"train": 90, "validation": 5, "test": 5}


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.9, "test": 0.1},
        {"train": 0.9, "validation": 0.2, "test": 0.1},
        {"train": 0, "validation": 0.5, "test": 0.5},
        {"train": 1.1, "validation": -0.1, "test": 0},
    ],
)
def test_shares_that_do_not_add_up_are_named(shares):
    with pytest.raises(ValueError, match="the shares are"):
        assign_splits([], shares)


def test_a_split_that_is_not_wanted_stays_empty():
    posts = [SplitPost(str(n), f"u{n % 10}", date(n)) for n in range(100)]
    splits = assign_splits(posts, {"train": 0.9, "validation": 0.1, "test": 0.0})
    assert Counter(splits.posts.values()) == {"train": 90, "validation": 10}
    assert assign_splits([]).posts == {}
