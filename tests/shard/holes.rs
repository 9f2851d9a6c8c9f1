//! Holes: trades that are missing, found by their ids or by a cut, what candles say meanwhile, and their repair.

use engine::{
    market::{Origin, Symbol, Timestamp, Trade, Venue},
    message::Input,
};
use serde_json::Value;

use super::{Rig, T0, closed, recorded, run, trade};

#[test]
fn a_cut_feed_is_told_and_its_end_too() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    rig.trade(1, T0, 10_000, 5);
    rig.turn(T0 + 10);
    let symbols: Box<[Symbol]> = [Symbol(0)].into();
    rig.shard.on_input(Input::FeedDown { symbols: symbols.clone(), since: Timestamp::from_millis(T0 + 20) });
    let gap = rig.turn(T0 + 30).remove(0);
    assert_eq!(
        (gap["op"].as_str(), gap["state"].as_str(), gap["cause"].as_str()),
        (Some("gap"), Some("open"), Some("feed_disconnect"))
    );
    rig.shard.on_input(Input::FeedUp { symbols });
    let ops = rig.turn(T0 + 40);
    assert!(ops.iter().all(|op| op["op"] != "gap"), "the next id will tell what the cut has cost: {ops:?}");
    rig.trade(2, T0 + 50, 10_000, 5);
    let ops = rig.turn(T0 + 60);
    assert!(ops.iter().any(|op| op["state"] == "repaired"), "{ops:?}");
}

#[test]
fn a_candle_without_trades_is_partial_while_the_feed_is_cut_and_flat_once_the_ids_say_so() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    rig.trade(1, T0 + 1, 10_000, 5);
    rig.turn(T0 + 10);
    let symbols: Box<[Symbol]> = [Symbol(0)].into();
    rig.shard.on_input(Input::FeedDown { symbols: symbols.clone(), since: Timestamp::from_millis(T0 + 20) });
    rig.turn(T0 + 30);
    let states = |ops: &[Value]| {
        let closed = ops.iter().filter(|op| op["data"]["is_closed"] == true);
        closed.map(|op| format!("{} r{}", op["data"]["state"], op["data"]["revision"])).collect::<Vec<_>>()
    };
    assert_eq!(states(&rig.turn(T0 + 122_000)), ["\"partial\" r0", "\"partial\" r0"]);
    rig.shard.on_input(Input::FeedUp { symbols });
    rig.turn(T0 + 122_100);
    rig.trade(2, T0 + 122_200, 10_000, 5);
    let ops = rig.turn(T0 + 122_300);
    assert_eq!(states(&ops), ["\"flat\" r1"], "the first minute is not proven: its beginning was not seen");
}

#[test]
fn a_candle_called_flat_before_its_trades_were_known_to_be_lost_is_taken_back() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1s", None);
    for (id, at) in [(1, -900), (2, 100), (3, 1_100)] {
        rig.trade(id, T0 + at, 10_000, 5);
    }
    rig.turn(T0 + 1_200);
    assert_eq!(closed(&rig.turn(T0 + 4_100)), ["1s 100 1 r0 partial", "2s 100 0 r0 flat"], "nobody knows better");
    rig.trade(6, T0 + 4_200, 10_000, 5);
    let told = closed(&rig.turn(T0 + 4_300));
    assert_eq!(told, ["2s 100 0 r1 partial"], "4 and 5 may have happened then");
    rig.shard.on_input(Input::Trade(trade(4, T0 + 2_500, 10_100, 5, Origin::Repair)));
    rig.shard.on_input(Input::Trade(trade(5, T0 + 2_600, 10_200, 5, Origin::Repair)));
    assert_eq!(closed(&rig.turn(T0 + 4_400)), ["1s 100 1 r1 complete", "2s 102 2 r2 repaired"]);
    assert_eq!(closed(&rig.turn(T0 + 5_100)), ["3s 102 0 r0 flat"]);
}

