//! The server that the jobs fetch from, on loopback. It is busy, hangs up and stalls, by seed.
//!
//! A line is a request, `GET job attempt part`; a line is the answer: `OK text`, `BUSY why`, or `GONE why` for good.

use std::io;

use ringloop::create_task;
use ringloop::net::{TcpListener, TcpStream};

use crate::luck::Luck;

/// How many parts there are of anything.
pub const PARTS: u32 = 3;

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, luck: Luck) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // What goes wrong with a connection is the client's business, and it sees it.
        create_task(async move { _ = answer(stream, luck).await }).detach();
    }
}

/// How the server treats a request.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Busy,
    HangsUp,
    Stalls,
    Gone,
}

/// How it treats this attempt at a job.
fn mood(luck: Luck, job: u32, attempt: u32) -> Mood {
    match (luck.with(job).below(20), attempt) {
        (0, _) => Mood::Gone,
        (1, _) => Mood::Busy,
        (2..=4, 1) => Mood::Busy,
        (5..=7, 1 | 2) => Mood::HangsUp,
        (8..=10, 1) => Mood::Stalls,
        _ => Mood::Good,
    }
}

async fn answer(stream: TcpStream, luck: Luck) -> io::Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let words: Vec<u32> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let &[job, attempt, part] = &words[..] else {
        return stream.write_all(b"GONE this is no request\n").await;
    };
    // One of the parts fails, and takes the others with it.
    let spoilt = part == luck.with(job).with(attempt).below(PARTS);
    let line = match mood(luck, job, attempt) {
        Mood::Busy if spoilt => "BUSY come back later\n".to_owned(),
        Mood::Gone if spoilt => format!("GONE there is no part {part}\n"),
        Mood::HangsUp if spoilt => return stream.close().await,
        // Nothing, until the client has had enough.
        Mood::Stalls if spoilt => return stream.read_line(&mut line).await.map(|_| ()),
        _ => format!("OK part {part} of {job}\n"),
    };
    stream.write_all(line.as_bytes()).await?;
    stream.close().await
}
