#!/usr/bin/env bash
# Loads recorded candles into a store, serves it and lets `history.py` compare every field: history.sh DATA [URL]. The store is a
# file of its own, or the one that URL names, such as questdb:http://127.0.0.1:9000/?tables=history_. Needs KANDLE_PYTHON.
set -euo pipefail
data=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
url=${2:-redb:$work/history.redb}

"${KANDLE_PYTHON:-python3}" -c 'import pandas, polars, pyarrow, requests' || { echo "pip install pandas polars pyarrow requests" >&2; exit 1; }
cargo build --quiet --release -p api --example history
target/release/examples/history "$url" 127.0.0.1:0 \
  binance:1h "$data/history/binance_spot_1h_98symbols_part1.csv.zst" \
  binance:1h "$data/history/binance_spot_1h_97symbols_part2.csv.zst" \
  binance:BTCUSDT:5m "$data/rollup/binance_btcusdt_5m_2024-01-01_2024-09-24.csv.zst" \
  binance:SOLUSDT:5m "$data/rollup/binance_solusdt_5m_2024-01-01_2024-09-24.csv.zst" \
  coinbase:BTC-USD:1s "$data/rollup/coinbase_btcusd_1s_2016-10-07.csv.zst" \
  coinbase:BTC-USD:1s "$data/rollup/coinbase_btcusd_1s_2016-10-08.csv.zst" >"$work/log" &
server=$!
until grep -q '^serving' "$work/log"; do kill -0 "$server" || { cat "$work/log" >&2; exit 1; }; sleep 0.2; done
cat "$work/log"
base=$(sed -n 's|^serving \(http://[^/]*\)/.*|\1|p' "$work/log")
"${KANDLE_PYTHON:-python3}" tests/clients/history.py "$base" "$data" "${@:3}"
