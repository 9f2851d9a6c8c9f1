"""A dropped connection that resumes misses no event and no trade: PyPI websockets against a running demo."""
import asyncio, json, os
import websockets

URL = f"{os.environ['KAI_WS_URL']}?api_key={os.environ['KAI_API_KEY']}"


async def follow(since, events_wanted):
    """Subscribes to trades.BTC, from `since` if given, and returns the snapshot and that many events."""
    async with websockets.connect(URL) as ws:
        assert json.loads(await ws.recv())["op"] == "welcome"
        wish = {"op": "subscribe", "channels": ["trades.BTC"], "id": "a"}
        if since:
            wish["since"] = {"trades.BTC": since}
        await ws.send(json.dumps(wish))
        snapshot, events = None, []
        while len(events) < events_wanted:
            msg = json.loads(await asyncio.wait_for(ws.recv(), 30))
            if msg["op"] == "subscribed":
                assert msg["channels"] == ["trades.BTC"] and msg["id"] == "a", msg
            elif msg["op"] == "snapshot":
                snapshot = msg
            elif msg["op"] == "event":
                events.append(msg)
        # Leaves without a goodbye, as a lost connection does.
        ws.transport.abort()
        return snapshot, events


async def main():
    snapshot, first = await follow(None, 10)
    assert snapshot["recovered"] is False and len(snapshot["data"]) > 0
    await asyncio.sleep(3)
    position = {"epoch": snapshot["epoch"], "seq": first[-1]["seq"]}
    resumed, second = await follow(position, 20)
    assert resumed["recovered"] is True, resumed
    seqs = [event["seq"] for event in first + second]
    assert seqs == list(range(snapshot["seq"] + 1, snapshot["seq"] + 1 + len(seqs))), seqs
    ids = [trade["id"] for event in first + second for trade in event["data"]]
    assert ids == list(range(ids[0], ids[0] + len(ids))), "a trade is missing"
    stale, _ = await follow({"epoch": "0", "seq": 1}, 1)
    assert stale["recovered"] is False and len(stale["data"]) > 0
    print(f"resumed: {len(seqs)} events and {len(ids)} trades without a hole")


asyncio.run(main())
