"""The example of the developer documentation, unchanged but for the URL, which comes from the environment."""
import asyncio, json, os, websockets
KEY = os.environ["KAI_API_KEY"]
async def stream():
    url = f"{os.environ['KAI_WS_URL']}?api_key={KEY}"
    async with websockets.connect(url) as ws:
        # First frame is the welcome
        print(json.loads(await ws.recv()))
        # Subscribe to one or more channels
        await ws.send(json.dumps({
            "op": "subscribe",
            "channels": ["market.BTC.1m", "market.ETH.1m"],
        }))
        async for raw in ws:
            msg = json.loads(raw)
            if msg["op"] == "snapshot":
                print(f"snapshot {msg['channel']}: {len(msg['data'])} bars")
            elif msg["op"] == "event":
                d = msg["data"]
                print(f"{msg['channel']} c={d['close']} closed={d['is_closed']}")
            elif msg["op"] == "ping":
                await ws.send(json.dumps({"op": "pong", "ts": msg["ts"]}))
asyncio.run(stream())
