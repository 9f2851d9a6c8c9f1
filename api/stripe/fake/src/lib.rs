//! A fake of Stripe for tests: it takes what Stripe takes of Checkout, refuses what it refuses, and tells of it by signed
//! webhooks, as often and in whichever order a test wants. Stripe's own Python library judges it (`../tests/it/official.rs`).
//!
//! `form` (parameters in) → `world` (sessions, events) → `act` (what customers, banks and operators do) → `once` (the same key
//! twice) → `http` (Stripe's routes, and `control` beside them) → `deliver` (webhooks out).
//!
//! In a test: [`Fake::start`]. From a shell: the program `stripe-fake`, whose routes below `/_fake/` do what the methods do.

mod act;
mod clock;
mod control;
mod deliver;
mod form;
mod http;
mod once;
mod refusal;
mod world;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use act::Action;
pub use deliver::{Delivery, DeliveryError};
pub use http::{Fault, Recorded};
pub use refusal::Refusal;

use world::World;

/// A fake that runs until it is dropped.
pub struct Fake {
    base: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// Starts on `address` of the loopback (port 0: any), and takes requests with this secret key.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(address: SocketAddr, key: &str) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let shared = Shared(Arc::new(Mutex::new(World::new(key, &base))));
        let router = http::router(shared.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("stripe-fake: {error}");
            }
        });
        Ok(Self { base, shared, server })
    }

    /// What `STRIPE_API_BASE` is set to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Lets a session go on and gives the ids of the events that tell of it.
    ///
    /// # Errors
    /// [`Refusal`] if the session does not exist or cannot go on so.
    pub fn act(&self, session: &str, action: Action) -> Result<Vec<String>, Refusal> {
        self.shared.world().act(session, action)
    }

    /// Sends webhooks and gives the status of each answer.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn deliver(&self, delivery: &Delivery) -> Result<Vec<u16>, DeliveryError> {
        deliver::deliver(&self.shared, delivery).await
    }

    /// Spoils the answers of the next `times` requests.
    pub fn spoil(&self, times: usize, fault: Fault) {
        self.shared.world().faults.extend(std::iter::repeat_n(fault, times.min(http::FAULTS_MAX)));
    }

    /// The requests to Stripe's routes until now, the last thousand.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.world().requests.iter().cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
