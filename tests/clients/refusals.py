"""Close codes and limits as PyPI websockets sees them: 4401, 4429, the 51st channel, list, ids, errors that do not close."""
import asyncio, json, os
import websockets
from websockets.exceptions import ConnectionClosed

BASE, KEY = os.environ["KAI_WS_URL"], os.environ["KAI_API_KEY"]


async def close_code(url, **options):
    try:
        async with websockets.connect(url, **options) as ws:
            await asyncio.wait_for(ws.recv(), 10)
            return None
    except ConnectionClosed as closed:
        return closed.rcvd.code


async def ask(ws, message):
    await ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(await asyncio.wait_for(ws.recv(), 10))


async def main():
    assert await close_code(BASE) == 4401
    assert await close_code(f"{BASE}?api_key=kai-wrong") == 4401
    bearer = {"additional_headers": {"Authorization": f"Bearer {KEY}"}}
    assert await close_code(BASE, **bearer) is None

    url = f"{BASE}?api_key={KEY}"
    crowd = [await websockets.connect(url) for _ in range(10)]
    assert await close_code(url) == 4429
    await crowd.pop().close()
    await asyncio.sleep(0.5)
    async with websockets.connect(url) as again:
        assert json.loads(await again.recv())["op"] == "welcome"

    ws = crowd[0]
    welcome = json.loads(await ws.recv())
    assert welcome["limits"] == {"connections": 10, "channels": 50}, welcome
    intervals = ["1s", "5s", "15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w"]
    channels = [f"market.{symbol}.{interval}" for symbol in ("BTC", "ETH", "SOL") for interval in intervals]
    assert len(channels) == 51
    await ws.send(json.dumps({"op": "subscribe", "channels": channels, "id": 7}))
    ops = []
    while sum(op["op"] == "snapshot" for op in ops) < 50:
        ops.append(json.loads(await asyncio.wait_for(ws.recv(), 10)))
    [error] = [op for op in ops if op["op"] == "error"]
    assert (error["code"], error["channel"]) == ("channel_limit", channels[50]), error
    [subscribed] = [op for op in ops if op["op"] == "subscribed"]
    assert subscribed["channels"] == channels[:50] and subscribed["id"] == 7
    listing = await ask(ws, {"op": "list", "id": "l"})
    assert listing["op"] == "list" and listing["id"] == "l" and len(listing["channels"]) == 50, listing
    pong = await ask(ws, {"op": "ping", "id": 1, "unknown": {"field": []}})
    assert pong["op"] == "pong" and pong["id"] == 1
    left = await ask(ws, {"op": "unsubscribe", "channels": channels[:1]})
    assert left["op"] == "unsubscribed" and left["channels"] == channels[:1]
    for bad, code in [
        ("not json", "bad_json"),
        ("[" * 10000, "bad_json"),
        ({"op": "dance"}, "unknown_op"),
        ({"op": "subscribe", "channels": ["market.NOPE.1m"]}, "unknown_channel"),
        ({"op": "subscribe", "channels": ["market.BTC.7m"]}, "unknown_channel"),
    ]:
        ops = [await ask(ws, bad)]
        while ops[-1]["op"] != "error":
            ops.append(json.loads(await asyncio.wait_for(ws.recv(), 10)))
        assert ops[-1]["code"] == code, (bad if len(bad) < 99 else bad[:9], ops)
    for client in crowd:
        await client.close()
    print("refusals: 4401, 4429, channel_limit and errors as documented")


asyncio.run(main())
