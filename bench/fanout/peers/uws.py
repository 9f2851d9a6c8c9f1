"""uWebSockets through socketify: native topics, native publish.

Arguments: port, and `inline` (publish in the message handler) or `deferred` (publish once the handler has returned, which
lets uWebSockets gather: inside a handler it holds at most 32 messages of a subscriber and then writes them one by one).
"""

import sys

from socketify import App, CompressOptions, OpCode

port, how = int(sys.argv[1]), sys.argv[2]
app = App()
pending = []


def publish_pending():
    for channel, payload in pending:
        app.publish(channel, payload, OpCode.TEXT, False)
    pending.clear()


def on_message(ws, message, opcode):
    if message[0] == "S":
        ws.subscribe(message[1:])
        return
    channel, payload = message[1:].split("\n", 1)
    if how == "inline":
        app.publish(channel, payload, OpCode.TEXT, False)
        return
    if not pending:
        app.loop.loop.call_soon(publish_pending)
    pending.append((channel, payload))


app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 64 * 1024,
        "max_backpressure": 64 * 1024 * 1024,
        "idle_timeout": 960,
        "message": on_message,
    },
)
app.listen({"port": port, "host": "127.0.0.1"}, lambda config: None)
app.run()
