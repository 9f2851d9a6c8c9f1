"""PyPI websockets by TLS against a certificate of the test: trusted by name, compressed, closed in order; refused without TLS."""
import asyncio, json, os, ssl, sys
import websockets

URL = f"{os.environ['KAI_WS_URL']}?api_key={os.environ['KAI_API_KEY']}"


async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    async with websockets.connect(URL + "&batch=1", ssl=context) as ws:
        assert ws.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
        await ws.send(json.dumps({"op": "subscribe", "channels": ["market.BTC.1m", "trades.ETH"]}))
        ops = []
        while sum(op["op"] == "snapshot" for op in ops) < 2:
            message = json.loads(await asyncio.wait_for(ws.recv(), 10))
            assert isinstance(message, list), message
            ops += message
        assert [op["op"] for op in ops][:2] == ["welcome", "subscribed"], ops
    assert ws.close_code == 1000
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with websockets.connect(URL, ssl=context, compression=None) as ws:
        assert ws.transport.get_extra_info("ssl_object").version() == "TLSv1.2"
        assert json.loads(await ws.recv())["op"] == "welcome"
    try:
        await websockets.connect(URL.replace("wss://", "ws://"))
        raise SystemExit("connected without TLS")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 400 and b"tls_required" in refused.response.body, refused
    print("tls: served, and refused without it")


asyncio.run(main())
