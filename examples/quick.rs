//! A file, a socket and a timeout: `cargo run --example quick`.
//!
//! A server answers each connection with a file's content; a client waits for the answer, but not for ever.

use std::time::Duration;

use futures_util::AsyncReadExt;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{create_task, fs, timeout};

#[ringloop::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    create_task(async move {
        let (client, _) = listener.accept().await?;
        client.write_all(&fs::read("/proc/version").await?).await?;
        client.close().await
    })
    .detach();

    let mut answer = String::new();
    let mut server = TcpStream::connect(address).await?;
    timeout(Duration::from_secs(5), server.read_to_string(&mut answer)).await??;
    println!("{}", answer.trim_end());
    Ok(())
}
