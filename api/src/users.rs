//! People: they register, log in, and ask what they may do.
//!
//! `register` and `login` answer with a `session` (a token and whose it is), `me` with what is known of the caller.

mod login;
mod me;
mod register;
mod session;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::routes::App;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(register::register)).routes(routes!(login::login)).routes(routes!(me::me))
}
