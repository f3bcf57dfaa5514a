"""The WebSocket library of Python at either end of a proxy.

    websocket.py serve        listens on a port of its own, prints it, and serves until it is ended
    websocket.py check URL    speaks with what is served there, and says what went well; the first thing that did not ends it
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

MESSAGE_BYTES = 1024 * 1024
LIMIT = 2 * MESSAGE_BYTES
CLOSE_CODES = (1000, 1001, 1011, 4000, 4999)

# How the last connection to /closing was closed by its client.
last_close = asyncio.Queue()


async def handle(peer):
    match peer.request.path.strip("/").split("/"):
        case ["echo"]:
            async for message in peer:
                await peer.send(message)
        case ["close", code]:
            await peer.close(int(code), f"reason {code}")
        case ["closing"]:
            await peer.wait_closed()
            await last_close.put(f"{peer.close_code} {peer.close_reason}")
        case ["closed"]:
            await peer.send(await last_close.get())
        case ["ping"]:
            latency = await (await peer.ping(b"are you there"))
            await peer.send("ponged" if latency >= 0 else "?")
        case ["fragments"]:
            await peer.send(["one ", "two ", "", "three"])
            await peer.send([b"\x00" * 70_000, b"\x01" * 70_000])
        case ["joined"]:
            # What a client sends in fragments arrives as one message.
            await peer.send(str(len(await peer.recv())))


def choose(_, offered):
    """A client may have none of it."""
    return "tide.v1" if "tide.v1" in offered else None


async def serve_until_ended():
    async with serve(handle, "127.0.0.1", 0, max_size=LIMIT, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


async def check_messages(base, compression):
    messages = [
        "",
        "héllo \N{WATER WAVE}",
        "x" * MESSAGE_BYTES,
        b"",
        bytes(range(256)),
        os.urandom(MESSAGE_BYTES),
    ]
    # 125 and 126 bytes, and 65,535 and 65,536, are written with lengths of different sizes.
    messages += [b"y" * size for size in (125, 126, 65_535, 65_536)]
    async with connect(f"{base}/echo", max_size=LIMIT, compression=compression) as peer:
        negotiated = [extension.name for extension in peer.protocol.extensions]
        expect(negotiated, ["permessage-deflate"] if compression else [])
        for message in messages:
            await peer.send(message)
            expect(await peer.recv() == message, True)
        for number in range(200):
            await peer.send(str(number))
        for number in range(200):
            expect(await peer.recv(), str(number))


async def check_fragments(base):
    async with connect(f"{base}/fragments", max_size=LIMIT) as peer:
        expect([part async for part in peer.recv_streaming()], ["one ", "two ", "", "three", ""])
        expect(len(await peer.recv()), 140_000)
    async with connect(f"{base}/joined", max_size=LIMIT) as peer:
        await peer.send([b"a" * 100, b"b" * 100_000, b""])
        expect(await peer.recv(), "100100")


async def check_pings(base):
    async with connect(f"{base}/ping") as peer:
        expect(await peer.recv(), "ponged")
    async with connect(f"{base}/echo") as peer:
        expect(await (await peer.ping(b"z" * 125)) >= 0, True)
        await peer.send("still there")
        expect(await peer.recv(), "still there")


async def check_closes(base):
    for code in CLOSE_CODES:
        async with connect(f"{base}/close/{code}") as peer:
            await peer.wait_closed()
            expect((peer.close_code, peer.close_reason), (code, f"reason {code}"))
        async with connect(f"{base}/closing") as peer:
            await peer.close(code, f"of the client {code}")
        async with connect(f"{base}/closed") as peer:
            expect(await peer.recv(), f"{code} of the client {code}")


async def check_subprotocol(base):
    async with connect(f"{base}/echo", subprotocols=["tide.v2", "tide.v1"]) as peer:
        expect(peer.subprotocol, "tide.v1")


def expect(seen, wanted):
    if seen != wanted:
        raise AssertionError(f"expected {wanted!r}, and it is {seen!r}")


async def check(base):
    await check_messages(base, "deflate")
    print("messages with permessage-deflate", flush=True)
    await check_messages(base, None)
    print("messages as they are", flush=True)
    await check_fragments(base)
    print("fragments", flush=True)
    await check_pings(base)
    print("pings", flush=True)
    await check_closes(base)
    print("closes", flush=True)
    await check_subprotocol(base)
    print("subprotocols", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve_until_ended())
        case ["check", url]:
            asyncio.run(check(url))
        case _:
            sys.exit(__doc__)
