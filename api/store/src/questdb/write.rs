//! A batch as ILP rows: one request and one transaction a table.

use std::sync::{Arc, PoisonError};

use ::questdb::ingress::{Buffer, Sender, TimestampNanos};
use engine::market::Price;

use super::{QuestDb, decimal, schema};
use crate::{
    access::blocking,
    batch::Batch,
    error::StoreError,
    row::{ORIGINS, Source, StoredCandle, StoredTrade},
};

/// All values have one timestamp: with their name it is their key.
const VALUE_TS: i64 = 0;

impl QuestDb {
    pub(crate) async fn write(self: &Arc<Self>, batch: Arc<Batch>) -> Result<(), StoreError> {
        self.ready().await?;
        let store = Arc::clone(self);
        blocking(move || {
            let mut sender = store.sender.lock().unwrap_or_else(PoisonError::into_inner);
            send(&mut sender, &store.url.tables, &batch).map_err(|error| store.failed(error))
        })
        .await
    }
}

fn send(sender: &mut Sender, prefix: &str, batch: &Batch) -> ::questdb::Result<()> {
    let mut buffer = sender.new_buffer();
    let mut digits = Vec::new();
    for table in schema::CANDLE_TABLES {
        let name = format!("{prefix}{table}");
        for (source, stored) in batch.candles() {
            if schema::candle_table(stored.candle.interval) == table {
                candle(&mut buffer, &mut digits, &name, source, stored)?;
            }
        }
        flush(sender, &mut buffer)?;
    }
    let name = format!("{prefix}{}", schema::TRADES);
    for (source, stored) in batch.trades() {
        trade(&mut buffer, &mut digits, &name, source, stored)?;
    }
    flush(sender, &mut buffer)?;
    let name = format!("{prefix}{}", schema::VALUES);
    for (key, text) in batch.values() {
        buffer.table(name.as_str())?.symbol("name", &**key)?.column_str("value", &**text)?;
        buffer.at(TimestampNanos::new(VALUE_TS))?;
    }
    flush(sender, &mut buffer)
}

fn flush(sender: &mut Sender, buffer: &mut Buffer) -> ::questdb::Result<()> {
    if !buffer.is_empty() {
        sender.flush_and_keep_with_flags(buffer, true)?;
        buffer.clear();
    }
    Ok(())
}

fn candle(
    buffer: &mut Buffer,
    digits: &mut Vec<u8>,
    table: &str,
    source: &Source,
    stored: &StoredCandle,
) -> ::questdb::Result<()> {
    let candle = &stored.candle;
    let (price, quantity) = (stored.scales.price.decimals(), stored.scales.quantity.decimals());
    buffer.table(table)?.symbol("instrument", source.as_str())?.symbol("interval", candle.interval.name())?;
    buffer.symbol("state", candle.state.name())?;
    buffer.column_i64("revision", i64::from(candle.revision))?.column_bool("is_closed", candle.is_closed)?;
    buffer.column_i64("price_scale", i64::from(price))?.column_i64("quantity_scale", i64::from(quantity))?;
    for (name, Price(value)) in
        [("open", candle.open), ("high", candle.high), ("low", candle.low), ("close", candle.close)]
    {
        buffer.column_dec(name, decimal::text(digits, u128::from(value.unsigned_abs()), price))?;
    }
    for (name, value, decimals) in [
        ("volume", candle.volume, quantity),
        ("quote_volume", candle.quote_volume, price + quantity),
        ("buy_volume", candle.buy_volume, quantity),
        ("trades", u128::from(candle.trades), 0),
        ("first_id", u128::from(candle.first_id), 0),
        ("last_id", u128::from(candle.last_id), 0),
    ] {
        buffer.column_dec(name, decimal::text(digits, value, decimals))?;
    }
    let unknown = candle.unknown;
    buffer.column_bool("unknown_sides", unknown.sides)?.column_bool("unknown_trades", unknown.trades)?;
    buffer.column_bool("unknown_quote", unknown.quote)?;
    buffer.at(TimestampNanos::new(candle.open_time.0))
}

fn trade(
    buffer: &mut Buffer,
    digits: &mut Vec<u8>,
    table: &str,
    source: &Source,
    trade: &StoredTrade,
) -> ::questdb::Result<()> {
    let (price, quantity) = (trade.scales.price.decimals(), trade.scales.quantity.decimals());
    let origin = ORIGINS.iter().find(|(origin, _)| *origin == trade.origin).map_or("", |(_, name)| name);
    buffer.table(table)?.symbol("instrument", source.as_str())?.symbol("side", trade.side.name())?;
    buffer.symbol("origin", origin)?;
    for (name, value, decimals) in [
        ("id", u128::from(trade.id), 0),
        ("first_id", u128::from(trade.first_id), 0),
        ("price", u128::from(trade.price.0.unsigned_abs()), price),
        ("quantity", u128::from(trade.quantity.0.unsigned_abs()), quantity),
    ] {
        buffer.column_dec(name, decimal::text(digits, value, decimals))?;
    }
    buffer.column_i64("trades", i64::from(trade.trades))?.column_i64("ts_recv", trade.ts_recv.0)?;
    buffer.column_i64("price_scale", i64::from(price))?.column_i64("quantity_scale", i64::from(quantity))?;
    buffer.at(TimestampNanos::new(trade.ts_event.0))
}
