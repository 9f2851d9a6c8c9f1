//! An answer that is sent as a whole. A task of its own waits for it, so that a client that hangs up pays for it as well.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use llm::Completion;
use serde_json::Value;

use super::call::{Call, Done, Opened};
use crate::{access::Cost, once::Ticket, problem::Problem, routes::fresh};

/// Makes a call and answers with what `compose` makes of it.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn whole(
    call: Call,
    ticket: Ticket,
    compose: impl FnOnce(&Done) -> Value + Send + 'static,
) -> Result<Response, Problem> {
    // The call's permit is what a server that ends waits for.
    let task = tokio::spawn(async move { Box::pin(answer(call, &ticket, compose)).await });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call of a model failed");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"))
    })
}

async fn answer(mut call: Call, ticket: &Ticket, compose: impl FnOnce(&Done) -> Value) -> Result<Response, Problem> {
    let Opened { mut answer, meter, facts } = call.open().await?;
    let mut completion = Completion::default();
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => completion.push(event),
            Err(failure) => {
                meter.close(None).await;
                return Err(call.refused(failure));
            }
        }
    }
    drop(answer);
    let done = match call.done(&meter, facts, completion).await {
        Ok(done) => done,
        Err(problem) => {
            meter.close(None).await;
            return Err(problem);
        }
    };
    let body = compose(&done);
    // An answer that is too long to be kept is given all the same.
    let mut composed = ticket.compose(&call.accounts, call.now, StatusCode::OK, &body).ok();
    meter.close(composed.as_mut().and_then(|composed| composed.kept.take())).await;
    let mut response = match composed {
        Some(composed) => composed.into_response(),
        None => fresh(axum::Json(body).into_response()),
    };
    done.tell(&mut response);
    response.extensions_mut().insert(Cost(done.cost()));
    Ok(response)
}
