//! How long something takes: the median over several samples of many rounds each.

use std::hint::black_box;
use std::time::{Duration, Instant};

const SAMPLES: usize = 7;

/// Microseconds of one round; one sample goes before, to warm up.
pub fn median_us<T>(rounds: u32, mut work: impl FnMut() -> T) -> f64 {
    let mut samples: Vec<Duration> = (0..=SAMPLES)
        .map(|_| {
            let began = now();
            for _ in 0..rounds {
                black_box(work());
            }
            began.elapsed()
        })
        .skip(1)
        .collect();
    samples.sort_unstable();
    samples[SAMPLES / 2].as_secs_f64() * 1e6 / f64::from(rounds)
}

/// Of an odd or even number of values; zero of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "only shown")]
pub fn now() -> Instant {
    Instant::now()
}
