"""The small HTTP client: it reuses connections and never invents a reply."""

import asyncio

import pytest

from api.client import Client, ClientError


def talk(answer, ask):
    """Serve one raw answer a connection and let ``ask`` talk to it."""

    async def scene():
        connections = 0

        async def serve(reader, writer):
            nonlocal connections
            connections += 1
            while await reader.readline():
                while (await reader.readline()).strip():
                    pass
                writer.write(answer)
                await writer.drain()
                if b"close" in answer or not answer.startswith(b"HTTP"):
                    break
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with Client("127.0.0.1", port) as client:
                return await ask(client), connections
        finally:
            server.close()
            await server.wait_closed()

    return asyncio.run(scene())


async def twice(client):
    return [await client.get("/"), await client.get("/")]


def test_connections_are_kept_and_bodies_read_whole():
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'
    replies, connections = talk(answer, twice)
    assert [reply.json() for reply in replies] == [{"a": 1}] * 2
    assert connections == 1


def test_a_connection_the_service_closes_is_not_used_again():
    answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    replies, connections = talk(answer, twice)
    assert [(reply.status, reply.body) for reply in replies] == [(204, b"")] * 2
    assert connections == 2


def test_a_connection_the_service_closed_meanwhile_is_not_used_again():
    answer = b"HTTP/1.1 204 No Content\r\nX: close\r\n\r\n"  # closes without saying so

    async def later(client):
        first = await client.get("/")
        await asyncio.sleep(0.2)
        return [first, await client.get("/")]

    replies, connections = talk(answer, later)
    assert [reply.status for reply in replies] == [204] * 2
    assert connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\nConnection: close\r\n\r\n",
    ],
)
def test_no_whole_reply_is_no_reply(answer):
    with pytest.raises(ClientError, match="GET /"):
        talk(answer, twice)


def test_nobody_there():
    async def ask():
        async with Client("127.0.0.1", 9) as client:
            await client.get("/")

    with pytest.raises(ClientError, match=r"127\.0\.0\.1:9"):
        asyncio.run(ask())
