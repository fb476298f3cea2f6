"""A WebSocket echo server: `echo_server.py [PORT] [deflate]` prints its port, serves until SIGTERM."""

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


async def main(port, compression):
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with serve(
        echo, "127.0.0.1", port, compression=compression, max_size=64 << 20, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stopped.wait()


arguments = sys.argv[1:]
compression = "deflate" if "deflate" in arguments else None
asyncio.run(main(int((arguments or ["0"])[0]), compression))
