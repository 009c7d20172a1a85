//! The line protocol: what the two ends of a connection say to each other.
//!
//! | the client says | the server answers |
//! |---|---|
//! | `HELLO token` | nothing; a wrong token ends the connection |
//! | `LIST` | `ENTRY`, `SKIPPED` or `UNREADABLE` for each thing in the tree, parents before children; then `END` |
//! | `GET path` | `FILE attributes`; `DATA n` and n bytes, as often as it takes; `DONE sha256`. Or, at any point between two of these, `AGAIN reason` or `FAIL reason` |
//!
//! A line is a few words with a space between them. Paths, link targets and reasons are percent-encoded: a name with a
//! newline in it, or with bytes that are no UTF-8, arrives as it was, and every line is plain ASCII. A path is relative to
//! the root of the tree, whose own path is `.`; one that climbs out (`..`, a leading `/`) is not a path of this protocol.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::io::{AsyncBufReadExt, AsyncReadExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use ringloop::net::TcpStream;

/// No `DATA` carries more bytes than this, so it bounds what a transfer keeps in memory.
pub const CHUNK: usize = 128 * 1024;

/// The longest line: two paths of 4,096 bytes, each byte as `%XX`, and some numbers.
const LONGEST_LINE: u64 = 32 * 1024;

/// What the client asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Proves that the two ends belong together: others on this machine can reach the port, too.
    Hello(String),
    /// Everything in the tree.
    List,
    /// The content of one file.
    Get(PathBuf),
}

/// One line of the answer to `LIST`.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// Something to be mirrored.
    Entry(Entry),
    /// Something that is not mirrored, because it has no content: what it is.
    Skipped(PathBuf, String),
    /// Something that could not be looked at, and why.
    Unreadable(PathBuf, String),
    /// That was all.
    End,
}

/// One line of the answer to `GET`.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// The file is open: its content follows.
    File(Attributes),
    /// So many bytes follow this line.
    Data(usize),
    /// That was all, and this is the SHA-256 of it.
    Done(String),
    /// Not this time; another attempt may do better.
    Again(String),
    /// This file cannot be had.
    Fail(String),
}

/// A thing in the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is, from the root of the tree.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What the file system says of it.
    pub attributes: Attributes,
}

/// The kinds of things that are mirrored.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Directory,
    File,
    /// A symbolic link, and what it points to: any bytes, never followed.
    Symlink(PathBuf),
}

/// What is preserved of a file beside its content, and what tells one version of it from another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attributes {
    /// Permission bits, set-user-id and its like among them.
    pub mode: u32,
    /// The owner, who decides whether a set-user-id bit may be copied.
    pub uid: u32,
    /// The group, for the set-group-id bit.
    pub gid: u32,
    /// Length in bytes.
    pub len: u64,
    /// Last access.
    pub accessed: SystemTime,
    /// Last change of the content.
    pub modified: SystemTime,
}

impl Attributes {
    pub fn of(metadata: &std::fs::Metadata) -> io::Result<Attributes> {
        Ok(Attributes {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            len: metadata.len(),
            accessed: metadata.accessed()?,
            modified: metadata.modified()?,
        })
    }
}

/// One end of a connection.
pub struct Wire {
    /// The socket.
    stream: TcpStream,
}

impl Wire {
    /// Short lines go out at once: the other end waits for each of them.
    pub fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        Ok(Wire { stream })
    }

    /// Sends one message.
    pub async fn send(&self, message: impl Message) -> io::Result<()> {
        self.send_all([message]).await
    }

    /// Sends several messages at once.
    pub async fn send_all(&self, messages: impl IntoIterator<Item = impl Message>) -> io::Result<()> {
        let lines: String = messages.into_iter().map(|message| message.line() + "\n").collect();
        self.stream.write_all(lines.as_bytes()).await
    }

    /// Sends a chunk of content. The kernel takes the bytes from where they are.
    pub async fn send_data(&self, chunk: Bytes) -> io::Result<()> {
        if !chunk.is_empty() {
            self.send(Reply::Data(chunk.len())).await?;
            self.stream.write_owned(chunk).await?;
        }
        Ok(())
    }

    /// Receives one message: `None` if the other end has hung up.
    pub async fn receive<M: Message>(&mut self) -> io::Result<Option<M>> {
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        let message = line.strip_suffix(b"\n").and_then(|line| M::parse(str::from_utf8(line).ok()?));
        message.map(Some).ok_or_else(|| {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is not in the protocol"))
        })
    }

    /// Receives the bytes that a `DATA` line promised.
    pub async fn receive_data(&self, length: usize) -> io::Result<Bytes> {
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).await?;
        Ok(chunk.into())
    }
}

