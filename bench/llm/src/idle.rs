//! Memory of streams that say nothing for now: a thousand callers have the first piece and wait.

use std::{rc::Rc, time::Duration};

use anyhow::Context;
use tokio::{task::LocalSet, time::sleep};

use crate::{
    ask::Ask,
    caller::{Caller, Endpoint},
    load::{self, Shape, Span},
    plan::{KANDLE, Places},
    process::Process,
};

/// How many streams.
pub(crate) const STREAMS: usize = 1_000;
/// How many are opened at once.
const AT_ONCE: usize = 50;
/// How long they rest before the gateway is looked at.
const REST: Duration = Duration::from_millis(1500);
/// Calls before, so that what is only made once is there.
const WARM: Span = Span { warm_up: Duration::ZERO, measured: Duration::from_millis(500) };

/// What a gateway takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) name: &'static str,
    /// Of the process with all streams open.
    pub(crate) resident_bytes: u64,
    /// By which it grew, by stream.
    pub(crate) per_stream: u64,
}

/// Measures every gateway, each freshly started.
///
/// # Errors
/// One does not open all streams.
pub(crate) async fn run(places: &Places, has_peers: bool) -> anyhow::Result<Vec<Idle>> {
    let kandle = places.kandle()?;
    let mut all = vec![measure(KANDLE, &kandle.endpoint(), kandle.process()).await.context(KANDLE)?];
    drop(kandle);
    for (peer, running) in if has_peers { places.peers()? } else { Vec::new() } {
        match measure(peer.name(), &running.endpoint, &running.process).await {
            Ok(idle) => all.push(idle),
            Err(error) => eprintln!("no memory of {}: {error:#}", peer.name()),
        }
    }
    Ok(all)
}

async fn measure(name: &'static str, endpoint: &Endpoint, process: &Process) -> anyhow::Result<Idle> {
    eprintln!("{STREAMS} idle streams: {name}");
    let warm = Shape { name: "warm-up", ask: Ask::Whole, callers: 4 };
    load::run(endpoint, warm, WARM, None).await?;
    let before = process.usage()?.resident_bytes;
    let endpoint = Rc::new(endpoint.clone());
    let streams = LocalSet::new().run_until(open(&endpoint)).await?;
    sleep(REST).await;
    let after = process.usage()?.resident_bytes;
    drop(streams);
    Ok(Idle { name, resident_bytes: after, per_stream: after.saturating_sub(before) / STREAMS as u64 })
}

async fn open(endpoint: &Rc<Endpoint>) -> anyhow::Result<Vec<(Caller, hyper::body::Incoming)>> {
    let mut streams = Vec::with_capacity(STREAMS);
    while streams.len() < STREAMS {
        let opening: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let mut caller = Caller::new(endpoint, Ask::Idle);
                tokio::task::spawn_local(async move { caller.first_piece().await.map(|body| (caller, body)) })
            })
            .collect();
        for stream in opening {
            streams.push(stream.await??);
        }
    }
    Ok(streams)
}
