//! The fake as a process: `stripe-fake [address] [secret key]`. Prints its URL and runs until it is ended.

use std::net::SocketAddr;

use stripe_fake::Fake;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:12111").parse()?;
    if !address.ip().is_loopback() {
        return Err("the fake is for this machine only".into());
    }
    let key = arguments.next().unwrap_or_else(|| "sk_test_fake".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let fake = Fake::start(address, &key).await?;
        println!("STRIPE_API_BASE={}", fake.base());
        std::future::pending().await
    })
}
