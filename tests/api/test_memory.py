"""Bounded memories: repeats wait for the first, failures are forgotten, the oldest goes first."""

import asyncio

import pytest

from api.memory import MAX_BYTES, RecentKeys, RecentReplies
from api.problems import ProblemError


def run(coroutine):
    return asyncio.run(coroutine)


def test_concurrent_repeats_wait_for_one_reply():
    async def scene():
        made = 0

        async def make():
            nonlocal made
            made += 1
            await asyncio.sleep(0)
            return b"reply"

        replies = RecentReplies(10)
        bodies = await asyncio.gather(*(replies.once("a", b"same", make) for _ in range(5)))
        return made, bodies

    assert run(scene()) == (1, [b"reply"] * 5)


def test_another_request_under_the_same_id_is_refused():
    async def scene():
        async def make():
            return b"reply"

        replies = RecentReplies(10)
        await replies.once("a", b"one", make)
        await replies.once("a", b"two", make)

    with pytest.raises(ProblemError) as refused:
        run(scene())
    assert refused.value.kind == "request-id-reused"


def test_a_failure_reaches_all_who_wait_and_is_forgotten():
    async def scene():
        async def fail():
            await asyncio.sleep(0)
            raise ProblemError("starting", "not yet")

        async def make():
            return b"reply"

        replies = RecentReplies(10)
        calls = (replies.once("a", b"same", fail) for _ in range(3))
        failed = await asyncio.gather(*calls, return_exceptions=True)
        return [type(each) for each in failed], await replies.once("a", b"other", make)

    assert run(scene()) == ([ProblemError] * 3, b"reply")


def test_the_oldest_reply_is_forgotten_first():
    async def scene():
        made = []

        def maker(name):
            async def make():
                made.append(name)
                return name.encode()

            return make

        replies = RecentReplies(2)
        for name in ("a", "b", "c", "b", "a"):
            await replies.once(name, name, maker(name))
        return made

    assert run(scene()) == ["a", "b", "c", "a"]


@pytest.mark.parametrize("capacity", [0, 1])
def test_replies_forgotten_while_they_are_made_do_not_fill_the_memory(capacity):
    async def scene():
        replies = RecentReplies(capacity)

        async def make():
            await asyncio.sleep(0)
            return bytes(MAX_BYTES // 3)

        async def fail():
            await asyncio.sleep(0)
            raise ProblemError("starting", "not yet")

        for number in range(5):
            calls = [replies.once(f"{number}/{n}", b"", make) for n in range(3)]
            calls += [replies.once(f"{number}/failing", b"", fail)]
            told = await asyncio.gather(*calls, return_exceptions=True)
            assert [isinstance(each, bytes) for each in told] == [True, True, True, False]
        return len(replies)

    assert run(scene()) == capacity


def test_a_repeat_waits_for_its_first_though_others_took_the_room():
    async def scene():
        go = asyncio.Event()
        made = []

        def maker(name):
            async def make():
                made.append(name)
                if name == "slow":
                    await go.wait()
                return name.encode()

            return make

        replies = RecentReplies(1)
        first = asyncio.create_task(replies.once("slow", b"", maker("slow")))
        await asyncio.sleep(0)
        for number in range(3):
            await replies.once(str(number), b"", maker(str(number)))
        again = asyncio.create_task(replies.once("slow", b"", maker("slow")))
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(first, again), made.count("slow")

    assert run(scene()) == ([b"slow", b"slow"], 1)


def test_recent_keys_are_bounded():
    keys = RecentKeys(3)
    for number in range(5):
        keys.add(number, str(number))
    assert [keys[number] for number in range(5) if number in keys] == ["2", "3", "4"]
    nothing = RecentKeys(0)
    nothing.add(1, None)
    assert 1 not in nothing


def test_large_replies_are_bounded_by_their_bytes():
    async def scene():
        async def make():
            return bytes(MAX_BYTES // 3)

        replies = RecentReplies(1000)
        for number in range(6):
            await replies.once(str(number), b"", make)
        return len(replies)

    assert run(scene()) == 3
