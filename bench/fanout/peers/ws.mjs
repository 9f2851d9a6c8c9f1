// Node `ws`; the frame is encoded once and written to the sockets of all followers. Arguments: port, the folder of `node_modules`.
import { createRequire } from "node:module";
import { resolve } from "node:path";

const require = createRequire(resolve(process.argv[3]) + "/");
const { WebSocketServer, Sender } = require("ws");

const followers = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false });

server.on("connection", (client, request) => {
  request.socket.setNoDelay(true);
  client.on("error", () => {});
  client.on("message", (data) => {
    const text = data.toString("latin1");
    if (text[0] === "S") {
      const channel = text.slice(1);
      if (!followers.has(channel)) followers.set(channel, new Set());
      followers.get(channel).add(request.socket);
      client.on("close", () => followers.get(channel).delete(request.socket));
      return;
    }
    const end = text.indexOf("\n");
    const frame = Buffer.concat(
      Sender.frame(data.subarray(end + 1), { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false }),
    );
    for (const socket of followers.get(text.slice(1, end)) ?? []) socket.write(frame);
  });
});
