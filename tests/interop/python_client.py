"""Python websockets against /echo: `python_client.py URL SCENARIO` prints one JSON summary."""

import asyncio
import json
import socket
import struct
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SIZES = [0, 125, 126, 65535, 65536, 1 << 20]


async def echo(ws):
    for size in SIZES:
        for message in ("x" * size, bytes(i % 251 for i in range(size))):
            await ws.send(message)
            assert await ws.recv() == message, f"{size} bytes came back changed"
    await ws.close(1000, "done")
    return "sent", 1000, "done"


async def fragments(ws):
    await ws.send(["three ", "frag", "ments ☂"])
    assert await ws.recv() == "three fragments ☂"
    await ws.send([b"\x00" * 200, b"", b"\xff" * 70000])
    assert await ws.recv() == b"\x00" * 200 + b"\xff" * 70000
    await ws.close(1000, "done")
    return "sent", 1000, "done"


async def ping(ws):
    latency = await (await ws.ping(b"here?"))
    assert latency >= 0
    await ws.close(1000, "done")
    return "sent", 1000, "done"


async def close_with_reason(ws):
    await ws.close(4001, "bis später")
    return "sent", 4001, "bis später"


async def abort_with_reset(ws):
    linger = struct.pack("ii", 1, 0)
    ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    ws.transport.abort()
    await ws.wait_closed()
    return "none", 1006, ""


async def abort_with_fin(ws):
    ws.transport.abort()
    await ws.wait_closed()
    return "none", 1006, ""


async def restart(ws):
    print("connected", flush=True)
    try:
        await ws.recv()
        raise AssertionError("awaited a Close, got a message")
    except ConnectionClosed:
        return "received", 1012, "service restart"


SCENARIOS = {
    function.__name__: function
    for function in (
        echo, fragments, ping, close_with_reason, abort_with_reset, abort_with_fin, restart
    )
}  # fmt: skip


async def main(url, scenario):
    agent = f"python/{scenario}"
    async with connect(url, user_agent_header=agent, ping_interval=None) as ws:
        first, code, reason = await asyncio.wait_for(SCENARIOS[scenario](ws), 50)
        sent, received = ws.protocol.close_sent, ws.protocol.close_rcvd
        summary = {
            "scenario": scenario,
            "code": ws.close_code,
            "reason": ws.close_reason,
            "sent": sent and [sent.code, sent.reason],
            "received": received and [received.code, received.reason],
            "rcvd_then_sent": ws.protocol.close_rcvd_then_sent,
        }
    frame = [code, reason] if first != "none" else None
    due = {
        "scenario": scenario,
        "code": code,
        "reason": reason,
        # An aborted transport took the Close of `async with` nowhere.
        "sent": frame if frame else summary["sent"],
        "received": frame,
        "rcvd_then_sent": {"sent": False, "received": True, "none": None}[first],
    }
    print(json.dumps(summary | {"ok": summary == due}), flush=True)
    return summary == due


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
