"""Clients of a daemon in a machine, each a real WebSocket client.

    crowd.py URL hold:COUNT             connects, says `connected`, and waits until all are closed
    crowd.py URL knock:RATE:SECONDS     connects RATE times a second, and closes each with 1000

The last line is JSON: how many connections ended, or began, in which way.
"""

import asyncio
import collections
import json
import sys

import websockets
from websockets.asyncio.client import connect

PATIENCE = 30


async def main(url, scenario):
    kind, *numbers = scenario.split(":")
    play = {"hold": hold, "knock": knock}[kind]
    print(json.dumps(await play(url, *map(int, numbers))))


async def hold(url, count):
    connections = []
    for at in range(0, count, 50):
        connections += await asyncio.gather(
            *(connect(url, open_timeout=PATIENCE) for _ in range(at, min(at + 50, count)))
        )
    print("connected", flush=True)
    ends = await asyncio.gather(*(ended(connection) for connection in connections))
    return collections.Counter(ends)


async def ended(connection):
    await connection.wait_closed()
    return f"{connection.close_code} {connection.close_reason}".strip()


async def knock(url, rate, seconds):
    loop, knocks = asyncio.get_running_loop(), []
    began = loop.time()
    print("connected", flush=True)
    for at in range(rate * seconds):
        await asyncio.sleep(began + at / rate - loop.time())
        knocks.append(asyncio.create_task(began_as(url)))
    return collections.Counter(await asyncio.gather(*knocks))


async def began_as(url):
    try:
        async with connect(url, open_timeout=PATIENCE, close_timeout=PATIENCE):
            return "opened"
    except websockets.InvalidStatus as refusal:
        return str(refusal.response.status_code)
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, EOFError, websockets.InvalidMessage, websockets.ConnectionClosed):
        return "reset"
    except TimeoutError:
        return "timeout"


asyncio.run(main(*sys.argv[1:]))
