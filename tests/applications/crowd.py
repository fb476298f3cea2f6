"""Many Python websockets: `crowd.py URL COUNT` prints `connected`, then how they were closed."""

import asyncio
import json
import sys
from collections import Counter

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# How many open at once, as in front of a balancer that has a limit.
OPENING = 100


async def until_closed(url, number, gate, connected):
    async with gate:
        ws = await connect(url, user_agent_header="crowd", ping_interval=None)
        await ws.send(f"client {number}")
        assert await ws.recv() == f"client {number}"
    connected.release()
    try:
        await ws.recv()
        raise AssertionError("awaited a Close, got a message")
    except ConnectionClosed:
        pass
    await ws.wait_closed()
    sent, received = ws.protocol.close_sent, ws.protocol.close_rcvd
    first = "server" if ws.protocol.close_rcvd_then_sent else "client or none"
    return json.dumps([received and received.code, sent and sent.code, first])


async def main(url, count):
    gate, connected = asyncio.Semaphore(OPENING), asyncio.Semaphore(0)
    clients = [
        asyncio.create_task(until_closed(url, number, gate, connected)) for number in range(count)
    ]
    for _ in clients:
        await connected.acquire()
    print("connected", flush=True)
    print(json.dumps(Counter(await asyncio.gather(*clients))))


asyncio.run(asyncio.wait_for(main(sys.argv[1], int(sys.argv[2])), 50))
