"""A message as large as a notebook's: `notebook.py CERT URL BYTES`; it must come back as it went."""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect

CERT, URL, SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def main():
    context = ssl.create_default_context(cafile=CERT)
    async with connect(URL, ssl=context, max_size=None) as ws:
        for message in ("x" * SIZE, bytes(range(256)) * (SIZE // 256)):
            await ws.send(message)
            assert await ws.recv() == message
    print(json.dumps({"code": ws.close_code}))


asyncio.run(asyncio.wait_for(main(), 50))
