"""One and two replicas of a model on a real server: what learn, predict, restore and so on promise.

Each test is a promise of DESIGN.md ("Append, commit, and what readers do", "Exactly once",
"Snapshots and restore"), tried through the Hub, without HTTP.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from app.errors import Conflict, IdempotencyConflict, ModelNotFound, Unavailable
from ftrl_core.batch import ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.entry import FEATURES_MAX
from ftrl_core.errors import BadConfig
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, state_of, until

RANDOM_SEED = 7
pytestmark = pytest.mark.compat


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(RANDOM_SEED)


async def test_learn_answers_with_position_and_predictions_made_before(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        batch = batch_of(random, 20)
        _, before = replica.predict(batch)
        outcome = await replica.learn(batch)
        assert (outcome.accepted, outcome.duplicates) == (20, 0)
        assert outcome.position == Position(1, 2)
        assert outcome.predictions[0] == before[0]
        position, after = replica.predict(batch)
        assert position == outcome.position
        assert not np.array_equal(before, after)


async def test_an_event_counts_once_whoever_sends_it_again(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        batch = batch_of(random, 10, first_id=1)
        assert (await one.learn(batch)).accepted == 10
        again = await two.learn(batch)
        assert (again.accepted, again.duplicates) == (0, 10)
        assert np.isnan(again.predictions).all()
        overlap = await one.learn(batch_of(random, 10, first_id=6))
        assert (overlap.accepted, overlap.duplicates) == (5, 5)
        await assert_agree(one, two)


async def test_a_request_over_several_entries_is_judged_by_its_key_as_one(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    rows = 3 * FEATURES_MAX // 6 + 10  # four entries
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        batch = batch_of(random, rows)
        first = await replica.learn(batch, idempotency_key=77, body_hash=5, covered=True)
        assert (first.accepted, first.position) == (rows, Position(1, 5))
        again = await replica.learn(batch, idempotency_key=77, body_hash=5, covered=True)
        assert (again.accepted, again.duplicates) == (0, rows)
        digest = replica.require_model().digest()
        with pytest.raises(IdempotencyConflict):
            await replica.learn(batch_of(random, rows), idempotency_key=77, body_hash=6)
        assert replica.require_model().digest() == digest


async def test_requests_that_share_entries_get_their_own_verdicts(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """A long request first, so that the others queue up and are appended as one group."""
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 3), idempotency_key=9, body_hash=1)
        sizes = [9000, 1, 5500, 7, 6000, 2]
        keys = [0, 9, 0, 9, 21, 22]
        bodies = [0, 1, 0, 2, 3, 4]
        outcomes = await asyncio.gather(
            *(
                replica.learn(batch_of(random, rows), idempotency_key=key, body_hash=body)
                for rows, key, body in zip(sizes, keys, bodies, strict=True)
            ),
            return_exceptions=True,
        )
        assert isinstance(outcomes[3], IdempotencyConflict)
        told = [o for o in outcomes if not isinstance(o, BaseException)]
        assert [o.accepted for o in told] == [9000, 0, 5500, 6000, 2]
        assert [o.duplicates for o in told] == [0, 1, 0, 0, 0]
        assert [o.predictions.size for o in told] == [9000, 1, 5500, 6000, 2]


async def test_concurrent_learners_on_two_replicas_are_all_told_and_agree(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        replicas = [await default_of(a), await default_of(b)]
        batches = [batch_of(random, 17, first_id=1 + 17 * i) for i in range(60)]

        async def learn(place: int) -> int:
            return (await replicas[place % 2].learn(batches[place])).accepted

        assert sum(await asyncio.gather(*map(learn, range(60)))) == 60 * 17
        await assert_agree(*replicas)
        assert replicas[0].require_model().examples == 60 * 17


async def test_what_one_replica_learned_the_other_predicts_at_that_position(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        for _ in range(50):
            batch = batch_of(random, 5)
            position = (await one.learn(batch)).position
            assert await two.wait_for(position, 5.0)
            assert np.array_equal(two.predict(batch)[1], one.predict(batch)[1])


async def test_a_message_that_is_lost_is_made_up_for_within_a_second(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Whoever hears nothing looks at meta all the same."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, deaf = await default_of(a), await default_of(b)
        deaf._owner._tasks[1].cancel()  # the subscription
        await asyncio.sleep(1.2)  # whatever it had heard is read
        position = (await one.learn(batch_of(random, 5))).position
        await until(lambda: deaf.require_model().position == position, "it looked", 3.0)
        await assert_agree(one, deaf)


async def test_waiting_for_a_position_that_does_not_come_ends(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        assert not await replica.wait_for(Position(1, 99), 0.1)
        assert await replica.wait_for(Position(0, 99), 0.1)  # an epoch that is past


async def test_a_cancelled_learn_is_learned_all_the_same(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        task = asyncio.create_task(replica.learn(batch_of(random, 4)))
        await asyncio.sleep(0)
        task.cancel()
        await until(lambda: replica.require_model().examples == 4, "the examples are folded")


async def test_stats_tell_digests_of_the_position_and_health(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 30, first_id=1))
        stats = await replica.stats()
        model = replica.require_model()
        assert stats["digest"] == model.digest()
        assert stats["state_digest"] == model.state_digest()
        assert (stats["examples"], stats["duplicates"]) == (30, 0)
        assert (stats["state"], stats["learn"], stats["stale_seconds"]) == ("live", True, 0.0)
        assert stats["log_regressions"] == 0
        assert stats["log_loss"] > 0


async def _learn_all(replica_batches: list[ExampleBatch], model: Model) -> Model:
    for batch in replica_batches:
        model.learn(batch)
    return model


async def test_restore_switches_both_replicas_and_learning_again_gives_the_same_digest(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        first, more = batch_of(random, 40, first_id=1), batch_of(random, 40, first_id=1000)
        await one.learn(first)
        at_snapshot = one.require_model().digest()
        probe = one.predict(first)[1]
        snapshot = await _learn_all([first], Model(one.require_model().config))
        await one.learn(more)
        after_more = one.require_model().digest()
        position = await one.restore(snapshot)
        assert position.epoch == 2
        assert one.require_model().digest() == at_snapshot
        assert await two.wait_for(position, 5.0)
        assert two.require_model().digest() == at_snapshot
        assert np.array_equal(two.predict(first)[1], probe)
        assert (await two.learn(first)).accepted == 0  # the window came back with the snapshot
        assert (await two.learn(more)).accepted == 40
        assert two.require_model().digest() == after_more
        await assert_agree(one, two)


async def test_of_two_restores_at_once_one_wins_and_the_other_is_refused(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        replicas = [await default_of(a), await default_of(b)]
        config = replicas[0].require_model().config
        models = [await _learn_all([batch_of(random, 9)], Model(config)) for _ in replicas]
        digests = [model.digest() for model in models]
        results = await asyncio.gather(
            *(r.restore(m) for r, m in zip(replicas, models, strict=True)), return_exceptions=True
        )
        refused = [r for r in results if isinstance(r, Conflict)]
        won = [i for i, r in enumerate(results) if isinstance(r, Position)]
        assert (len(refused), len(won)) == (1, 1), results
        await assert_agree(*replicas)
        assert replicas[0].require_model().digest() == digests[won[0]]


async def test_after_a_restore_with_another_seed_nothing_hashed_under_the_old_one_is_learned(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """The second replica has not read the restore when it appends: it must not append as is."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        other = Model({"table_bits": 12, "hash_seed": 99, "deduplication_window": 4096})
        restoring = asyncio.create_task(one.restore(other))
        refusals = []
        while not restoring.done() or two.require_model().config.hash_seed != 99:
            try:
                await two.learn(batch_of(random, 3), hash_seed=0)
            except Unavailable as error:
                refusals.append(error.outcome)
        await restoring
        await assert_agree(one, two)
        assert one.require_model().examples == 0
        assert set(refusals) <= {"not_learned"}


