//! Who is measured when: each gateway between two runs straight to the provider, in another order each round.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{
    ask::Ask,
    caller::Endpoint,
    kandle::{Calls, Kandle},
    load::{self, Sample, Shape, Span},
    peers::{Peer, Running},
};

/// What is asked. Streams are counted in pieces, so that slow gateways need not end many of them.
pub(crate) const SHAPES: [Shape; 5] = [
    Shape { name: "1 caller", ask: Ask::Whole, callers: 1 },
    Shape { name: "16 callers", ask: Ask::Whole, callers: 16 },
    Shape { name: "256 callers", ask: Ask::Whole, callers: 256 },
    Shape { name: "16 streams", ask: Ask::Stream, callers: 16 },
    Shape { name: "64 streams", ask: Ask::Stream, callers: 64 },
];
/// Our name.
pub(crate) const KANDLE: &str = "kandle";
/// How many streams a gateway in Python is given.
const STREAMS_OF_THE_SLOW: usize = 16;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    pub(crate) rounds: usize,
    pub(crate) span: Span,
    pub(crate) has_peers: bool,
}

/// A run of a gateway between two of the provider alone.
pub(crate) struct Record {
    pub(crate) round: usize,
    pub(crate) shape: Shape,
    pub(crate) name: &'static str,
    pub(crate) sample: Sample,
    pub(crate) direct: [Sample; 2],
}

/// Where everything is.
pub(crate) struct Places {
    /// Our program.
    pub(crate) kandle: PathBuf,
    /// Where peers are installed.
    pub(crate) peers: PathBuf,
    /// Their sources.
    pub(crate) sources: PathBuf,
    /// Where databases are made.
    pub(crate) data: PathBuf,
    /// The provider.
    pub(crate) provider: SocketAddr,
}

/// A gateway that runs.
struct Contestant {
    name: &'static str,
    endpoint: Endpoint,
    process: u32,
    is_slow: bool,
}

impl Places {
    /// Straight to the provider.
    pub(crate) fn direct(&self) -> Endpoint {
        let path = "/v1/chat/completions".to_owned();
        Endpoint { address: self.provider, path, key: "none".to_owned(), model: "up-1".to_owned() }
    }

    pub(crate) fn kandle(&self) -> anyhow::Result<Kandle> {
        Kandle::start(&self.kandle, &self.data, self.provider, None)
    }

    pub(crate) fn peers(&self) -> anyhow::Result<Vec<(Peer, Running)>> {
        let mut running = Vec::new();
        for peer in Peer::ALL {
            if peer.python(&self.peers).is_some() {
                running.push((peer, peer.start(&self.peers, &self.sources, self.provider)?));
            } else {
                eprintln!("{} is left out: it is not installed", peer.name());
            }
        }
        Ok(running)
    }
}

/// Measures all shapes with all gateways, and checks the books at the end.
///
/// # Errors
/// A call that was not answered as it should be, or books that are wrong.
pub(crate) async fn run(places: &Places, depth: Depth, shapes: &[Shape]) -> anyhow::Result<Vec<Record>> {
    let kandle = places.kandle()?;
    let peers = if depth.has_peers { places.peers()? } else { Vec::new() };
    let (endpoint, process) = (kandle.endpoint(), kandle.process().id());
    let mut contestants = vec![Contestant { name: KANDLE, endpoint, process, is_slow: false }];
    contestants.extend(peers.iter().map(|(peer, running)| Contestant {
        name: peer.name(),
        endpoint: running.endpoint.clone(),
        process: running.process.id(),
        is_slow: *peer == Peer::LiteLlm,
    }));
    let (mut records, mut calls) = (Vec::new(), Calls::default());
    for round in 0..depth.rounds {
        for shape in shapes {
            eprintln!("round {} of {}: {}", round + 1, depth.rounds, shape.name);
            let direct = places.direct();
            let mut before = load::run(&direct, *shape, depth.span, None).await.context("the provider alone")?;
            for place in 0..contestants.len() {
                let Some(contestant) = contestants.get((place + round) % contestants.len()) else { continue };
                if contestant.is_slow && shape.ask == Ask::Stream && shape.callers > STREAMS_OF_THE_SLOW {
                    continue;
                }
                let span = if contestant.is_slow { slow(depth.span) } else { depth.span };
                let sample = load::run(&contestant.endpoint, *shape, span, Some(contestant.process)).await;
                let sample = sample.with_context(|| format!("{} with {}", contestant.name, shape.name))?;
                if contestant.name == KANDLE {
                    calls.add(shape.ask, sample.calls);
                }
                let after = load::run(&direct, *shape, depth.span, None).await.context("the provider alone")?;
                records.push(Record { round, shape: *shape, name: contestant.name, sample, direct: [before, after] });
                before = after;
            }
        }
    }
    kandle.check_books(calls).context("kandle's books")?;
    eprintln!("kandle's books are right: {} whole calls and {} streams", calls.wholes, calls.streams);
    Ok(records)
}

/// A gateway with a few calls a second needs longer.
fn slow(span: Span) -> Span {
    Span { warm_up: Duration::ZERO, measured: span.measured.max(Duration::from_secs(4)) }
}

/// Below the build's folder.
pub(crate) fn data_folder(peers: &Path) -> PathBuf {
    peers.with_file_name("bench-llm")
}