#[test]
fn a_joined_trade_fills_its_part_of_a_hole_once_the_fills_outside_are_taken_away() {
    let joined = |first_id: u64, id: u64, quantity: i64| {
        let whole = trade(id, T0 + 500, 10_000, quantity, Origin::Repair);
        Trade { first_id, trades: (id - first_id + 1) as u32, ..whole }
    };
    // Fills 3 to 8 are one order of 60; 3, 4 and 8 came, with 5, 6 and 20.
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    for (id, quantity) in [(1, 1), (2, 1), (3, 5), (4, 6), (8, 20), (9, 1)] {
        rig.trade(id, T0 + 500, 10_000, quantity);
    }
    rig.turn(T0 + 600);
    rig.shard.on_input(Input::Trade(joined(3, 8, 60)));
    let ops = rig.turn(T0 + 700);
    let candle = ops.iter().find(|op| op["op"] == "event").unwrap();
    assert_eq!((&candle["data"]["volume"], &candle["data"]["trades"]), (&0.063.into(), &9.into()), "{candle}");
    assert!(ops.iter().any(|op| op["op"] == "gap" && op["state"] == "repaired"), "{ops:?}");

    // Where a fill outside has another price, or two holes share the order, nothing is guessed, and the holes stay.
    for other in [(4, 6, 10_001), (5, 6, 10_000)] {
        let mut rig = Rig::btc();
        rig.subscribe("market.BTC.1m", None);
        for (id, quantity, price) in [(2, 1, 10_000), (3, 5, 10_000), other, (8, 20, 10_000), (9, 1, 10_000)] {
            rig.trade(id, T0 + 500, price, quantity);
        }
        rig.turn(T0 + 600);
        rig.shard.on_input(Input::Trade(joined(3, 8, 60)));
        let ops = rig.turn(T0 + 700);
        assert!(ops.iter().all(|op| op["state"] != "repaired"), "{ops:?}");
    }
}

#[test]
fn a_trade_behind_the_late_window_proves_nothing() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    rig.turn(T0);
    for (id, second) in [(1, -5), (2, 1), (3, 30), (5, 32), (6, 61)] {
        rig.trade(id, T0 + second * 1000, 100, 1);
    }
    assert_eq!(closed(&rig.turn(T0 + 62_000)), ["-60s 1 1 r0 partial", "0s 1 3 r0 partial"], "4 is missing");
    rig.trade(7, T0 + 200_000, 100, 1);
    rig.turn(T0 + 200_100);
    rig.shard.on_input(Input::Trade(trade(4, T0 + 31_000, 100, 1, Origin::Repair)));
    assert_eq!(closed(&rig.turn(T0 + 200_200)), Vec::<String>::new(), "it is not in the candle, which stays partial");
    assert_eq!(rig.shard.stats().late_dropped, 1);
}

#[test]
fn any_deleted_line_is_one_gap_that_repair_closes_and_any_doubled_line_changes_nothing() {
    for (venue, file) in [
        (Venue::Coinbase, "fixtures/feeds/coinbase_exchange/matches_2021-04-17.jsonl"),
        (Venue::Okx, "fixtures/feeds/okx/trades_2022-05-13.jsonl"),
    ] {
        let Some((directory, trades)) = recorded(venue, file) else { return };
        let (missing, whole, counts) = run(&directory, &trades);
        assert!(missing.is_empty() && whole.duplicates == 0);
        let mut gaps = 0;
        for (index, lost) in trades.iter().enumerate() {
            let mut fewer = trades.clone();
            fewer.remove(index);
            let neighbour = |trade: &&Trade| trade.symbol == lost.symbol;
            let inside = trades[..index].iter().any(|trade| neighbour(&trade))
                && trades[index + 1..].iter().any(|trade| neighbour(&trade));
            let (missing, _, _) = run(&directory, &fewer);
            if inside {
                let [gap] = missing[..] else { panic!("{missing:?}") };
                assert_eq!((gap.symbol, gap.first_id, gap.last_id), (lost.symbol, lost.first_id, lost.id));
                fewer.push(Trade { origin: Origin::Repair, ..*lost });
                let (_, stats, repaired) = run(&directory, &fewer);
                assert_eq!((stats.gaps_open, stats.gaps_repaired), (1, 1));
                assert_eq!(repaired, counts);
                gaps += 1;
            } else {
                assert!(missing.is_empty());
            }
            let mut doubled = trades.clone();
            doubled.insert(index, *lost);
            let (missing, stats, same) = run(&directory, &doubled);
            assert!(missing.is_empty());
            assert_eq!((stats.duplicates, same), (1, counts.clone()));
        }
        println!("{venue}: {gaps} gaps, each found and repaired");
        assert!(gaps > 60);
    }
}
