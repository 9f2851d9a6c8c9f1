//! What a started demo or replay prints: where it is, its key, and three things to try.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// See the module. The key is made for this start alone, which is why it may be printed.
pub struct Welcome<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key of this start.
    pub key: &'a str,
    /// A symbol to try.
    pub symbol: &'a str,
    /// Whether the key is that of an account with play money.
    pub has_account: bool,
    /// Whether there is a language model that such an account may ask.
    pub has_model: bool,
}

impl Welcome<'_> {
    /// Prints it to standard output at once; `as_json` puts `{"url":…,"ws_url":…,"api_key":…}` on the first line.
    ///
    /// # Errors
    /// If standard output takes no more.
    pub fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            let Self { address, key, .. } = self;
            // Nothing here needs an escape: an address, and a key of letters, digits and dashes.
            let (url, ws_url) = (format!("http://{address}"), format!("ws://{address}/v1/ws"));
            let line = format!(r#"{{"url":"{url}","ws_url":"{ws_url}","api_key":"{key}"}}"#);
            writeln!(out, "{line}")?;
        } else {
            out.write_all(self.text().as_bytes())?;
        }
        out.flush()
    }

    fn text(&self) -> String {
        let Self { address, key, symbol, has_account, has_model } = self;
        let balance = if *has_account {
            format!("curl -s http://{address}/v1/billing/balance -H 'Authorization: Bearer {key}'\n\n  ")
        } else {
            String::new()
        };
        let chat = if *has_model {
            format!(
                "curl -s http://{address}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n    \
                 -H 'Content-Type: application/json' \\\n    \
                 -d '{{\"model\": \"kai-fast\", \"messages\": [{{\"role\": \"user\", \"content\": \"Say hi to a trader.\"}}]}}'\n\n  "
            )
        } else {
            String::new()
        };
        let channel = format!("market.{symbol}.1m");
        format!(
            "kandle serves recorded trades, moved to now.\n\n  \
             URL      http://{address}\n  stream   ws://{address}/v1/ws\n  key      {key}\n\n\
             Things to try:\n\n  \
             curl -s 'http://{address}/v1/market/ohlcv/{symbol}?interval=1m&limit=3&open=true'\n\n  \
             {balance}{chat}KANDLE_API_KEY={key} kandle tail {channel} --url ws://{address}/v1/ws\n\n  \
             python3 - <<'EOF'      # needs: pip install websockets\n\
             import asyncio, json, websockets\n\
             async def main():\n    \
             async with websockets.connect(\"ws://{address}/v1/ws?api_key={key}\") as ws:\n        \
             await ws.send(json.dumps({{\"op\": \"subscribe\", \"channels\": [\"{channel}\"]}}))\n        \
             async for raw in ws:\n            \
             print(raw[:200])\n\
             asyncio.run(main())\n\
             EOF\n\n\
             Ctrl-C ends it.\n"
        )
    }
}
