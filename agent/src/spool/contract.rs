//! The contract of [`super::Spool`], held against every implementation, and a property test against
//! a model that is a list of records.

mod fixture;
mod model;

use proptest::prelude::*;
use provost_model::record::ElisionReason;

use super::disk::{Deadlines, Disk};
use super::ledger::Lane;
use super::memory::Memory;
use super::recovery::Known;
use super::volume::{Packs, Volume as _};
use super::*;
use fixture::{Fixture, OnDisk};
use model::Model;

const PLAIN: [Class; 40] = [Class::P1; 40];

fn reads_back_what_was_appended<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    for classes in [&[Class::P1][..], &[Class::P0], &[Class::P2, Class::P0, Class::P1], &PLAIN] {
        model.append(&mut *spool, classes);
    }
    assert_eq!(model.check(&mut *spool), []);
    assert_eq!(spool.extent().unacked, 45);
    drop(spool);
    let mut spool = fixture.open(Some(&model.known));
    assert_eq!(model.check(&mut *spool), []);
    assert_eq!(spool.extent().unacked, 45);
}

fn refuses_what_does_not_follow<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    model.append(&mut *spool, &[Class::P1]);
    let mut entries = model.next(&[Class::P1]);
    entries[0].before = Digest::of(b"elsewhere");
    assert!(matches!(
        spool.append(&entries, Room::Shed),
        Err(Error::OutOfOrder { seq: 2, last: 1 })
    ));
    let wrong = Anchor { seq: 1, head: Digest::of(b"not ours") };
    assert!(matches!(spool.acknowledge(wrong, 0), Err(Error::HeadMismatch { seq: 1 })));
    let unknown = Anchor { seq: 9, head: Digest::of(b"x") };
    assert!(matches!(spool.acknowledge(unknown, 0), Err(Error::Unknown { seq: 9, last: 1 })));
    assert_eq!(model.check(&mut *spool), []);
}

/// Rule 4: the budget holds, P0 records survive and split the range, the rest is declared.
fn sheds_at_the_budget_and_says_so<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    let budget = fixture.limits().budget_bytes;
    let mut p0 = Vec::new();
    while spool.extent().elisions_made < 3 {
        model.append(&mut *spool, &[Class::P0]);
        p0.push(model.known.last.seq);
        for _ in 0..5 {
            model.append(&mut *spool, &PLAIN);
        }
        assert!(spool.extent().bytes <= budget);
        assert!(model.known.last.seq < 100_000, "the budget was never reached");
    }
    let elisions = model.check(&mut *spool);
    assert!(elisions.len() >= 2, "{elisions:?}");
    assert_eq!(elisions[0].from_seq, 2);
    for elision in &elisions {
        assert_eq!(elision.reason, ElisionReason::Cap);
        let records: u64 = elision.counts.iter().map(|count| count.count).sum();
        assert_eq!(records, elision.to_seq - elision.from_seq + 1);
        assert!(!p0.iter().any(|seq| (elision.from_seq..=elision.to_seq).contains(seq)));
    }
    drop(spool);
    let mut spool = fixture.open(Some(&model.known));
    assert_eq!(model.check(&mut *spool), elisions);
}

fn sheds_nothing_for_a_snapshot_and_nothing_without_a_checkpoint<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    let refused = loop {
        let entries = model.next(&PLAIN);
        match spool.append(&entries, Room::Keep) {
            Ok(()) => model.appended(entries),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoRoom), "{refused}");
    let refused = spool.append(&model.next(&PLAIN), Room::Shed).unwrap_err();
    assert!(matches!(refused, Error::NeedsCheckpoint), "{refused}");
    assert_eq!(model.check(&mut *spool), []);

    let held = spool.extent().unacked;
    model.ack(&mut *spool, model.known.last.seq);
    assert_eq!(spool.extent().first_held, 1, "the write-ahead log stays until a checkpoint");
    spool.checkpointed(model.known.last.seq).unwrap();
    assert!(spool.room_bytes() >= fixture.limits().budget_bytes / 2);
    let entries = model.next(&PLAIN);
    spool.append(&entries, Room::Keep).unwrap();
    model.appended(entries);
    assert_eq!(model.check(&mut *spool), []);
    assert!(held > spool.extent().unacked);
}

