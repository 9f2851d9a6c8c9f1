//! Candles of the past: recorded pages of each venue, and a client that keeps its patience.
//!
//! The pages are venue facts in the order and the spelling of their origin, shortened: Binance 2021-10-22, Kraken
//! 2025-11-10, Hyperliquid 2023-05-21 recorded (nautilus_trader, hyperliquid-python-sdk); Bybit and OKX from the
//! venues' own documentation; Coinbase in the documented order of its columns with values that it gave on 2024-04-04.

use std::{sync::Arc, time::Duration};

use engine::{
    interval::Interval,
    market::{Refusal, Symbol, Timestamp, Venue},
    number::{Scale, write_decimal},
};
use feeds::{
    backfill::{Asked, BackfillError, CandleClient, Pace},
    supervisor::Clock,
    venue::{CandleRow, FeedError, Known, VenueCandle, feed},
};
use tokio::time::Instant;

use crate::fake::{self, doors};

const BINANCE: &str = r#"[[1634943780000,"60685.22000000","60729.84000000","60670.90000000","60719.27000000","21.63272000",
    1634943839999,"1313200.01340410",617,"12.28492000","745719.41022840","0"]]"#;
const COINBASE: &str = "[[1712192400,66055.14,66331.99,66312.4,66181.6,355.82896243],
    [1712188800,65857.35,66387.77,65984.18,66314.59,358.74851052]]";
const KRAKEN: &str = r#"{"error":[],"result":{"XBTUSDT":[
    [1762777080,"106038.2","106038.2","106038.2","106038.2","0.0","0.00000000",0],
    [1762777140,"106038.3","106038.3","106038.3","106038.3","106038.3","0.00032101",1]],"last":1762777080}}"#;
const BYBIT: &str = r#"{"retCode":0,"retMsg":"OK","result":{"symbol":"BTCUSD","category":"inverse","list":[
    ["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"],
    ["1670605200000","17071.5","17071.5","17061","17071","4177","0.24469757"]]},"retExtInfo":{},"time":1672025956592}"#;
const OKX: &str = r#"{"code":"0","msg":"","data":[
    ["1597026443085","8548.26","8553.74","8527.17","8548.26","1","2","3","0"],
    ["1597026383085","8533.02","8553.74","8527.17","8548.26","45247","529.5858061","5529.5858061","1"]]}"#;
const HYPERLIQUID: &str = r#"[{"T":1684702799999,"c":"0.001604","h":"0.001616","i":"1h","l":"0.001601","n":709,
    "o":"0.001601","s":"kPEPE","t":1684699200000,"v":"520665683.0"}]"#;

fn known(price: u8, quantity: u8) -> Known {
    let scale = |decimals| Scale::new(decimals).unwrap();
    Known { symbol: Symbol(0), price_scale: scale(price), quantity_scale: scale(quantity) }
}

fn parse(venue: Venue, page: &str, known: &Known) -> Result<Vec<CandleRow>, FeedError> {
    feed(venue).unwrap().parse_candles(&mut page.as_bytes().to_vec(), known)
}

/// Every value of a candle as text; what the venue does not tell is a dash.
fn shown(candle: &VenueCandle, known: &Known) -> String {
    let amount = |value: u128, decimals| {
        let mut out = Vec::new();
        write_decimal(&mut out, value, decimals);
        String::from_utf8(out).unwrap()
    };
    let told = |value: Option<u128>, decimals| value.map_or("-".to_owned(), |value| amount(value, decimals));
    let (price, quantity) = (known.price_scale.decimals(), known.quantity_scale.decimals());
    let [open, high, low, close] =
        [candle.open, candle.high, candle.low, candle.close].map(|text| amount(text.0.unsigned_abs().into(), price));
    let (quote, buy) = (told(candle.quote_volume, price + quantity), told(candle.buy_volume, quantity));
    let trades = candle.trades.map_or("-".to_owned(), |count| count.to_string());
    let volume = amount(candle.volume, quantity);
    format!("{} {open} {high} {low} {close} {volume} {quote} {buy} {trades}", candle.open_time.millis())
}

