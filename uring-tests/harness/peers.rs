//! The other ends of the trials' sockets: plain std sockets on threads, and a Python process. Nothing here uses the
//! library, so a fault cannot cancel itself out.
//!
//! Every peer is joined or reaped when its handle is dropped, and ends by itself when its socket or its stdin closes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// So long a peer waits for a byte that never comes: beyond every trial's own limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thread that plays the other end; dropping it joins it and passes its panic on, unless the trial has failed already.
pub struct Peer<T> {
    /// The running thread.
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Peer<T> {
    /// Plays `part` on a thread.
    pub fn play(part: impl FnOnce() -> T + Send + 'static) -> Self {
        let thread = std::thread::Builder::new().name("peer".into()).spawn(part).expect("a thread can start");
        Peer { thread: Some(thread) }
    }

    /// Whether the part is over.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the part's end and gives what it returned.
    pub fn end(mut self) -> T {
        let thread = self.thread.take().expect("a peer is ended once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T> Drop for Peer<T> {
    fn drop(&mut self) {
        // The trial has failed: what this thread waits for may never come, and the process ends anyway.
        if std::thread::panicking() {
            return;
        }
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A listener of std on a free port of the loopback.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// A std connection to `address`, with reads that do not wait for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the listener is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit can be set");
    stream
}

/// Listens once: the address to connect to, and a peer that plays `part` with the accepted connection.
pub fn serve_one<T: Send + 'static>(
    part: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, Peer<T>) {
    let (listener, address) = listen();
    let peer = Peer::play(move || {
        let (stream, _) = listener.accept().expect("the trial connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit can be set");
        drop(listener);
        part(stream)
    });
    (address, peer)
}

/// A part: sends back what it receives, until the end.
pub fn echo(mut stream: TcpStream) -> u64 {
    let mut buffer = [0; 16384];
    let mut echoed = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return echoed,
            Ok(count) => {
                if stream.write_all(&buffer[..count]).is_err() {
                    return echoed;
                }
                echoed += count as u64;
            }
        }
    }
}

/// A part: reads everything to the end, so many bytes at a time with a pause after each.
pub fn slow_reader(piece: usize, pause: Duration) -> impl FnOnce(TcpStream) -> Vec<u8> + Send + 'static {
    move |mut stream| {
        let mut all = Vec::new();
        let mut buffer = vec![0; piece];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return all,
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("slow reader after {} bytes: {error}", all.len()),
            }
            std::thread::sleep(pause);
        }
    }
}

/// A part: reads everything to the end.
pub fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        panic!("reading to the end after {} bytes: {error}", all.len());
    }
    all
}

/// Closes with a reset instead of a FIN: what the other side then sees is ECONNRESET.
pub fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("linger can be set");
    drop(stream);
}

/// Ends the sending direction.
pub fn finish_sending(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("a connected socket can be shut down");
}

/// A Python process that plays the other end. Its script prints one line when it is ready (the port it listens on, say)
/// and ends at the end of its stdin.
pub struct Python {
    /// The running interpreter.
    child: Child,
    /// Its first line.
    pub ready: String,
}

impl Python {
    /// Starts the script and waits for its first line.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .args(["-I", "-c", script])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut ready = String::new();
        let mut byte = [0];
        let stdout = child.stdout.as_mut().expect("stdout is a pipe");
        while stdout.read(&mut byte).expect("the script prints a line") == 1 && byte[0] != b'\n' {
            ready.push(byte[0] as char);
        }
        Python { child, ready }
    }

    /// Closes its stdin and gives what it printed from the second line on; panics if it failed.
    pub fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        let stdout = self.child.stdout.as_mut().expect("stdout is a pipe");
        stdout.read_to_string(&mut rest).expect("the script prints text");
        let status = self.child.wait().expect("a child can be reaped");
        assert!(status.success(), "the Python peer failed: {status}");
        rest
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Only after a failed trial is it still running here; it is our own child, so its id cannot be a stranger's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
