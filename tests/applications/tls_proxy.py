"""Ends TLS as a proxy in front does: `tls_proxy.py CERT KEY TO PORT` prints its port, then serves.

It says so in `X-Forwarded-Proto` of each request, and passes all else as it comes. Requests with a body have
that in one piece.
"""

import asyncio
import ssl
import sys

CERT, KEY, TO, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


async def requests(reader, writer):
    """Adds the line to each head, until there is an upgrade."""
    upgraded = False
    while not upgraded:
        head = await reader.readuntil(b"\r\n\r\n")
        upgraded = b"\r\nupgrade: websocket" in head.lower()
        writer.write(head[:-2] + b"X-Forwarded-Proto: https\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                writer.write(await reader.readexactly(int(line.split(b":")[1])))
        await writer.drain()
    await copy(reader, writer)


async def copy(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def serve(reader, writer):
    theirs, ours = await asyncio.open_connection("127.0.0.1", TO)
    ways = [asyncio.create_task(way) for way in (requests(reader, ours), copy(theirs, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        ours.close()
        writer.close()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, ssl=context)
    print(PORT, flush=True)
    await server.serve_forever()


asyncio.run(main())