fn check(venue: Venue, page: &str, want: &[&str]) {
    let known = known(10, 8);
    let rows = parse(venue, page, &known).unwrap();
    let rows: Vec<_> = rows.iter().map(|row| shown(row.as_ref().unwrap(), &known)).collect();
    assert_eq!(rows, want, "{venue}");
}

#[test]
fn recorded_pages_are_read_to_the_last_digit_oldest_first() {
    let binance = "1634943780000 60685.22 60729.84 60670.9 60719.27 21.63272 1313200.0134041 12.28492 617";
    check(Venue::Binance, BINANCE, &[binance]);
    let coinbase = [
        "1712188800000 65984.18 66387.77 65857.35 66314.59 358.74851052 - - -",
        "1712192400000 66312.4 66331.99 66055.14 66181.6 355.82896243 - - -",
    ];
    check(Venue::Coinbase, COINBASE, &coinbase);
    let kraken = [
        "1762777080000 106038.2 106038.2 106038.2 106038.2 0 - - 0",
        "1762777140000 106038.3 106038.3 106038.3 106038.3 0.00032101 - - 1",
    ];
    check(Venue::Kraken, KRAKEN, &kraken);
    let bybit = [
        "1670605200000 17071.5 17071.5 17061 17071 4177 0.24469757 - -",
        "1670608800000 17071 17073 17027 17055.5 268611 15.74462667 - -",
    ];
    check(Venue::Bybit, BYBIT, &bybit);
    // The one that is not confirmed is open.
    check(Venue::Okx, OKX, &["1597026383085 8533.02 8553.74 8527.17 8548.26 45247 5529.5858061 - -"]);
    let hyperliquid = "1684699200000 0.001601 0.001616 0.001601 0.001604 520665683 - - 709";
    check(Venue::Hyperliquid, HYPERLIQUID, &[hyperliquid]);
}

#[test]
fn a_candle_finer_than_its_scales_is_refused_by_field_and_the_others_stay() {
    let rows = parse(Venue::Coinbase, COINBASE, &known(1, 8)).unwrap();
    let refused: Vec<_> = rows.iter().map(|row| row.map_err(|refused| (refused.reason, refused.field)).err()).collect();
    assert_eq!(refused, [Some((Refusal::TooPrecise, "open")), Some((Refusal::TooPrecise, "high"))]);
    // A sum of products that the scales cannot hold counts as not told: the venue rounded it.
    let rows = parse(Venue::Bybit, BYBIT, &known(1, 1)).unwrap();
    assert!(rows.iter().all(|row| row.unwrap().quote_volume.is_none()));
}

fn client(venue: Venue, base: &str, now_ms: i64) -> CandleClient {
    let wait = Duration::from_millis(10);
    let pace = Pace { pause: Duration::from_millis(50), wait_min: wait, wait_max: wait };
    let clock: Clock = Arc::new(move || Timestamp::from_millis(now_ms));
    CandleClient::new(venue, base, Some(pace), clock, 7).unwrap()
}

async fn ask(client: &mut CandleClient, from_ms: i64, to_ms: i64) -> Result<Vec<CandleRow>, BackfillError> {
    let known = known(10, 8);
    let asked = Asked { name: "BTC-USD", known: &known, interval: Interval::H1 };
    client.page(asked, Timestamp::from_millis(from_ms), Timestamp::from_millis(to_ms)).await
}

#[tokio::test]
async fn only_closed_candles_of_the_range_come_through() {
    let (first, second, hour) = (1_712_188_800_000, 1_712_192_400_000, 3_600_000);
    for (now, from, to, want) in [
        (second + 2 * hour, first, second + hour, 2),
        (second + 2 * hour, first, second, 1),
        (second + 2 * hour, second, second + hour, 1),
        // Over, but not yet settled; then settled.
        (second + hour + 2000, first, second + hour, 1),
        (second + hour + 3000, first, second + hour, 2),
    ] {
        let (address, _) = doors(vec![("200 OK", "", COINBASE)]).await;
        let rows = ask(&mut client(Venue::Coinbase, &format!("http://{address}/"), now), from, to).await.unwrap();
        assert_eq!(rows.len(), want, "at {now}");
    }
}