async def test_configure_reaches_both_replicas_and_keeps_predictions(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        batch = batch_of(random, 50)
        await one.learn(batch)
        before = one.predict(batch)[1]
        config = await one.configure({"table_bits": 13})
        assert config.table_bits == 13
        await assert_agree(one, two)
        assert np.array_equal(two.predict(batch)[1], before)
        with pytest.raises(BadConfig):
            await two.configure({"table_bits": 12})
        await two.learn(batch)
        await one.configure({"optimizer": {"learning_rate": 0.03}})
        await two.checkpoint()
        async with hub_on(redis_url, tmp_path / "c") as c:
            await assert_agree(one, two, await default_of(c))


async def test_two_changes_that_cannot_both_be_made_leave_every_replica_alive(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Each is right where it was checked; the second to be folded would shrink the table."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        results = await asyncio.gather(
            one.configure({"table_bits": 14}),
            two.configure({"table_bits": 13}),
            return_exceptions=True,
        )
        assert all(isinstance(r, ModelConfig | BadConfig | Conflict) for r in results), results
        await one.learn(batch_of(random, 5))
        await two.learn(batch_of(random, 5))
        await assert_agree(one, two)
        assert one.require_model().config.table_bits in (13, 14)


async def test_a_model_deleted_elsewhere_is_gone_here(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        await a.create("shop", {"table_bits": 10, "deduplication_window": 64})
        follower = await b.get("shop")
        follower.require_model()
        await follower.learn(batch_of(random, 3))
        await a.delete("shop")
        await until(lambda: follower.state == "deleted", "the other replica sees the deletion")
        with pytest.raises(ModelNotFound):
            await b.get("shop")
        with pytest.raises(ModelNotFound):
            await follower.learn(batch_of(random, 3))
        assert b.ready()[0]
        again, made = await b.create("shop", {"table_bits": 10, "deduplication_window": 64})
        assert made
        assert again.require_model().examples == 0
        assert again.incarnation != follower.incarnation


async def test_closing_learns_what_was_queued(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as hub:
        replica = await default_of(hub)
        learning = [asyncio.create_task(replica.learn(batch_of(random, 5))) for _ in range(4)]
        await asyncio.sleep(0)
    assert sum([(await task).accepted for task in learning]) == 20
    async with hub_on(redis_url, tmp_path / "b") as hub:
        assert (await state_of(await default_of(hub)))[0] == str((await learning[-1]).position)


async def test_stats_answer_while_the_queue_is_worked_off(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        stop = asyncio.Event()

        async def learn() -> None:
            while not stop.is_set():
                await replica.learn(batch_of(random, 50))

        learners = [asyncio.create_task(learn()) for _ in range(4)]
        await asyncio.sleep(0.05)
        try:
            for _ in range(5):
                async with asyncio.timeout(2):
                    await replica.stats()
        finally:
            stop.set()
            await asyncio.gather(*learners)
