//! Real history, imported and served by the real program, read back by pandas and polars.

use std::path::{Path, PathBuf};

use crate::{
    clients::{QUIET, python_with, script},
    process::{Kandle, command, tempdir},
    support::{read, shared},
};

/// How many symbols of each half are loaded; all on request.
const SYMBOLS: usize = 8;

/// The rows of the first symbols of a file, in a file of their own.
fn first_symbols(path: &Path, count: usize, to: &Path) -> PathBuf {
    let text = read(path);
    let (header, rows) = text.split_once('\n').unwrap();
    let (mut kept, mut symbols, mut last) = (format!("{header}\n"), 0, "");
    for row in rows.lines() {
        let symbol = row.split(',').next().unwrap();
        symbols += usize::from(symbol != last);
        last = symbol;
        if symbols > count {
            break;
        }
        kept.push_str(row);
        kept.push('\n');
    }
    let file = to.join(path.file_stem().unwrap());
    std::fs::write(&file, kept).unwrap();
    file
}

fn import(store: &str, file: &Path, symbol: &str, interval: &str) {
    let columns = "time=open_time_ms,open=open,high=high,low=low,close=close,volume=volume";
    let columns = if symbol.contains('{') { format!("symbol=symbol,{columns}") } else { columns.to_owned() };
    let mut import = command(&["import", "--store", store, "--symbol", symbol, "--interval", interval]);
    let output = import.args(["--time-unit", "ms", "--columns", &columns]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn imported_history_comes_back_to_pandas_and_polars_in_every_format_and_rolled_up() {
    let Some(python) = python_with("polars") else { return };
    let Some(data) = shared("data") else { return };
    let symbols = if std::env::var_os("KANDLE_LONG").is_some() { usize::MAX } else { SYMBOLS };
    let folder = tempdir();
    let store = format!("redb:{}", folder.join("history.redb").display());
    for half in ["history/binance_spot_1h_98symbols_part1.csv.zst", "history/binance_spot_1h_97symbols_part2.csv.zst"] {
        import(&store, &first_symbols(&data.join(half), symbols, &folder), "binance:{symbol}", "1h");
    }
    for (file, symbol, interval) in [
        ("binance_btcusdt_5m_2024-01-01_2024-09-24", "binance:BTCUSDT", "5m"),
        ("binance_solusdt_5m_2024-01-01_2024-09-24", "binance:SOLUSDT", "5m"),
        ("coinbase_btcusd_1s_2016-10-07", "coinbase:BTC-USD", "1s"),
        ("coinbase_btcusd_1s_2016-10-08", "coinbase:BTC-USD", "1s"),
    ] {
        import(&store, &data.join(format!("rollup/{file}.csv.zst")), symbol, interval);
    }
    let kandle = Kandle::serve(&format!("{QUIET}\n[store]\nurl = {store:?}\n"));
    let count = symbols.min(1000).to_string();
    let arguments = [&script("history.py"), &kandle.url, data.to_str().unwrap(), "--first", &count, "--symbols", "3"];
    let (ok, output) = kandle.client(&python, &arguments, 900);
    assert!(ok && output.contains("history is what was loaded"), "{output}");
    print!("{output}");
}
