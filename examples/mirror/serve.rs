//! The server: hands out one tree, to whoever knows the token.
//!
//! One task per connection answers one request after the other. The ring reads the files, a chunk at a time, and sends them;
//! each chunk is hashed on the thread pool while it is sent. Looking at the tree happens on the thread pool, too.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ringloop::fs::File;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{create_task, join, to_thread};
use sha2::{Digest, Sha256};

use crate::tree::Tree;
use crate::wire::{CHUNK, Entry, Found, Kind, Reply, Request, Wire};

/// Serves `tree` until the listener fails.
pub async fn serve(listener: TcpListener, tree: Arc<Tree>, token: Rc<str>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (tree, token) = (tree.clone(), token.clone());
        create_task(async move {
            // A connection that breaks is the client's to report: it knows which file it wanted.
            let _ = converse(stream, tree, token).await;
        })
        .detach();
    }
}

async fn converse(stream: TcpStream, tree: Arc<Tree>, token: Rc<str>) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    if wire.receive().await? != Some(Request::Hello(token.to_string())) {
        return Ok(());
    }
    while let Some(request) = wire.receive().await? {
        match request {
            Request::Hello(_) => {}
            Request::List => list(&wire, &tree).await?,
            Request::Get(path) => {
                // Whatever went wrong with the file, the client learns it; if it was the connection, this fails as well.
                let last = content(&wire, &tree, path).await;
                wire.send(last.unwrap_or_else(|error| Reply::Fail(error.to_string()))).await?;
            }
        }
    }
    Ok(())
}

/// Sends the tree's entries as they are found, a directory at a time.
async fn list(wire: &Wire, tree: &Arc<Tree>) -> io::Result<()> {
    let mut root = Some(tree.root()?);
    let mut unread = vec![PathBuf::new()];
    while let Some(directory) = unread.pop() {
        let tree = tree.clone();
        let found = to_thread(move || tree.list(&directory)).await?;
        unread.extend(found.iter().filter_map(|found| match found {
            Found::Entry(Entry { path, kind: Kind::Directory, .. }) => Some(path.clone()),
            _ => None,
        }));
        wire.send_all(root.take().into_iter().chain(found)).await?;
    }
    wire.send(Found::End).await
}

/// Sends a file's attributes and content, and returns the line that ends the answer.
async fn content(wire: &Wire, tree: &Arc<Tree>, path: PathBuf) -> io::Result<Reply> {
    let tree = tree.clone();
    let (file, attributes) = to_thread(move || tree.open_file(&path)).await??;
    wire.send(Reply::File(attributes)).await?;

    let file = File::from(file);
    let mut hasher = Sha256::new();
    let mut sent = 0;
    loop {
        // One byte more than there should be: a file that has grown shows it.
        let left = usize::try_from(attributes.len - sent).unwrap_or(CHUNK);
        let room = CHUNK.min(left.saturating_add(1));
        let (n, chunk) = file.read_at(Vec::with_capacity(room), sent).await?;
        let chunk = Bytes::from(chunk);
        let (hashed, gone) = join!(digest(hasher, chunk.clone()), wire.send_data(chunk)).await;
        (hasher, ()) = (hashed?, gone?);
        sent += n as u64;
        // A read may bring less than there is; only one that brings nothing has met the end.
        if n == 0 || sent >= attributes.len {
            break;
        }
    }
    // Half of one version and half of another is no version: the client asks again.
    let after = file.metadata().await?;
    let same_length = sent == attributes.len && after.len() == attributes.len;
    if !same_length || after.modified()? != attributes.modified {
        return Ok(Reply::Again("it changed while it was read".to_string()));
    }
    Ok(Reply::Done(hex(hasher)))
}

/// Hashes a chunk on the thread pool: the loop has other files to move meanwhile.
pub async fn digest(mut hasher: Sha256, chunk: Bytes) -> io::Result<Sha256> {
    let hashed = to_thread(move || {
        hasher.update(&chunk);
        hasher
    });
    Ok(hashed.await?)
}

/// The hash as it is written on the wire.
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
