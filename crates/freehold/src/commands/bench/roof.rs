//! What the same cores can do at most: memory that plain loads read, products of registers.
//! Measured in alternation with the work, because neighbours on a shared machine change it.

use kernels::{ActivationFormat, Pool, peak};
use model::MultiplyAdds;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How often a roof is measured each time; the best counts.
const TRIES: usize = 3;

/// How fast some threads together read memory, over a buffer far larger than the caches.
pub(super) struct ReadRoof {
    buffer: Vec<u64>,
    threads: usize,
}

impl ReadRoof {
    /// Takes the buffer's memory.
    pub(super) fn new(threads: usize) -> ReadRoof {
        const WORDS: usize = 32 << 20;
        ReadRoof { buffer: vec![1; WORDS], threads: threads.max(1) }
    }

    /// Reads the buffer; bytes per second.
    pub(super) fn measure(&self) -> f64 {
        (0..TRIES).map(|_| self.pass()).fold(0.0, f64::max)
    }

    fn pass(&self) -> f64 {
        let part = self.buffer.len().div_ceil(self.threads);
        let begun = Instant::now();
        let total: u64 = std::thread::scope(|scope| {
            let sums: Vec<_> =
                self.buffer.chunks(part).map(|words| scope.spawn(|| sum(words))).collect();
            sums.into_iter().map(|sum| sum.join().unwrap_or(0)).fold(0, u64::wrapping_add)
        });
        std::hint::black_box(total);
        size_of_val(&*self.buffer) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// In eight lanes, so that the compiler adds vectors.
fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 8];
    for group in words.chunks_exact(8) {
        for (lane, word) in lanes.iter_mut().zip(group) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(0, |total, lane| total.wrapping_add(*lane))
}

/// Multiply-adds per second of all threads together, by the form of a product's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peaks {
    pub(super) int8: f64,
    pub(super) int16: f64,
    pub(super) f32: f64,
}

impl Peaks {
    /// Seconds that products take at these speeds.
    pub(super) fn seconds(&self, products: &MultiplyAdds) -> f64 {
        products.int8 as f64 / self.int8
            + products.int16 as f64 / self.int16
            + products.f32 as f64 / self.f32
    }
}

/// Measures [`Peaks`] with rounds enough for each form to be timed well.
pub(super) struct PeakRoof<'p> {
    pool: &'p Pool,
    rounds: [usize; 3],
}

const FORMATS: [ActivationFormat; 3] =
    [ActivationFormat::I8, ActivationFormat::I16, ActivationFormat::F32];

impl<'p> PeakRoof<'p> {
    pub(super) fn new(pool: &'p Pool) -> PeakRoof<'p> {
        /// Far longer than a thread needs to wake up, and nine of them far shorter than a repeat.
        const SECONDS: f64 = 0.003;
        const ROUNDS_MAX: usize = 1 << 24;
        let enough = |format| {
            let mut rounds = 64;
            while rounds < ROUNDS_MAX && pass(pool, format, rounds).1 < SECONDS {
                rounds *= 2;
            }
            rounds
        };
        PeakRoof { pool, rounds: FORMATS.map(enough) }
    }

    pub(super) fn measure(&self) -> Peaks {
        let best = |form: usize| {
            let passes = (0..TRIES).map(|_| pass(self.pool, FORMATS[form], self.rounds[form]));
            passes.map(|(count, seconds)| count / seconds).fold(0.0, f64::max)
        };
        Peaks { int8: best(0), int16: best(1), f32: best(2) }
    }
}

/// Multiply-adds and the seconds they took.
fn pass(pool: &Pool, format: ActivationFormat, rounds: usize) -> (f64, f64) {
    let begun = Instant::now();
    let count = peak::multiply_adds(pool, format, rounds);
    (count as f64, begun.elapsed().as_secs_f64())
}

/// Seconds that it takes to hand a job to all threads and hear of its end, where each thread
/// waits for all others and does nothing else.
pub(super) fn handoff_seconds(pool: &Pool) -> f64 {
    const JOBS: u32 = 500;
    /// A thread that the system has stopped is not waited for much longer than this.
    const SPINS_MAX: u32 = 1 << 16;
    let threads = pool.threads();
    let meet = || {
        let here = AtomicUsize::new(0);
        pool.run(threads, |_| {
            here.fetch_add(1, Ordering::AcqRel);
            let mut spins = 0;
            while here.load(Ordering::Acquire) < threads && spins < SPINS_MAX {
                spins += 1;
                std::hint::spin_loop();
            }
        });
    };
    let pass = || {
        let begun = Instant::now();
        (0..JOBS).for_each(|_| meet());
        begun.elapsed().as_secs_f64() / f64::from(JOBS)
    };
    (0..TRIES).map(|_| pass()).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_a_roof() {
        let pool = Pool::new(1);
        let peaks = PeakRoof::new(&pool).measure();
        assert!(peaks.int8 > 0.0 && peaks.int16 > 0.0 && peaks.f32 > 0.0, "{peaks:?}");
        assert!(peaks.seconds(&MultiplyAdds { int8: 1, int16: 1, f32: 1 }).is_finite());
    }
}
