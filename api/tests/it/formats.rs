//! The same rows in each format.

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{Decimal128Type, Int8Type, TimestampMillisecondType, UInt32Type, UInt64Type},
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;
use engine::{
    candle::{State, Unknown},
    number::write_decimal,
};
use serde_json::Value;
use store::{Batch, StoredCandle};

use crate::stage::{START, Stage, batch, btc, candle, scales, trade, trades};

/// Each value as JSON with `numbers=string` has it, `null` as an empty text.
type Rows = Vec<Vec<String>>;

fn from_json(rows: &Value, names: &[&str]) -> Rows {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |row: &Value| names.iter().map(|name| text(&row[*name])).collect();
    rows.as_array().unwrap().iter().map(row).collect()
}

fn from_csv(text: &str) -> (Vec<&str>, Rows) {
    let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    (names, lines.map(|line| line.into_iter().map(str::to_owned).collect()).collect())
}

pub(crate) fn from_arrow(bytes: &[u8]) -> (Vec<String>, Rows) {
    let reader = StreamReader::try_new(bytes, None).unwrap();
    let names = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let rows = reader.flat_map(|batch| {
        let batch = batch.unwrap();
        (0..batch.num_rows()).map(move |row| cells(&batch, row)).collect::<Vec<_>>()
    });
    (names, rows.collect())
}

fn cells(batch: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow_array::ArrayRef| match column.data_type() {
        _ if column.is_null(row) => String::new(),
        DataType::Dictionary(..) => {
            let words = column.as_dictionary::<Int8Type>();
            words.values().as_string::<i32>().value(words.key(row).unwrap()).to_owned()
        }
        DataType::Timestamp(_, zone) => {
            assert_eq!(zone.as_deref(), Some("UTC"));
            column.as_primitive::<TimestampMillisecondType>().value(row).to_string()
        }
        DataType::Decimal128(38, scale) => {
            let mut out = Vec::new();
            let value = column.as_primitive::<Decimal128Type>().value(row);
            write_decimal(&mut out, u128::try_from(value).unwrap(), u8::try_from(*scale).unwrap());
            String::from_utf8(out).unwrap()
        }
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).to_string(),
        other => panic!("a column of {other}"),
    };
    batch.columns().iter().map(cell).collect()
}

/// Asks in each format, checks that they agree and returns how many rows there are.
async fn same_in_each(stage: &Stage, path: &str, array: &str) -> usize {
    let json = stage.json(&format!("{path}&numbers=string")).await;
    let csv = stage.text(&format!("{path}&format=csv")).await;
    let (names, rows) = from_csv(&csv);
    assert_eq!(rows, from_json(&json[array], &names));
    let arrow = stage.get(&format!("{path}&format=arrow")).await;
    assert_eq!(arrow.headers()["content-type"], "application/vnd.apache.arrow.stream");
    let (arrow_names, arrow_rows) = from_arrow(&arrow.bytes().await.unwrap());
    assert_eq!((arrow_names.iter().map(String::as_str).collect::<Vec<_>>(), &arrow_rows), (names, &rows));
    rows.len()
}

#[tokio::test]
async fn candles_are_the_same_in_each_format_also_where_scales_change_or_facts_are_unknown() {
    let stage = Stage::embedded().await;
    let mut rows = batch((0..2500).map(|number| candle("1m", number)));
    let mut finer = StoredCandle { scales: scales(8, 8), candle: candle("1m", 7) };
    finer.candle.revision = 1;
    let mut silent = candle("1m", 9);
    silent.unknown = Unknown { sides: true, trades: true, quote: true };
    (silent.revision, silent.trades, silent.state) = (1, 0, State::Repaired);
    let silent = StoredCandle { scales: scales(0, 0), candle: silent };
    for row in [finer, silent] {
        rows.candle(&btc(), row).unwrap();
    }
    stage.write(rows).await;
    let path = |end: i64| format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&end={end}&limit=10000");
    assert_eq!(same_in_each(&stage, &path(START + 2500 * 60_000), "candles").await, 2500);
    assert_eq!(same_in_each(&stage, &path(START), "candles").await, 0);
}

#[tokio::test]
async fn trades_are_the_same_in_each_format() {
    let stage = Stage::embedded().await;
    stage.write(trades((0..2100).map(|id| trade(id, id as i64)))).await;
    let path = format!("/v1/market/trades/BTC?start={START}&limit=5000");
    let json = stage.json(&path).await;
    assert!(json["trades"][0]["trades"].is_null());
    // Where a venue joins no fills, JSON leaves their number out; a table cannot.
    let csv = stage.text(&format!("{path}&format=csv")).await;
    let (names, rows) = from_csv(&csv);
    let want = from_json(&stage.json(&format!("{path}&numbers=string")).await["trades"], &names);
    assert_eq!(rows.len(), 2100);
    for (row, want) in rows.iter().zip(&want) {
        assert_eq!((&row[..5], row[5].as_str()), (&want[..5], "1"));
    }
    let arrow = stage.get(&format!("{path}&format=arrow")).await;
    assert_eq!(from_arrow(&arrow.bytes().await.unwrap()).1, rows);
}

#[tokio::test]
async fn a_number_beyond_38_digits_is_refused_in_arrow_and_told_in_json() {
    let stage = Stage::embedded().await;
    let mut huge = candle("1m", 0);
    huge.volume = u128::MAX;
    let mut rows = Batch::new();
    rows.candle(&btc(), StoredCandle { scales: scales(2, 0), candle: huge }).unwrap();
    stage.write(rows).await;
    let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}");
    let (status, body) = stage.refused(&format!("{path}&format=arrow")).await;
    assert_eq!((status, body["error"].as_str()), (406, Some("not_representable")));
    assert!(stage.text(&path).await.contains(&u128::MAX.to_string()));
}
