"""PyPI websockets, which offers compression by default: agreed on, read, understood; the same events as without, in arrays too."""
import asyncio, json, os
import websockets

URL = f"{os.environ['KAI_WS_URL']}?api_key={os.environ['KAI_API_KEY']}"
CHANNELS = ["trades.BTC", "ticker.BTC", "market.BTC.1s", "market.BTC.1m"]


async def follow(ws, seconds, is_batch):
    """Subscribes and returns the events of that many seconds and how many frames they came in."""
    events, frames = {}, 0
    # Long enough that the client compresses it.
    await ws.send(json.dumps({"op": "subscribe", "channels": CHANNELS, "id": 1, "unknown": "x" * 500}))
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        message = json.loads(await asyncio.wait_for(ws.recv(), 10))
        assert isinstance(message, list) == is_batch, message
        ops = message if is_batch else [message]
        assert ops and all(op["op"] != "error" for op in ops), ops
        has_event = False
        for op in ops:
            if op["op"] == "event":
                has_event = True
                events[op["channel"], op["seq"]] = op
        frames += has_event
    return events, frames


async def close(ws):
    """Reads on meanwhile: the library takes nothing off the socket, not even the answer, while sixteen frames wait to be read."""
    closing = asyncio.create_task(ws.close())
    async for _ in ws:
        pass
    await closing
    assert ws.close_code == 1000, ws.close_code


async def main():
    options = [("", None), ("", "deflate"), ("&batch=1", None), ("&batch=1", "deflate")]
    clients = [await websockets.connect(URL + query, compression=compression) for query, compression in options]
    for (_, compression), ws in zip(options, clients):
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == (["permessage-deflate"] if compression else []), names
    results = await asyncio.gather(*(follow(ws, 6, "batch" in query) for (query, _), ws in zip(options, clients)))
    plain = results[0][0]
    for events, frames in results[1:]:
        common = plain.keys() & events.keys()
        assert len(common) > 50 and len(common) > len(plain) * 0.8, (len(common), len(plain))
        assert all(plain[at] == events[at] for at in common)
    assert results[2][1] < results[0][1], "arrays save no frame"
    for ws in clients:
        await close(ws)
    print(f"wire: {len(plain)} events, the same in each form; frames {[frames for _, frames in results]}")


asyncio.run(main())
