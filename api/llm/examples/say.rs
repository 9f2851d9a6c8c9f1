//! Asks the local model: `cargo run --release -p llm --features local --example say -- WEIGHTS "What is a candle?"`.

use std::{io::Write, path::Path, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use llm::{
    Attempt, Attempts, BreakerPolicy, Breakers, Call, ChatRequest, Driver, End, Event, Limits, Message, Model,
    ModelConfig, Part, Price, Provider, Rates, Refused, Thinking, providers::local,
};

/// Nobody pays for what runs here.
struct Free;

impl Attempts for Free {
    fn begin(&self, _attempt: &Attempt) -> BoxFuture<'static, Result<(), Refused>> {
        Box::pin(async { Ok(()) })
    }

    fn end(&self, _attempt: &Attempt, _end: &End) {}
}

fn model(weights: &Path) -> Result<Model, local::LoadError> {
    let config = ModelConfig {
        id: "smollm2".into(),
        provider: "local".into(),
        upstream: "smollm2".into(),
        price: Price { rates: Rates { input: 0, cache_read: 0, cache_write: 0, output: 0 }, long: None },
        context_tokens: local::CONTEXT_TOKENS as u64,
        output_tokens_max: 256,
        grade: 0,
        capabilities: vec![],
        thinking: Thinking::None,
    };
    Ok(Model { config, provider: Arc::new(Provider::local("local", local::Local::load(weights)?)) })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(weights), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return Err("say WEIGHTS PROMPT".into());
    };
    let begun = Instant::now();
    let model = model(Path::new(&weights))?;
    eprintln!("loaded in {:?}", begun.elapsed());
    let mut request = ChatRequest::new("smollm2", vec![Message::User { parts: vec![Part::Text(prompt)], name: None }]);
    (request.stream, request.sampling.temperature) = (true, Some(0.0));
    let call = Call {
        request: Arc::new(request),
        targets: vec![Arc::new(model)],
        own_key: None,
        seed: 0,
        attempts: Arc::new(Free),
    };
    let driver = Driver::new(Limits::default(), Arc::new(Breakers::new(BreakerPolicy::default())))?;
    let begun = Instant::now();
    let mut answer = driver.open(&call).await?;
    let first = begun.elapsed();
    while let Some(event) = answer.next().await {
        match event? {
            Event::Text(text) => print!("{text}"),
            Event::Usage(usage) => {
                let seconds = (begun.elapsed() - first).as_secs_f64();
                let rate = usage.tokens.output.saturating_sub(1) as f64 / seconds;
                eprintln!("\nfirst token after {first:?}, then {rate:.1} tokens/s; {:?}", usage.tokens);
            }
            _ => {}
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
