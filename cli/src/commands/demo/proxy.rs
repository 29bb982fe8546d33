//! A TCP proxy that the demo owns: the link of one edge site, which can be cut and mended.
//!
//! It counts the bytes that pass. While it is cut, open connections are dropped and new ones are refused at once, as when a
//! router answers for a site that is away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes each way since the start, of all connections.
#[derive(Debug, Default)]
struct Passed {
    to_hub: AtomicU64,
    to_agent: AtomicU64,
}

/// Keeps the link for as long as it lives.
pub struct Proxy {
    pub address: SocketAddr,
    link_up: watch::Sender<bool>,
    passed: Arc<Passed>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of loopback and passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (link_up, link) = watch::channel(true);
        let mut tasks = JoinSet::new();
        let passed = Arc::new(Passed::default());
        tasks.spawn(serve(listener, target, link, Arc::clone(&passed)));
        Ok(Self { address, link_up, passed, _tasks: tasks })
    }

    /// Bytes that went to the hub and that came from it, TLS and HTTP/2 included, TCP/IP headers not.
    pub fn bytes(&self) -> (u64, u64) {
        let Passed { to_hub, to_agent } = &*self.passed;
        (to_hub.load(Ordering::Relaxed), to_agent.load(Ordering::Relaxed))
    }

    pub fn cut(&self) {
        self.link_up.send_replace(false);
    }

    pub fn mend(&self) {
        self.link_up.send_replace(true);
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    link: watch::Receiver<bool>,
    passed: Arc<Passed>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if *link.borrow() {
                    connections.spawn(pass(stream, target, link.clone(), Arc::clone(&passed)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Passes bytes both ways until either side closes or the link is cut.
async fn pass(
    near: TcpStream,
    target: SocketAddr,
    mut link: watch::Receiver<bool>,
    passed: Arc<Passed>,
) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let cut = async { link.wait_for(|up| !up).await.is_ok() };
    // As the ends set it: what waits here is not counted as theirs.
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let both = async {
        tokio::join!(
            copy(near_read, far_write, &passed.to_hub),
            copy(far_read, near_write, &passed.to_agent),
        )
    };
    tokio::select! {
        _ = both => {}
        _ = cut => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        passed.fetch_add(length as u64, Ordering::Relaxed);
    }
}
