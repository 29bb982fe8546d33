//! A TCP proxy between an agent and its hub, which a test breaks at will.
//!
//! It sees only ciphertext and counts it. Its address stays the same whatever stands behind it, so that a
//! hub may come back on another port.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wait::pause;

/// How soon a change of the fault is felt.
const TICK: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 16 * 1024;

/// What the link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass.
    None,
    /// What is open breaks, and whoever comes is sent away.
    Cut,
    /// Half-open: whoever comes is let in, and no byte moves either way.
    Silent,
    /// One byte each second each way.
    Trickle,
    /// After this many more bytes from the hub no byte moves either way.
    StallAfter(u32),
    /// Breaks when this many more bytes went to the hub, in the middle of whatever they were; then the
    /// next connection gets as many.
    CutEvery(u32),
}

/// Ends with all its connections when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    link: Arc<Link>,
}

struct Link {
    target: Mutex<SocketAddr>,
    fault: Mutex<Fault>,
    /// Rises with each cut: a connection of an older one ends.
    era: AtomicU64,
    closed: AtomicBool,
    /// What [`Fault::StallAfter`] counts to.
    stalls_at: AtomicU64,
    accepted: AtomicU64,
    to_hub: AtomicU64,
    to_agent: AtomicU64,
}

impl FaultProxy {
    /// Listens on loopback.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn start(target: SocketAddr) -> std::io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), target)
    }

    /// Listens there.
    ///
    /// # Errors
    /// Where that address cannot be had.
    pub fn start_at(address: SocketAddr, target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let link = Arc::new(Link {
            target: Mutex::new(target),
            fault: Mutex::new(Fault::None),
            era: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stalls_at: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            to_hub: AtomicU64::new(0),
            to_agent: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&link);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, link })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections go from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.link.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    pub fn set(&self, fault: Fault) {
        if let Fault::StallAfter(bytes) = fault {
            let at = self.link.to_agent.load(Ordering::SeqCst) + u64::from(bytes);
            self.link.stalls_at.store(at, Ordering::SeqCst);
        }
        *self.link.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        if fault == Fault::Cut {
            self.break_connections();
        }
    }

    /// Whoever is connected has to come again.
    pub fn break_connections(&self) {
        self.link.era.fetch_add(1, Ordering::SeqCst);
    }

    /// Connections that came, whatever became of them.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.link.accepted.load(Ordering::SeqCst)
    }

    /// The link went silent by [`Fault::StallAfter`].
    #[must_use]
    pub fn stalled(&self) -> bool {
        matches!(self.link.fault(), Fault::StallAfter(_)) && self.link.is_silent()
    }

    /// Bytes that went to the hub, and those that came from it.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.link.to_hub.load(Ordering::SeqCst), self.link.to_agent.load(Ordering::SeqCst))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.link.closed.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Link {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for agent in listener.incoming() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(agent) = agent else { continue };
            self.accepted.fetch_add(1, Ordering::SeqCst);
            if self.fault() == Fault::Cut {
                continue;
            }
            let link = Arc::clone(&self);
            thread::spawn(move || link.connect(&agent));
        }
    }

    /// Both ways, until either side ends or the link breaks.
    fn connect(self: Arc<Self>, agent: &TcpStream) {
        let era = self.era.load(Ordering::SeqCst);
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(hub) = TcpStream::connect(target) else { return };
        let left = match self.fault() {
            Fault::CutEvery(bytes) => AtomicI64::new(i64::from(bytes)),
            _ => AtomicI64::new(i64::MAX),
        };
        let back = (hub.try_clone(), agent.try_clone());
        let (Ok(hub_back), Ok(agent_back)) = back else { return };
        let link = Arc::clone(&self);
        let answering = thread::spawn(move || {
            link.pump(hub_back, agent_back, era, &link.to_agent, &AtomicI64::new(i64::MAX));
        });
        if let (Ok(agent), Ok(hub)) = (agent.try_clone(), hub.try_clone()) {
            self.pump(agent, hub, era, &self.to_hub, &left);
        }
        let _ = answering.join();
    }

    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        era: u64,
        count: &AtomicU64,
        left: &AtomicI64,
    ) {
        let mut buffer = [0; BUFFER_BYTES];
        let _ = from.set_read_timeout(Some(TICK));
        let alive =
            || !self.closed.load(Ordering::SeqCst) && self.era.load(Ordering::SeqCst) == era;
        while alive() {
            if self.is_silent() {
                pause(TICK);
                continue;
            }
            let wanted = if self.fault() == Fault::Trickle { 1 } else { BUFFER_BYTES };
            let Some(room) = buffer.get_mut(..wanted) else { break };
            let read = match from.read(room) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if is_timeout(&error) => continue,
                Err(_) => break,
            };
            let allowed = usize::try_from(left.load(Ordering::SeqCst)).unwrap_or(0).min(read);
            let Some(bytes) = buffer.get(..allowed) else { break };
            // Counted before they arrive, so that who has them finds them counted.
            count.fetch_add(allowed as u64, Ordering::SeqCst);
            if to.write_all(bytes).is_err() {
                break;
            }
            left.fetch_sub(i64::try_from(allowed).unwrap_or(i64::MAX), Ordering::SeqCst);
            if allowed < read {
                break;
            }
            if wanted == 1 {
                self.hold(Duration::from_secs(1), era);
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Waits, or less when the link changes.
    fn hold(&self, duration: Duration, era: u64) {
        let ticks = duration.as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            let over = self.closed.load(Ordering::SeqCst) || self.era.load(Ordering::SeqCst) != era;
            if over || self.fault() != Fault::Trickle {
                return;
            }
            pause(TICK);
        }
    }

    fn is_silent(&self) -> bool {
        match self.fault() {
            Fault::Silent => true,
            Fault::StallAfter(_) => {
                self.to_agent.load(Ordering::SeqCst) >= self.stalls_at.load(Ordering::SeqCst)
            }
            _ => false,
        }
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back whatever it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream)
                });
            }
        });
        address
    }

    fn open(proxy: &FaultProxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    #[test]
    fn bytes_pass_and_are_counted_until_the_link_is_cut() {
        let proxy = FaultProxy::start(echo()).unwrap();
        let mut stream = open(&proxy);
        stream.write_all(b"hello").unwrap();
        let mut read = [0; 5];
        stream.read_exact(&mut read).unwrap();
        assert_eq!((&read, proxy.bytes(), proxy.accepted()), (b"hello", (5, 5), 1));
        proxy.set(Fault::Cut);
        assert_eq!(stream.read(&mut read).unwrap_or(0), 0);
        assert_eq!(open(&proxy).read(&mut read).unwrap_or(0), 0, "sent away");
        proxy.set(Fault::None);
        let mut stream = open(&proxy);
        stream.write_all(b"again").unwrap();
        stream.read_exact(&mut read).unwrap();
    }

    #[test]
    fn a_silent_link_holds_everything_and_a_cut_comes_in_the_middle() {
        let proxy = FaultProxy::start(echo()).unwrap();
        proxy.set(Fault::Silent);
        let mut stream = open(&proxy);
        stream.write_all(b"hello").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut read = [0; 5];
        assert!(is_timeout(&stream.read(&mut read).unwrap_err()));
        drop(stream);
        let proxy = FaultProxy::start(echo()).unwrap();
        proxy.set(Fault::CutEvery(3));
        let mut stream = open(&proxy);
        stream.write_all(b"hello").unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert!(b"hel".starts_with(&all) && proxy.bytes().0 == 3, "{all:?} {:?}", proxy.bytes());
    }
}
