// The WebSocket of browsers, as Node offers it: close codes are seen, text frames arrive, numbers are valid JSON.
const base = process.env.KAI_WS_URL;
const key = process.env.KAI_API_KEY;

const refused = await new Promise((resolve) => {
  const socket = new WebSocket(`${base}?api_key=wrong`);
  socket.onclose = (event) => resolve(event.code);
});
if (refused !== 4401) throw new Error(`close code ${refused} instead of 4401`);

await new Promise((resolve, reject) => {
  const socket = new WebSocket(`${base}?api_key=${key}`);
  const seen = new Set();
  const timer = setTimeout(() => reject(new Error(`only ${[...seen]}`)), 30000);
  socket.onerror = () => reject(new Error("error event"));
  socket.onopen = () => socket.send(JSON.stringify({ op: "subscribe", channels: ["market.BTC.1s", "ticker.BTC"] }));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    seen.add(message.op === "event" ? `${message.channel} ${message.data.is_closed ?? ""}` : message.op);
    const wanted = ["welcome", "subscribed", "snapshot", "market.BTC.1s true", "market.BTC.1s false", "ticker.BTC "];
    if (wanted.every((name) => seen.has(name))) {
      clearTimeout(timer);
      socket.onclose = resolve;
      socket.close(1000);
    }
  };
});
console.log("browser: welcome, snapshot, open and closed candles, ticker, clean close");
process.exit(0);
