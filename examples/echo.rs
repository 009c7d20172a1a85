//! A TCP echo server: `cargo run --release --example echo [ADDRESS]`, by default 127.0.0.1:7777.
//!
//! Try it with `nc 127.0.0.1 7777`. One thread and one ring serve every connection, and an idle one holds no buffer: the
//! kernel picks one when data arrives, `read_chunk` lends it, and its drop gives it back.

use std::io;

use ringloop::create_task;
use ringloop::net::{TcpListener, TcpStream};

#[ringloop::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".to_string());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        create_task(async move {
            if let Err(error) = echo(stream).await {
                eprintln!("{peer}: {error}");
            }
        })
        .detach();
    }
}

/// Sends back whatever comes, until the other side has finished.
async fn echo(stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_all(&chunk).await?;
    }
    stream.close().await
}
