//! The seeds of the fuzz targets, through the same functions, on the stable compiler: whole, cut short,
//! with bytes changed, and mixed at random under a number that is printed.

#[path = "../../fuzz/src/decoders.rs"]
mod entries;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Longer seeds are cut and changed at this many places, spread over them.
const PLACES: usize = 64;
/// Random mixtures of each seed.
const ROUNDS: usize = 100;

fn seeds(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    files.map(|file| file.expect("a file").path()).collect()
}

/// A panic names no input: what is being read is said when it happens.
struct Reading<'a>(&'a Path, String);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            provost_testkit::available::say(&format!("{} {}", self.0.display(), self.1));
        }
    }
}

#[test]
fn no_decoder_panics_on_its_seeds_or_near_them() {
    for (name, decode) in entries::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = std::fs::read(&seed).expect("a seed");
            let read = |bytes: &[u8], how: String| {
                let _reading = Reading(&seed, how);
                decode(bytes);
            };
            read(&bytes, "as it is".to_owned());
            for place in (0..bytes.len()).step_by((bytes.len() / PLACES).max(1)) {
                read(&bytes[..place], format!("cut at {place}"));
                for changed in [0, 0xff, bytes[place] ^ 1, bytes[place] ^ 0x80] {
                    let mut bytes = bytes.clone();
                    bytes[place] = changed;
                    read(&bytes, format!("with {changed} at {place}"));
                }
            }
        }
    }
}

/// A few of: bytes changed, a piece repeated, removed or taken from another seed.
fn mixed(bytes: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let to = random.random_range(at..=bytes.len().min(at + 32));
        match random.random_range(0..5) {
            0 => bytes.drain(at..to).for_each(drop),
            1 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            2 if !other.is_empty() => {
                let from = random.random_range(0..other.len());
                let piece = other[from..other.len().min(from + 32)].to_vec();
                bytes.splice(at..to, piece);
            }
            3 => bytes[at..to].fill([0, 0x7f, 0xff, b'9', b'"'][random.random_range(0..5)]),
            _ => bytes[at..to].iter_mut().for_each(|byte| *byte = random.random()),
        }
    }
    bytes
}

#[test]
fn no_decoder_panics_on_mixtures_of_its_seeds() {
    let number = rand::random::<u64>();
    for (name, decode) in entries::ALL {
        let seeds = seeds(name);
        let read = |seed: &PathBuf| std::fs::read(seed).expect("a seed");
        let mut random = StdRng::seed_from_u64(number);
        for seed in &seeds {
            let _reading = Reading(seed, format!("mixed under {number}"));
            let bytes = read(seed);
            let other = read(&seeds[random.random_range(0..seeds.len())]);
            for _ in 0..ROUNDS {
                decode(&mixed(&bytes, &other, &mut random));
            }
        }
    }
}

#[test]
fn every_decoder_has_a_target_and_every_target_a_decoder() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(targets).expect("targets").map(|file| file.expect("one").path());
    let files: BTreeSet<String> = files
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let decoders: BTreeSet<String> =
        entries::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, decoders);
}