#[tokio::test]
async fn a_venue_that_asks_for_patience_gets_it_and_its_page_is_asked_for_again() {
    let answers = vec![
        ("429 Too Many Requests", "retry-after: 1\r\n", ""),
        ("418 I'm a teapot", "retry-after: 1\r\n", ""),
        ("503 Service Unavailable", "", ""),
        ("200 OK", "", "not a page"),
        ("200 OK", "", COINBASE),
    ];
    let (address, came) = doors(answers).await;
    let mut client = client(Venue::Coinbase, &format!("http://{address}"), 1_712_300_000_000);
    assert_eq!(ask(&mut client, 1_712_188_800_000, 1_712_196_000_000).await.unwrap().len(), 2);
    let came: Vec<Instant> = came.borrow().clone();
    let waits: Vec<u128> = came.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(waits[0] >= 1000 && waits[1] >= 1000, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait >= 49), "the pace holds for attempts as well: {waits:?}");
    assert_eq!(waits.len(), 4);
}

#[tokio::test]
async fn a_question_that_the_venue_does_not_take_is_asked_once_and_its_words_are_told() {
    let (address, came) = doors(vec![("400 Bad Request", "", r#"{"code":-1121,"msg":"Invalid symbol."}"#)]).await;
    let mut client = client(Venue::Binance, &format!("http://{address}"), 1_712_300_000_000);
    let error = ask(&mut client, 1_712_188_800_000, 1_712_196_000_000).await.unwrap_err();
    let words = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), "binance gives no 1h candles of BTC-USD, asked 1 times");
    assert!(error.is_terminal() && words.contains("400") && words.contains("Invalid symbol."), "{words}");
    assert_eq!(came.borrow().len(), 1);
}

#[tokio::test]
async fn a_venue_that_does_not_answer_is_given_up_and_then_tried_once_a_page() {
    let (address, came) = fake::closed_door("500 Internal Server Error", "").await;
    let mut client = client(Venue::Binance, &format!("http://{address}"), 1_712_300_000_000);
    for hits in [8, 9, 10] {
        let error = ask(&mut client, 1_712_188_800_000, 1_712_196_000_000).await.unwrap_err();
        assert!(!error.is_terminal(), "{error}");
        assert_eq!(came.borrow().len(), hits);
    }
}

#[test]
fn an_interval_that_a_venue_has_not_is_refused_with_those_that_it_has() {
    for (venue, lacks) in [
        (Venue::Binance, "5s 15s 30s"),
        (Venue::Coinbase, "1s 5s 15s 30s 3m 30m 2h 4h 8h 12h 3d 1w 1M"),
        (Venue::Kraken, "1s 5s 15s 30s 3m 2h 6h 8h 12h 3d 1M"),
        (Venue::Bybit, "1s 5s 15s 30s 8h 3d"),
        (Venue::Okx, "5s 15s 30s 8h"),
        (Venue::Hyperliquid, "1s 5s 15s 30s 6h"),
    ] {
        let client = client(venue, "http://127.0.0.1:9", 0);
        let errors = Interval::ALL.map(|interval| client.check(interval).err().map(|error| (interval, error)));
        let lacking: Vec<_> = errors.iter().flatten().map(|(interval, _)| interval.name()).collect();
        assert_eq!(lacking.join(" "), lacks, "{venue}");
        assert!(errors.iter().flatten().all(|(_, error)| error.to_string().contains("ask for ")));
    }
}

#[test]
fn what_a_venue_no_longer_has_is_known_before_it_is_asked() {
    let now = 1_712_300_000_000;
    let hour = Timestamp::from_millis(1_712_296_800_000);
    assert_eq!(client(Venue::Kraken, "", now).reach(Interval::H1), hour.plus(-719 * 3_600_000_000_000));
    assert_eq!(client(Venue::Binance, "", now).reach(Interval::H1), Timestamp(0));
}