/// A message is a line, without its newline, and back.
pub trait Message: Sized {
    fn line(&self) -> String;
    fn parse(line: &str) -> Option<Self>;
}

impl Message for Request {
    fn line(&self) -> String {
        match self {
            Request::Hello(token) => format!("HELLO {token}"),
            Request::List => "LIST".to_string(),
            Request::Get(path) => format!("GET {}", escape_path(path)),
        }
    }

    fn parse(line: &str) -> Option<Request> {
        let mut words = line.split(' ');
        Some(match words.next()? {
            "HELLO" => Request::Hello(words.next()?.to_string()),
            "LIST" => Request::List,
            "GET" => Request::Get(path(words.next()?)?),
            _ => return None,
        })
    }
}

impl Message for Found {
    fn line(&self) -> String {
        match self {
            Found::Entry(Entry { path, kind, attributes }) => {
                let path = escape_path(path);
                match kind {
                    Kind::Directory => format!("ENTRY {path} {attributes} directory"),
                    Kind::File => format!("ENTRY {path} {attributes} file"),
                    Kind::Symlink(target) => format!("ENTRY {path} {attributes} symlink {}", escape(target)),
                }
            }
            Found::Skipped(path, what) => format!("SKIPPED {} {}", escape_path(path), escape(what)),
            Found::Unreadable(path, why) => format!("UNREADABLE {} {}", escape_path(path), escape(why)),
            Found::End => "END".to_string(),
        }
    }

    fn parse(line: &str) -> Option<Found> {
        let mut words = line.split(' ');
        Some(match words.next()? {
            "ENTRY" => Found::Entry(Entry {
                path: path(words.next()?)?,
                attributes: Attributes::parse(&mut words)?,
                kind: match words.next()? {
                    "directory" => Kind::Directory,
                    "file" => Kind::File,
                    "symlink" => Kind::Symlink(unescape(words.next()?).into()),
                    _ => return None,
                },
            }),
            "SKIPPED" => Found::Skipped(path(words.next()?)?, text(words.next()?)),
            "UNREADABLE" => Found::Unreadable(path(words.next()?)?, text(words.next()?)),
            "END" => Found::End,
            _ => return None,
        })
    }
}

impl Message for Reply {
    fn line(&self) -> String {
        match self {
            Reply::File(attributes) => format!("FILE {attributes}"),
            Reply::Data(n) => format!("DATA {n}"),
            Reply::Done(digest) => format!("DONE {digest}"),
            Reply::Again(reason) => format!("AGAIN {}", escape(reason)),
            Reply::Fail(reason) => format!("FAIL {}", escape(reason)),
        }
    }

    fn parse(line: &str) -> Option<Reply> {
        let mut words = line.split(' ');
        Some(match words.next()? {
            "FILE" => Reply::File(Attributes::parse(&mut words)?),
            "DATA" => Reply::Data(words.next()?.parse().ok().filter(|n| *n <= CHUNK)?),
            "DONE" => Reply::Done(words.next()?.to_string()),
            "AGAIN" => Reply::Again(text(words.next()?)),
            "FAIL" => Reply::Fail(text(words.next()?)),
            _ => return None,
        })
    }
}

impl Display for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { mode, uid, gid, len, accessed, modified } = self;
        write!(out, "{mode:o} {uid} {gid} {len} {} {}", time_word(*accessed), time_word(*modified))
    }
}

impl Attributes {
    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Attributes> {
        Some(Attributes {
            mode: u32::from_str_radix(words.next()?, 8).ok()?,
            uid: words.next()?.parse().ok()?,
            gid: words.next()?.parse().ok()?,
            len: words.next()?.parse().ok()?,
            accessed: time(words.next()?)?,
            modified: time(words.next()?)?,
        })
    }
}

/// A time as seconds since 1970: `-0.5` is half a second before.
fn time_word(time: SystemTime) -> String {
    let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ("", after),
        Err(before) => ("-", before.duration()),
    };
    format!("{sign}{}.{:09}", distance.as_secs(), distance.subsec_nanos())
}