/// Rule 3: 16 MiB or 24 h of acknowledged records stay (less here).
fn keeps_the_acknowledged_tail<F: Fixture>() {
    let fixture = F::new();
    let limits = fixture.limits();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    while spool.extent().bytes < limits.budget_bytes / 2 {
        model.append(&mut *spool, &PLAIN);
    }
    model.ack(&mut *spool, model.known.last.seq);
    let tail = spool.extent();
    assert!(tail.bytes <= limits.tail_bytes + limits.generation_bytes * 3 / 2, "{tail:?}");
    assert!(tail.first_held > 1 && tail.first_held <= model.known.last.seq);
    let gone = spool.read(1, Limit { records: 1, bytes: 1 }).unwrap_err();
    assert!(matches!(gone, Error::Gone { seq: 1, .. }));
    model.check(&mut *spool);
    spool.trim(limits.tail_ms + 1).unwrap();
    assert_eq!(spool.extent().bytes, 0);
    assert_eq!(spool.extent().first_held, model.known.last.seq + 1);
    model.append(&mut *spool, &[Class::P1]);
    model.check(&mut *spool);
}

/// Rule 5: a flipped bit costs its generation, is declared, and the chain goes on.
fn declares_what_is_corrupt<F: Fixture>() {
    for lose_manifest in [false, true] {
        let fixture = F::new();
        let mut model = Model::new::<F>();
        let mut spool = fixture.open(None);
        model.append(&mut *spool, &[Class::P0]);
        while fixture.names().len() < 4 {
            model.append(&mut *spool, &PLAIN);
        }
        drop(spool);
        let victim = fixture.names()[2];
        fixture.corrupt(victim);
        if lose_manifest {
            fixture.lose_manifest();
        }
        let mut spool = fixture.open(Some(&model.known));
        let elisions = model.check(&mut *spool);
        assert_eq!(elisions.len(), 1, "{elisions:?}");
        assert_eq!(elisions[0].reason, ElisionReason::Corrupt);
        assert_eq!(fixture.quarantined(), 1);
        model.append(&mut *spool, &PLAIN);
        assert_eq!(model.check(&mut *spool), elisions);
    }
}

/// Rule 5: the whole folder is gone, the head file is not.
fn goes_on_from_the_head_file<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    model.append(&mut *spool, &PLAIN);
    model.ack(&mut *spool, 10);
    drop(spool);
    let empty = F::new();
    let mut spool = empty.open(Some(&model.known));
    let elisions = model.check(&mut *spool);
    assert_eq!((elisions[0].from_seq, elisions[0].to_seq), (11, 40));
    model.append(&mut *spool, &[Class::P1]);
    assert_eq!(model.check(&mut *spool), elisions);
}

fn another_epoch_starts_empty<F: Fixture>() {
    let fixture = F::new();
    let mut model = Model::new::<F>();
    let mut spool = fixture.open(None);
    model.append(&mut *spool, &PLAIN);
    spool.reset(2).unwrap();
    let mut model =
        Model { known: Known { epoch: 2, ..Model::new::<F>().known }, ..Model::new::<F>() };
    model.append(&mut *spool, &[Class::P1]);
    assert_eq!(model.check(&mut *spool), []);
    drop(spool);
    let mut spool = fixture.open(Some(&model.known));
    assert_eq!(model.check(&mut *spool), []);
    assert_eq!(spool.extent().epoch, 2);
}

macro_rules! contract {
    ($module:ident, $fixture:ty: $($test:ident),+ $(,)?) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test::<$fixture>();
            })+
        }
    };
}

macro_rules! contract_of {
    ($module:ident, $fixture:ty) => {
        contract!(
            $module, $fixture:
            reads_back_what_was_appended,
            refuses_what_does_not_follow,
            sheds_at_the_budget_and_says_so,
            sheds_nothing_for_a_snapshot_and_nothing_without_a_checkpoint,
            keeps_the_acknowledged_tail,
            declares_what_is_corrupt,
            goes_on_from_the_head_file,
            another_epoch_starts_empty,
        );
    };
}

contract_of!(memory, super::Memory);
contract_of!(disk, super::OnDisk);

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Class>),
    /// Acknowledges this part (of 256) of what is not.
    Ack(u8),
    Trim(i64),
    Reopen,
    /// The process is killed after this many writes of an append.
    KilledAppend(Vec<Class>, u64),
    /// An append fails after this many writes.
    FailedAppend(Vec<Class>, u64, Write, Then),
    FullDisk(Vec<Class>),
    LoseManifest,
}

/// What becomes of the write that fails.
#[derive(Clone, Copy, Debug)]
enum Write {
    Lost,
    Late,
}

