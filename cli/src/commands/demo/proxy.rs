//! A TCP proxy that the demo owns: the link of one edge site, which can be cut and mended.
//!
//! While it is cut, open connections are dropped and new ones are refused at once, as when a
//! router answers for a site that is away.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Keeps the link for as long as it lives.
pub struct Proxy {
    pub address: SocketAddr,
    link_up: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of loopback and passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (link_up, link) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, target, link));
        Ok(Self { address, link_up, _tasks: tasks })
    }

    pub fn cut(&self) {
        self.link_up.send_replace(false);
    }

    pub fn mend(&self) {
        self.link_up.send_replace(true);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, link: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if *link.borrow() {
                    connections.spawn(pass(stream, target, link.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Passes bytes both ways until either side closes or the link is cut.
async fn pass(mut near: TcpStream, target: SocketAddr, mut link: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let cut = async { link.wait_for(|up| !up).await.is_ok() };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = cut => {}
    }
}