fn time(word: &str) -> Option<SystemTime> {
    let distance = word.strip_prefix('-').unwrap_or(word);
    let (seconds, nanoseconds) = distance.split_once('.')?;
    let distance =
        Duration::new(seconds.parse().ok()?, nanoseconds.parse().ok().filter(|n| *n < 1_000_000_000)?);
    if word.starts_with('-') { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// What a path keeps of its bytes on the wire; the rest become `%XX`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

fn escape(word: &(impl AsRef<OsStr> + ?Sized)) -> impl Display {
    percent_encode(word.as_ref().as_bytes(), PLAIN)
}

fn escape_path(path: &Path) -> impl Display {
    escape(if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() })
}

fn unescape(word: &str) -> OsString {
    OsString::from_vec(percent_decode_str(word).collect())
}

fn text(word: &str) -> String {
    unescape(word).to_string_lossy().into_owned()
}

/// A path inside the tree: `None` for one that leads out of it.
fn path(word: &str) -> Option<PathBuf> {
    if word == "." {
        return Some(PathBuf::new());
    }
    let path = PathBuf::from(unescape(word));
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    (stays && !path.as_os_str().is_empty() && !path.as_os_str().as_bytes().contains(&0)).then_some(path)
}

#[cfg(test)]
mod tests {
    use ringloop::net::TcpListener;
    use ringloop::{join, timeout};

    use super::*;

    /// A nanosecond before 1970, and a nanosecond after the latest second that fits into 32 bits.
    fn attributes() -> Attributes {
        let accessed = UNIX_EPOCH - Duration::from_nanos(1);
        let modified = UNIX_EPOCH + Duration::new(1 << 32, 1);
        Attributes { mode: 0o4755, uid: 0, gid: u32::MAX, len: 1 << 40, accessed, modified }
    }

    fn survives<M: Message + PartialEq + fmt::Debug>(message: M) {
        let line = message.line();
        assert!(
            line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{line:?} is not a plain line"
        );
        assert_eq!(M::parse(&line).as_ref(), Some(&message), "{line:?}");
    }

    #[test]
    fn every_byte_that_a_name_may_have_survives_the_wire() {
        let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let path = Path::new("a b\n").join(OsStr::from_bytes(&name));
        survives(Request::Get(path.clone()));
        survives(Found::Skipped(path.clone(), "fifo".into()));
        survives(Found::Unreadable(path.clone(), "no\nreason".into()));
        let kind = Kind::Symlink(PathBuf::from(OsStr::from_bytes(b"../../ \xff\n%41")));
        survives(Found::Entry(Entry { path, kind, attributes: attributes() }));
    }

    #[test]
    fn messages_survive_the_wire() {
        survives(Request::Hello("0123abc".into()));
        survives(Request::List);
        survives(Found::Entry(Entry {
            path: PathBuf::new(),
            kind: Kind::Directory,
            attributes: attributes(),
        }));
        survives(Found::Entry(Entry { path: "%41".into(), kind: Kind::File, attributes: attributes() }));
        survives(Found::End);
        survives(Reply::File(attributes()));
        survives(Reply::Data(CHUNK));
        survives(Reply::Done("00ff".into()));
        survives(Reply::Again(String::new()));
        survives(Reply::Fail("No such file or directory (os error 2)".into()));
    }

    /// Both ends of a connection.
    async fn wires() -> io::Result<(Wire, Wire)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (accepted, connected) =
            join!(listener.accept(), TcpStream::connect(listener.local_addr()?)).await;
        Ok((Wire::new(accepted?.0)?, Wire::new(connected?)?))
    }

    #[ringloop::test]
    async fn a_connection_carries_messages_and_content_until_it_is_hung_up() -> io::Result<()> {
        let (server, mut client) = wires().await?;
        server.send_all([Found::Skipped("a b".into(), "fifo".into()), Found::End]).await?;
        server.send_data(Bytes::from_static(b"ENTRY\n")).await?;
        drop(server);
        assert_eq!(client.receive().await?, Some(Found::Skipped("a b".into(), "fifo".into())));
        assert_eq!(client.receive().await?, Some(Found::End));
        assert_eq!(client.receive().await?, Some(Reply::Data(6)));
        assert_eq!(client.receive_data(6).await?, "ENTRY\n");
        assert_eq!(client.receive::<Reply>().await?, None);
        Ok(())
    }

    #[ringloop::test(clock = "paused")]
    async fn a_peer_that_says_nothing_is_waited_for() -> io::Result<()> {
        let (_server, mut client) = wires().await?;
        timeout(Duration::from_secs(3600), client.receive::<Reply>()).await.expect_err("an hour is over");
        Ok(())
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for word in ["..", "../x", "a/../../x", "%2e%2e/x", "/etc/passwd", "%2Fetc", "", "a%00b", "./a"] {
            assert_eq!(Request::parse(&format!("GET {word}")), None, "{word}");
        }
    }

    #[test]
    fn a_chunk_longer_than_agreed_is_refused() {
        assert_eq!(Reply::parse(&format!("DATA {}", CHUNK + 1)), None);
    }
}
