//! People: they register, log in, and ask what they may do.
//!
//! `register` and `login` answer with a `session` (a token and whose it is), `me` with what is known of the caller.

mod login;
mod me;
mod register;
mod session;

use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;

use crate::routes::App;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/auth/register", post(register::register))
        .route("/v1/auth/login", post(login::login))
        .route("/v1/me", get(me::me))
}