/// What is appended where an append has failed.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The same again.
    Same,
    /// A few records with the same bytes, of other classes.
    Few,
    /// Other records.
    Other,
    /// Nothing yet; other records next.
    Nothing,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![1 => Just(Class::P0), 6 => Just(Class::P1), 3 => Just(Class::P2)];
    let classes = prop::collection::vec(class, 1..40);
    let write = prop_oneof![Just(Write::Lost), Just(Write::Late)];
    let then =
        prop_oneof![Just(Then::Same), Just(Then::Few), Just(Then::Other), Just(Then::Nothing)];
    let failed = (classes.clone(), 0_u64..7, write, then);
    let step = prop_oneof![
        8 => classes.clone().prop_map(Step::Append),
        4 => any::<u8>().prop_map(Step::Ack),
        1 => (0_i64..3000).prop_map(Step::Trim),
        2 => Just(Step::Reopen),
        1 => (classes.clone(), 0_u64..5).prop_map(|(c, n)| Step::KilledAppend(c, n)),
        2 => failed.prop_map(|(c, n, write, then)| Step::FailedAppend(c, n, write, then)),
        1 => classes.prop_map(Step::FullDisk),
        1 => Just(Step::LoseManifest),
    ];
    prop::collection::vec(step, 1..most)
}

