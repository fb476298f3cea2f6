"""A WebSocket echo server for the dialling role: prints its port, serves until SIGTERM."""

import asyncio
import signal
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass  # the peer's deed, and its record


async def main(port):
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with serve(
        echo, "127.0.0.1", port, compression=None, max_size=64 << 20, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stopped.wait()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
