"""Reads history over HTTP with pandas and polars, in each format and page by page, and compares every field with the files
that it was loaded from.

    history.py http://127.0.0.1:8080 FOLDER [--first N] [--symbols N]

FOLDER is the one with `history/` and `rollup/`. The server has the 1h candles of `history/` as `binance:SYMBOL`, the 5m candles of
`rollup/` as `binance:BTCUSDT` and `binance:SOLUSDT`, the seconds as `coinbase:BTC-USD`. Needs requests, polars, pandas, pyarrow.
"""

import argparse
import io
import os
import sys
from decimal import Decimal
from pathlib import Path

import pandas
import polars
import pyarrow
import requests

FIELDS = ["open", "high", "low", "close", "volume"]
NAMES = ["symbol", "interval", "ts", "open", "high", "low", "close", "volume", "is_closed", "close_ts", "trades", "vwap",
         "quote_volume", "buy_volume", "revision", "state", "source", "first_id", "last_id"]

session = requests.Session()
if "KAI_API_KEY" in os.environ:
    session.headers["authorization"] = f"Bearer {os.environ['KAI_API_KEY']}"


def pages(base, symbol, interval, form, **query):
    """The answers of a query, one after another."""
    params = {"interval": interval, "format": form, "limit": 10_000, "start": 0, **query}
    while True:
        answer = session.get(f"{base}/v1/market/ohlcv/{symbol}", params=params, timeout=60)
        answer.raise_for_status()
        yield answer
        cursor = answer.headers.get("x-next-cursor")
        assert (cursor is None) == ("next" not in answer.links), "one of two headers names the next page"
        if cursor is None:
            return
        params["cursor"] = cursor


def rows_of_json(base, symbol, interval, **query):
    rows = []
    for answer in pages(base, symbol, interval, "json", numbers="string", **query):
        page = answer.json()
        assert page["next_cursor"] == answer.headers.get("x-next-cursor")
        assert all(list(row) == NAMES for row in page["candles"])
        rows += page["candles"]
    return {row["ts"]: tuple(Decimal(row[name]) for name in FIELDS) for row in rows}


def rows_of_csv(base, symbol, interval, **query):
    tables = [pandas.read_csv(io.StringIO(answer.text), dtype=str, keep_default_na=False)
              for answer in pages(base, symbol, interval, "csv", **query)]
    table = pandas.concat(tables)
    assert list(table.columns) == NAMES
    return {int(ts): tuple(map(Decimal, values)) for ts, *values in table[["ts", *FIELDS]].itertuples(index=False)}


def rows_of_arrow(base, symbol, interval, **query):
    found = {}
    for answer in pages(base, symbol, interval, "arrow", **query):
        table = polars.read_ipc_stream(io.BytesIO(answer.content))
        assert table.columns == NAMES and table.schema["ts"] == polars.Datetime("ms", "UTC")
        assert all(isinstance(table.schema[name], polars.Decimal) for name in FIELDS)
        with pyarrow.ipc.open_stream(answer.content) as stream:
            other = stream.read_pandas()
        columns = [table["ts"].dt.epoch("ms"), *(table[name] for name in FIELDS)]
        for ts, *values in zip(*(column.to_list() for column in columns)):
            found[ts] = tuple(values)
        assert len(other) == table.height
        for name in FIELDS:
            assert other[name].tolist() == table[name].to_list(), f"pandas and polars differ in {name}"
    return found


READERS = {"json": rows_of_json, "csv": rows_of_csv, "arrow": rows_of_arrow}


def read(path):
    """The rows of a file by their symbol; numbers stay the text that they are."""
    table = polars.read_csv(path, infer_schema=False)
    if "symbol" not in table.columns:
        table = table.with_columns(symbol=polars.lit("x"))
    found = {}
    for symbol, time, *values in table.select("symbol", "open_time_ms", *FIELDS).iter_rows():
        found.setdefault(symbol, {})[int(time)] = tuple(map(Decimal, values))
    return found


def same(what, found, want):
    if found == want:
        return
    missing, extra = sorted(want.keys() - found.keys()), sorted(found.keys() - want.keys())
    other = [ts for ts in want.keys() & found.keys() if want[ts] != found[ts]]
    print(f"{what}: {len(missing)} missing {missing[:3]}, {len(extra)} too many {extra[:3]}, {len(other)} differ", *(
        f"\n  {ts}: {found[ts]} instead of {want[ts]}" for ts in other[:3]))
    sys.exit(1)


def holes(rows, step):
    times = sorted(rows)
    return [(a, b) for a, b in zip(times, times[1:]) if b - a != step]


def history(base, folder, first, symbols):
    for path in sorted((folder / "history").glob("binance_spot_1h_*.csv.zst")):
        count, gaps = 0, 0
        want = dict(list(read(path).items())[:first])
        for number, (symbol, rows) in enumerate(want.items()):
            # CSV for all; JSON and Arrow for as many symbols as were asked for.
            for form in READERS if number < symbols else ["csv"]:
                found = READERS[form](base, f"binance:{symbol}", "1h", start=min(rows), end=max(rows) + 1)
                same(f"{symbol} as {form}", found, rows)
            gaps += len(holes(rows, 3_600_000))
            count += len(rows)
        print(f"{path.name}: {count} rows of {len(want)} symbols are equal in every field (csv), "
              f"those of {min(symbols, len(want))} symbols also as json and arrow; {gaps} outages are holes")
        # An outage is filled flat on request: no hole is left and every added row has the close before it.
        symbol, rows = next(iter(want.items()))
        filled = rows_of_csv(base, f"binance:{symbol}", "1h", fill="flat", start=min(rows),
                             end=max(rows) + 1)
        added = sorted(filled.keys() - rows.keys())
        assert not holes(filled, 3_600_000) and all(filled[ts] == rows[ts] for ts in rows)
        for ts in added:
            close = filled[ts - 3_600_000][3]
            assert filled[ts] == (close, close, close, close, 0)
        print(f"{symbol} with fill=flat: {len(added)} flat hours in its holes, no other change")


def rollup(base, folder):
    cases = [("binance:BTCUSDT", "binance_btcusdt", ["15m", "1h"], ["2024-01-01_2024-09-24"]),
             ("binance:SOLUSDT", "binance_solusdt", ["15m", "1h"], ["2024-01-01_2024-09-24"]),
             ("coinbase:BTC-USD", "coinbase_btcusd", ["1m"], ["2016-10-07", "2016-10-08"])]
    for symbol, name, intervals, days in cases:
        for interval in intervals:
            want = {}
            for day in days:
                want |= read(folder / "rollup" / f"{name}_{interval}_{day}.csv.zst")["x"]
            for form, reader in READERS.items():
                found = reader(base, symbol, interval, start=min(want), end=max(want) + 1)
                assert found.keys() == want.keys(), f"{symbol} {interval}: other times"
                for ts, row in want.items():
                    assert found[ts][:4] == row[:4], f"{symbol} {interval} {ts}: {found[ts]} instead of {row}"
                    assert abs(found[ts][4] - row[4]) <= abs(row[4]) * Decimal("1e-9"), (symbol, interval, ts)
            print(f"{symbol} {interval}: {len(want)} bars rolled up equal the venue's, in json, csv and arrow")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("base")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--first", type=int, help="how many symbols of each file the server has; default all")
    arguments.add_argument("--symbols", type=int, default=5, help="how many of them are read in all formats")
    given = arguments.parse_args()
    rollup(given.base, given.folder)
    history(given.base, given.folder, given.first, given.symbols)
    print("history is what was loaded")