/// Only what was P1 or P2 may be elided while nothing is corrupted, and for want of room alone; without
/// the manifest the reason is not known any more.
fn run_steps<F: Fixture>(steps: Vec<Step>) {
    let volume = F::new();
    let mut model = Model::new::<F>();
    let mut spool = volume.open(None);
    let mut knows_reasons = true;
    for step in steps {
        match step {
            Step::Append(classes) => model.append(&mut *spool, &classes),
            Step::Ack(part) => {
                let open = model.known.last.seq - model.known.acked.seq;
                let seq = model.known.acked.seq + open * u64::from(part) / 255;
                model.ack(&mut *spool, seq);
            }
            Step::Trim(now_ms) => spool.trim(now_ms).unwrap(),
            Step::Reopen => {
                drop(spool);
                spool = volume.open(Some(&model.known));
                model.reopened(&mut *spool);
            }
            Step::KilledAppend(classes, writes) => {
                let entries = model.next(&classes);
                volume.fail_after(writes);
                let returned = spool.append(&entries, Room::Shed).is_ok();
                drop(spool);
                volume.heal();
                spool = volume.open(Some(&model.known));
                let all = model.known.last.seq + entries.len() as u64;
                model.was_refused(entries);
                model.reopened(&mut *spool);
                assert!(!returned || model.known.last.seq == all);
                model.attempt += 1;
            }
            Step::FailedAppend(classes, writes, write, then) => {
                match write {
                    Write::Lost => volume.fail_after(writes),
                    Write::Late => volume.fail_late_after(writes),
                }
                model.try_append(&mut *spool, &classes);
                volume.heal();
                model.append_after(&mut *spool, &classes, then);
            }
            Step::FullDisk(classes) => {
                volume.fill_disk();
                model.try_append(&mut *spool, &classes);
                volume.heal();
                model.attempt += 1;
            }
            Step::LoseManifest => {
                drop(spool);
                volume.lose_manifest();
                spool = volume.open(Some(&model.known));
                model.reopened(&mut *spool);
                knows_reasons = false;
            }
        }
        for elision in model.check(&mut *spool) {
            let p0 = model.records.range(elision.from_seq..=elision.to_seq);
            let lost = p0.filter(|(_, entry)| entry.class == Class::P0).count();
            assert_eq!(lost, 0, "a P0 record was elided: {elision:?}");
            assert!(!knows_reasons || elision.reason != ElisionReason::Corrupt, "{elision:?}");
        }
        assert!(spool.extent().bytes <= volume.limits().budget_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everything_is_held_acknowledged_or_declared(steps in steps(60)) {
        run_steps::<Memory>(steps);
    }
}

proptest! {
    // Opening sled calls the `sync` program: few cases, each with several opens.
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_on_disk_too(steps in steps(16)) {
        run_steps::<OnDisk>(steps);
    }
}

/// Rules 1 and 6 where an append failed with a part of it written, in ways that went wrong.
#[test]
fn what_a_failed_append_left_never_stands_for_another() {
    use Class::{P0, P1, P2};
    use Step::{Append, FailedAppend, FullDisk, KilledAppend, LoseManifest, Reopen};
    use Write::{Late, Lost};
    let others = [P1, P1, P0, P0, P1, P2, P2, P1, P1, P2, P1, P1, P1, P1, P1, P0, P1, P2];
    for then in [Then::Same, Then::Few, Then::Other, Then::Nothing] {
        let cases = [
            // The rest of the first failed append follows on what was appended in its place.
            vec![
                Append(vec![P2, P0, P1, P2, P1]),
                FailedAppend(others.to_vec(), 1, Lost, then),
                FailedAppend(others.to_vec(), 0, Lost, then),
                LoseManifest,
                Append(vec![P1, P0, P2]),
                Reopen,
            ],
            // It fails between two stores: the first one has taken it.
            vec![FailedAppend(vec![P0, P1, P1], 2, Lost, then), Append(vec![P1, P1]), Reopen],
            vec![
                Append(vec![P1]),
                FailedAppend(vec![P0, P1, P1], 1, Lost, then),
                Append(vec![P1; 5]),
            ],
            // What stood in its place is gone, and so is the manifest.
            vec![
                Append(vec![P1, P0]),
                FailedAppend(vec![P0, P1, P0], 1, Late, then),
                Append(vec![P1; 5]),
                FullDisk(vec![P2]),
                FullDisk(vec![P2]),
                LoseManifest,
                Append(vec![P0, P1]),
            ],
            // A kill leaves it, the next open forgets it, and then the manifest is lost.
            vec![
                Append(vec![P1, P0]),
                KilledAppend(vec![P1, P1, P0, P1, P1], 1),
                FailedAppend(vec![P1, P0], 0, Late, then),
                Append(vec![P1; 5]),
                LoseManifest,
            ],
        ];
        for steps in cases {
            run_steps::<Memory>(steps);
        }
    }
}

/// The same on disk, where the failed append's part is put by hand.
#[test]
fn the_end_of_a_store_holds_without_the_manifest() {
    for has_end in [false, true] {
        let fixture = OnDisk::new();
        let mut model = Model::new::<OnDisk>();
        let mut spool = fixture.open(None);
        model.append(&mut *spool, &[Class::P0, Class::P1, Class::P1]);
        drop(spool);
        let refused = model.next(&[Class::P1; 3]);
        let pack = frame::pack(&refused.iter().collect::<Vec<_>>()).unwrap();
        let name = *fixture.names().iter().find(|name| name.lane == Lane::Data).unwrap();
        let mut disk = Disk::open(&fixture.path(), Deadlines::default()).unwrap();
        disk.put(name, &Packs::from([(4, pack)])).unwrap();
        if has_end {
            disk.save_end(name, 3).unwrap();
        }
        drop(disk);
        fixture.lose_manifest();
        let mut spool = fixture.open(Some(&model.known));
        if !has_end {
            model.was_refused(refused);
            model.reopened(&mut *spool);
            assert_eq!(model.known.last.seq, 6, "it would come back");
        }
        model.attempt += 1;
        assert_eq!(model.check(&mut *spool), []);
        for _ in 0..2 {
            model.append(&mut *spool, &[Class::P1]);
            drop(spool);
            fixture.lose_manifest();
            spool = fixture.open(Some(&model.known));
            assert_eq!(model.check(&mut *spool), []);
        }
    }
}

/// A store that never opens (here: a pipe where sled reads a file) costs its deadline, once.
#[test]
fn what_hangs_at_open_is_set_aside() {
    let fixture = OnDisk::new();
    let mut model = Model::new::<OnDisk>();
    let mut spool = fixture.open(None);
    model.append(&mut *spool, &[Class::P0, Class::P1]);
    drop(spool);
    let victim = fixture.path().join("generation-1-0-data");
    std::fs::remove_file(victim.join("durability_cookie")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(victim.join("durability_cookie")).status();
    assert!(made.unwrap().success());
    let deadlines = Deadlines { open: std::time::Duration::from_secs(2), ..Deadlines::default() };
    let disk = Disk::open(&fixture.path(), deadlines).unwrap();
    let mut spool = Generations::open(disk, fixture.limits(), Some(&model.known)).unwrap();
    let elisions = model.check(&mut spool);
    assert_eq!((elisions.len(), elisions[0].from_seq, elisions[0].to_seq), (1, 2, 2));
    assert_eq!((elisions[0].reason, fixture.quarantined()), (ElisionReason::Corrupt, 1));
    model.append(&mut spool, &[Class::P1]);
    assert_eq!(model.check(&mut spool), elisions);
}
