//! `provost demo`: a fleet on this machine that tells its story as it happens.
//!
//! One hub and six agents run as the processes they are in production, over TLS on loopback, in
//! one temporary folder that goes away. Every step is a command that a person could type; the
//! numbers are compared with `expected.json`, which was written by hand.

mod check;
pub(super) mod fleet;
mod folder;
pub(super) mod keeper;
mod narrator;
pub(super) mod proxy;
mod sites;
mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use provost_runtime::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};
use fleet::{Fleet, Interrupted};
use folder::Folder;
use keeper::{Keeper, Orders};
use narrator::{Compared, Narrator};

/// Run a demonstration fleet on this machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost demo
      tells the story, then keeps running until Ctrl-C
  provost demo --check
      the same without anybody: compares every number, exits 0 or 1
  provost demo --check -o json | jq .compared
      which points of the story were compared, and what differed; the story goes to stderr

Needs provost-agent and provost-aggregator beside provost; nothing else, and no Kubernetes. Whenever
it is ended (Ctrl-C: exit code 130, SIGTERM: 143), its daemons and its folder go with it.")]
pub struct Args {
    /// Run unattended: compare every number, end at once, exit 0 or 1; gives up after 120 s.
    #[arg(long)]
    check: bool,
    /// json prints the result of --check, and only goes with it: a demo that stays has none.
    #[arg(short, long, value_enum, default_value_t = Format::Pretty, value_name = "FORMAT")]
    output: Format,
    /// Keep the daemons of the demo in this folder.
    #[arg(long, hide = true, value_name = "FOLDER", conflicts_with = "check")]
    keep: Option<PathBuf>,
}

/// What `--check` may take altogether.
const LIMIT: Duration = Duration::from_secs(120);
/// Before it, the story itself gives up: it knows what it waited for.
const STORY_LIMIT: Duration = Duration::from_secs(110);
/// What the story gets to end after a signal; a command that it runs is killed at once.
const GRACE: Duration = Duration::from_secs(2);

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Some(folder) = &args.keep {
        return keeper::keep(folder);
    }
    let (check, format) = (args.check, args.output);
    if format == Format::Json && !check {
        let message = "-o json needs --check: without it the demo keeps running and has no result";
        return Err(UsageError(message.to_owned()).into());
    }
    let compared = Compared::default();
    let kept = compared.clone();
    let tell = move |folder: &Path, orders, stop| {
        tell(folder, orders, &Narrator::start(format, kept), check, stop)
    };
    let told = match on_stage(check.then_some(LIMIT), |line| narrator::tell(format, line), tell)? {
        Ended::Signal(number) => return Ok(Exit::Signal(number)),
        Ended::TimeUp => Err(anyhow::anyhow!("gave up after {} s", LIMIT.as_secs())),
        Ended::Told(told) => told,
    };
    if format == Format::Json {
        output::json(&compared.document(told.as_ref().err()))?;
    }
    match told {
        Err(error) => fail(check, error),
        Ok(()) => Ok(Exit::Clean),
    }
}

/// How a play on daemons ended.
pub(super) enum Ended {
    Signal(u8),
    Told(anyhow::Result<()>),
    TimeUp,
}

/// A folder and a keeper of daemons for `play`; both are gone when this returns.
pub(super) fn on_stage(
    limit: Option<Duration>,
    say: impl Fn(&str),
    play: impl FnOnce(&Path, Orders, Shutdown) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // Before there is anything that a signal could leave behind.
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let folder = Folder::make()?;
    for swept in folder.sweep() {
        say(&format!("removed {}, which a demo that was killed left", swept.display()));
    }
    let keeper = Keeper::start(folder.path())?;
    let stop = Shutdown::new();
    let mut story = begin(folder.path(), keeper.orders(), stop.clone(), play);
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            number = signals.next() => Ended::Signal(number),
            told = &mut story => Ended::Told(told.context("the story ended early").flatten()),
            () = tokio::time::sleep(limit.unwrap_or_default()), if limit.is_some() => Ended::TimeUp,
        }
    });
    stop.trigger();
    if !matches!(ended, Ended::Told(_)) {
        let _ = runtime.block_on(async { tokio::time::timeout(GRACE, story).await });
    }
    // Daemons, then folder.
    drop(keeper);
    drop(folder);
    if matches!(ended, Ended::Signal(_)) {
        eprintln!("ended; the fleet is stopped and its folder removed");
    }
    Ok(ended)
}

/// A number that is not as expected is what `--check` is for.
fn fail(check: bool, error: anyhow::Error) -> anyhow::Result<Exit> {
    if !check {
        return Err(error);
    }
    eprintln!("{} {error:#}", crate::output::error_label());
    Ok(Exit::Violations)
}

/// The story has a thread of its own: whatever it waits for, a signal is heard.
fn begin(
    folder: &Path,
    orders: Orders,
    stop: Shutdown,
    play: impl FnOnce(&Path, Orders, Shutdown) -> anyhow::Result<()> + Send + 'static,
) -> oneshot::Receiver<anyhow::Result<()>> {
    let (sender, told) = oneshot::channel();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        // Nobody listens any more when the grace is over.
        let _ = sender.send(play(&folder, orders, stop));
    });
    told
}

fn tell(
    folder: &Path,
    orders: Orders,
    narrator: &Narrator,
    check: bool,
    stop: Shutdown,
) -> anyhow::Result<()> {
    let mut fleet = Fleet::prepare(folder, orders, check.then_some(STORY_LIMIT), stop)?;
    let told = story::tell(&mut fleet, narrator);
    if let Err(error) = &told
        && !error.is::<Interrupted>()
    {
        fleet.print_logs();
    }
    told?;
    if !check {
        story::stay(&fleet, narrator)?;
    }
    Ok(())
}

/// The signals that end a program whose terminal or person wants it to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hangup.recv() => 1,
        }
    }
}
