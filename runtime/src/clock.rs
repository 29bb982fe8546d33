//! Time as the daemons see it, injected so that tests and wrong-clock faults own it.
//!
//! Invariant: [`Clock::monotonic`] never goes back within one [`BootId`]; readings of two boots
//! are never compared.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// 16 bytes that name one boot of the machine, or where that is not known one process.
pub type BootId = [u8; 16];

/// Shared by everything in a daemon that looks at time.
pub type SharedClock = Arc<dyn Clock>;

pub trait Clock: Send + Sync + fmt::Debug {
    /// Unix time in milliseconds. May jump, and may be wrong.
    fn wall_ms(&self) -> i64;
    /// Since some fixed point of this boot; goes on while the machine sleeps.
    fn monotonic(&self) -> Duration;
    fn boot(&self) -> BootId;

    /// Unix time in whole seconds, never negative.
    fn wall_secs(&self) -> u64 {
        u64::try_from(self.wall_ms() / 1000).unwrap_or(0)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct System {
    boot: BootId,
}

impl System {
    #[must_use]
    pub fn new() -> Self {
        Self { boot: machine_boot().unwrap_or_else(rand::random) }
    }

    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is where wall time enters")]
    fn wall_ms(&self) -> i64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn monotonic(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

/// The kernel's id of this boot; containers see their machine's, which is what is meant.
fn machine_boot() -> Option<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let mut boot = [0; 16];
    hex::decode_to_slice(digits, &mut boot).ok()?;
    Some(boot)
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct Manual {
    now: Mutex<ManualNow>,
}

#[derive(Clone, Copy, Debug)]
struct ManualNow {
    wall_ms: i64,
    monotonic: Duration,
    boot: BootId,
}

impl Manual {
    #[must_use]
    pub fn at(wall_ms: i64) -> Arc<Self> {
        let now = ManualNow { wall_ms, monotonic: Duration::from_secs(1), boot: [1; 16] };
        Arc::new(Self { now: Mutex::new(now) })
    }

    /// Both clocks move together, as they do when nobody meddles.
    pub fn advance(&self, by: Duration) {
        self.change(|now| {
            now.monotonic += by;
            now.wall_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        });
    }

    /// Somebody sets the wall clock.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.change(|now| now.wall_ms = wall_ms);
    }

    fn change(&self, with: impl FnOnce(&mut ManualNow)) {
        with(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> ManualNow {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Manual {
    fn wall_ms(&self) -> i64 {
        self.read().wall_ms
    }

    fn monotonic(&self) -> Duration {
        self.read().monotonic
    }

    fn boot(&self) -> BootId {
        self.read().boot
    }
}

/// The machine's clocks, moved: a daemon whose clocks are wrong, or were set while it runs.
#[derive(Debug)]
pub struct Shifted {
    system: System,
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl Shifted {
    /// The wall clock is ahead by so much, or behind.
    #[must_use]
    pub fn by(wall_ms: i64) -> Arc<Self> {
        let (wall_ms, monotonic_ms) = (AtomicI64::new(wall_ms), AtomicU64::new(0));
        Arc::new(Self { system: System::new(), wall_ms, monotonic_ms })
    }

    /// Somebody sets the wall clock.
    pub fn set_wall_offset_ms(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Both clocks go on by so much at once.
    pub fn skip(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn wall_ms(&self) -> i64 {
        self.system.wall_ms().saturating_add(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootId {
        self.system.boot()
    }
}

/// A clock that is never before a time that is known to have passed, such as the date of something signed elsewhere. Where
/// the wall clock is behind that, time goes on from there by the monotonic clock.
#[derive(Debug)]
pub struct Floored {
    clock: SharedClock,
    floor: Mutex<Floor>,
}

#[derive(Clone, Copy, Debug)]
struct Floor {
    wall_ms: i64,
    /// When that was, or was later than.
    monotonic: Duration,
}

impl Floored {
    /// Without a floor yet.
    #[must_use]
    pub fn over(clock: SharedClock) -> Arc<Self> {
        let floor = Floor { wall_ms: i64::MIN, monotonic: clock.monotonic() };
        Arc::new(Self { clock, floor: Mutex::new(floor) })
    }

    /// It is at least `wall_ms` now.
    pub fn raise(&self, wall_ms: i64) {
        let monotonic = self.clock.monotonic();
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        if wall_ms > floor.at(monotonic) {
            *floor = Floor { wall_ms, monotonic };
        }
    }

    /// By how much the wall clock is behind what is known; 0 where it is not.
    #[must_use]
    pub fn behind_ms(&self) -> u64 {
        u64::try_from(self.least_ms().saturating_sub(self.clock.wall_ms())).unwrap_or(0)
    }

    fn least_ms(&self) -> i64 {
        let floor = *self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        floor.at(self.clock.monotonic())
    }
}

impl Floor {
    fn at(&self, monotonic: Duration) -> i64 {
        let elapsed = monotonic.saturating_sub(self.monotonic).as_millis();
        self.wall_ms.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }
}

impl Clock for Floored {
    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms().max(self.least_ms())
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn boot(&self) -> BootId {
        self.clock.boot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floored_clock_goes_on_from_what_is_known() {
        let manual = Manual::at(1_000);
        let clock = Floored::over(manual.clone());
        assert_eq!((clock.wall_ms(), clock.behind_ms()), (1_000, 0));
        clock.raise(5_000);
        manual.advance(Duration::from_millis(500));
        assert_eq!((clock.wall_ms(), clock.behind_ms()), (5_500, 4_000));
        clock.raise(5_200);
        assert_eq!(clock.wall_ms(), 5_500, "that had passed already");
        manual.set_wall_ms(9_000);
        assert_eq!((clock.wall_ms(), clock.behind_ms()), (9_000, 0));
        manual.set_wall_ms(-9_000);
        assert_eq!(clock.wall_ms(), 5_500);
    }

    #[test]
    fn the_system_clock_moves_and_keeps_its_boot() {
        let clock = System::new();
        let before = clock.monotonic();
        assert!(clock.wall_ms() > 1_700_000_000_000);
        assert!(clock.monotonic() >= before);
        assert_eq!(clock.boot(), clock.boot());
    }

    #[test]
    fn a_shifted_clock_goes_on_from_another_place() {
        let (system, clock) = (System::new(), Shifted::by(-3_600_000));
        let behind = system.wall_ms() - clock.wall_ms();
        assert!((3_500_000..=3_700_000).contains(&behind), "{behind}");
        let before = clock.monotonic();
        clock.skip(Duration::from_secs(60));
        assert!(clock.monotonic().saturating_sub(before) >= Duration::from_secs(60));
        clock.set_wall_offset_ms(7_200_000);
        assert!(clock.wall_ms() > system.wall_ms());
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Manual::at(5_000);
        clock.advance(Duration::from_millis(1_500));
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (6_500, 2_500));
        clock.set_wall_ms(-1);
        assert_eq!((clock.wall_secs(), clock.monotonic_ms()), (0, 2_500));
    }
}
