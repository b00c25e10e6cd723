//! The door: takes connections, counts them, and lets only those in that speak HTTP/2 soon.
//!
//! tonic's and hyper's limits begin behind the HTTP/2 preface, so that a client that sends nothing would
//! be held for ever. Here a connection counts from the moment it is accepted, against a cap in all and a
//! cap for its peer, and must have sent its preface within the handshake timeout.
//!
//! Deliberately absent: TLS, and who may do what.

use super::Limits;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// What every HTTP/2 client sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1_024;

/// Who is at the other end of a connection. A request carries it behind an `Arc` in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Connected over TCP from this address.
    Tcp(SocketAddr),
    /// Connected over the Unix socket.
    Unix {
        /// User of the process at the other end, as the kernel told when it connected.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its process, if known.
        pid: Option<i32>,
    },
}

impl Peer {
    /// What its connections are counted by.
    const fn key(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

/// A listening socket.
pub(super) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix; the file goes when the listener does.
    Unix { listener: UnixListener, _file: SocketFile },
}

impl Listener {
    /// Listens on a TCP address.
    pub(super) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self::Tcp(socket.listen(BACKLOG)?))
    }

    /// Listens on a Unix socket. A socket that nobody listens on is replaced; anything else in its place
    /// is an error.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        refuse_if_taken(path)?;
        // Bound inside a directory that only we can enter, and moved in place once its rights are right:
        // at no time can anybody else connect.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut name = [0; 4];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let nursery = parent.join(format!(".ask{:08x}", u32::from_le_bytes(name)));
        fs::DirBuilder::new().mode(0o700).create(&nursery)?;
        let born = nursery.join("s");
        let listener = bind_private(&born).and_then(|listener| {
            fs::rename(&born, path)?;
            Ok(listener)
        });
        let _moved = fs::remove_file(&born);
        fs::remove_dir(&nursery)?;
        let listener = listener?;
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(Self::Unix { listener, _file: SocketFile { path: path.to_owned(), inode } })
    }

    /// The TCP address that is listened on.
    pub(super) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<(Io, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Io::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let cred = stream.peer_cred()?;
                let peer = Peer::Unix { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() };
                Ok((Io::Unix(stream), peer))
            }
        }
    }
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// An error if the path is taken by anything but a socket that nobody listens on.
fn refuse_if_taken(path: &Path) -> io::Result<()> {
    let taken = |what: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, what.to_owned()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if !meta.file_type().is_socket() => taken("the path exists and is not a socket"),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => taken("another process listens on it"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
        },
    }
}

/// The file of a Unix socket: removed when it is dropped, if it is still ours.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Connections that were turned away, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// There were too many in all.
    pub full: u64,
    /// There were too many of this peer.
    pub peer_full: u64,
    /// No HTTP/2 preface within the handshake timeout, or something else in its place.
    pub no_preface: u64,
}

/// Counts connections and turns those away that are too many.
pub(super) struct Gate {
    max: usize,
    per_peer_max: usize,
    open: Mutex<Open>,
    full: AtomicU64,
    peer_full: AtomicU64,
    no_preface: AtomicU64,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_peer: HashMap<Option<IpAddr>, usize>,
}

impl Gate {
    /// A gate with these limits.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.connections_max,
            per_peer_max: limits.connections_per_peer_max,
            open: Mutex::default(),
            full: AtomicU64::new(0),
            peer_full: AtomicU64::new(0),
            no_preface: AtomicU64::new(0),
        }
    }

    /// A place for a connection of this peer, held until it is dropped.
    pub(super) fn enter(self: &Arc<Self>, peer: &Peer) -> Option<Permit> {
        let key = peer.key();
        let mut open = self.open.lock().expect("nobody panics while counting connections");
        if open.all >= self.max {
            self.full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let of_peer = open.by_peer.entry(key).or_default();
        if *of_peer >= self.per_peer_max {
            self.peer_full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *of_peer += 1;
        open.all += 1;
        Some(Permit { gate: Arc::clone(self), key })
    }

    fn leave(&self, key: Option<IpAddr>) {
        let mut open = self.open.lock().expect("nobody panics while counting connections");
        open.all -= 1;
        if let Some(of_peer) = open.by_peer.get_mut(&key) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.by_peer.remove(&key);
            }
        }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.lock().expect("nobody panics while counting connections").all
    }

    /// How many were turned away so far.
    pub(super) fn refused(&self) -> Refused {
        Refused {
            full: self.full.load(Ordering::Relaxed),
            peer_full: self.peer_full.load(Ordering::Relaxed),
            no_preface: self.no_preface.load(Ordering::Relaxed),
        }
    }
}

/// The place of one connection.
pub(super) struct Permit {
    gate: Arc<Gate>,
    key: Option<IpAddr>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(self.key);
    }
}

/// A connection's socket.
pub(super) enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// A connection that has sent its preface. The preface is read again from memory by whoever serves it.
pub(super) struct Conn {
    io: Io,
    replayed: usize,
    _permit: Permit,
}

impl Conn {
    /// Waits for the preface; nothing if it does not come in time or is none.
    pub(super) async fn greet(mut io: Io, permit: Permit, timeout: Duration) -> Option<Self> {
        match tokio::time::timeout(timeout, read_preface(&mut io)).await {
            Ok(Ok(true)) => Some(Self { io, replayed: 0, _permit: permit }),
            _ => {
                permit.gate.no_preface.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Reads the preface and nothing behind it; stops at the first byte that differs.
async fn read_preface(io: &mut Io) -> io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    let mut have = 0;
    while have < bytes.len() {
        let read = io.read(&mut bytes[have..]).await?;
        have += read;
        if read == 0 || !PREFACE.starts_with(&bytes[..have]) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &PREFACE[self.replayed..];
        if left.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        self.replayed += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Hands a call on to the socket.
macro_rules! on_socket {
    ($io:expr, $method:ident($($argument:expr),*)) => {
        match $io {
            Io::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Io::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_socket!(&mut *self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(&mut *self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(&mut *self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(&mut *self, poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_socket!(&mut *self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
