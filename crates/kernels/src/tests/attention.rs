//! Attention against a plain twin in f64: cache types, windows, sinks, and a row's bits in any
//! company.

use super::*;
use std::ops::Range;

/// Keys, values and queries of one sequence, and plain attention over them.
pub(super) struct Case {
    pub(super) shape: AttentionShape,
    pub(super) sinks: Option<Vec<f32>>,
    tokens: usize,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl Case {
    pub(super) fn new(heads: usize, kv_heads: usize, head_dim: usize, tokens: usize) -> Case {
        let mut random = Random((heads * 131 + head_dim * 7 + tokens) as u64);
        let shape =
            AttentionShape { heads, kv_heads, head_dim, scale: 0.3, window: None, ahead: false };
        let q = random.floats(tokens * heads * head_dim).iter().map(|x| x * 3.0).collect();
        let k = random.floats(tokens * kv_heads * head_dim);
        let v = random.floats(tokens * kv_heads * head_dim);
        Case { shape, sinks: None, tokens, q, k, v }
    }

    fn windowed(mut self, window: usize) -> Case {
        self.shape.window = Some(window);
        self
    }

    fn ahead(mut self) -> Case {
        self.shape.ahead = true;
        self
    }

    fn with_sinks(mut self) -> Case {
        let sink = |x: &f32| 4.0 * x;
        self.sinks = Some(Random(77).floats(self.shape.heads).iter().map(sink).collect());
        self
    }

    /// Positions p with row - window < p <= row, or < tokens where rows see ahead.
    fn seen(&self, row: usize) -> Range<usize> {
        let end = if self.shape.ahead { self.tokens } else { row + 1 };
        self.shape.window.map_or(0, |window| (row + 1).saturating_sub(window))..end
    }

    /// The weights of `seen` for one row and head, and the output.
    fn plain(&self, row: usize, head: usize) -> Vec<f64> {
        let Case { shape, q, k, v, .. } = self;
        let (d, kv_width) = (shape.head_dim, shape.kv_heads * shape.head_dim);
        let kv_head = head / (shape.heads / shape.kv_heads);
        let q = &q[(row * shape.heads + head) * d..][..d];
        let dot = |t: usize| -> f64 {
            let k = &k[t * kv_width + kv_head * d..][..d];
            q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                * f64::from(shape.scale)
        };
        let seen = self.seen(row);
        let scores: Vec<f64> = seen.clone().map(dot).collect();
        let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks[head]));
        let max = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - max).exp());
        (0..d)
            .map(|i| {
                let value = |t: usize| f64::from(v[t * kv_width + kv_head * d + i]);
                weights.iter().zip(seen.clone()).map(|(w, t)| w * value(t)).sum::<f64>() / sum
            })
            .collect()
    }

    /// Blocks in a scattered order.
    fn table(&self) -> Vec<u32> {
        let blocks = self.tokens.div_ceil(BLOCK_TOKENS) as u32;
        (0..blocks).map(|i| (i * 7 + 3) % (blocks * 8)).collect()
    }

    /// Attention in chunks, over blocks in a scattered order.
    pub(super) fn paged(&self, kv: KvType, chunk: usize, threads: usize) -> Vec<f32> {
        let pool = Pool::new(threads);
        let table = self.table();
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let mut layer = KvLayer::new(table.len() * 8, kv_heads, head_dim, kv);
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let mut out = vec![0f32; self.tokens * width];
        for first in (0..self.tokens).step_by(chunk) {
            let end = self.tokens.min(first + chunk);
            let span = Span { first_row: 0, rows: end - first, position: first, blocks: &table };
            let range = first * kv_width..end * kv_width;
            layer.store(&pool, &self.k[range.clone()], &self.v[range], &[span]);
            let rows = first * width..end * width;
            let (q, out) = (&self.q[rows.clone()], &mut out[rows]);
            attention(&pool, &self.shape, q, self.sinks.as_deref(), &layer, &[span], out);
        }
        out
    }

    /// The largest difference between `got` and the plain twin over some rows.
    fn error(&self, got: &[f32], rows: impl Iterator<Item = usize>) -> f64 {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let mut largest = 0f64;
        for row in rows {
            for head in 0..heads {
                let at = (row * heads + head) * head_dim;
                for (g, e) in got[at..at + head_dim].iter().zip(self.plain(row, head)) {
                    let error = (f64::from(*g) - e).abs();
                    assert!(error.is_finite(), "row {row} head {head}: {g} for {e}");
                    largest = largest.max(error);
                }
            }
        }
        largest
    }
}

/// What the types may be off by. F32: a sum's rounding. F16: half an ulp of keys and values,
/// 2^-12 each, and scores of up to 8. Q8: half a step, 1/254, of values up to one, and of keys
/// in scores: Σ|q| · scale / 254 is at most 64 · 3 · 0.3 / 254 = 0.23 and a random walk of an
/// eighth of it, times the spread of values.
fn bound(kv: KvType) -> f64 {
    match kv {
        KvType::F32 => 5e-6,
        KvType::F16 => 1e-3,
        KvType::Q8 => 2e-2,
    }
}

#[test]
fn attention_is_softmax_over_the_past() {
    for (heads, kv_heads, head_dim) in [(4, 2, 16), (3, 1, 10), (2, 2, 33), (8, 1, 64)] {
        for kv in KvType::ALL {
            let case = Case::new(heads, kv_heads, head_dim, 70);
            for case in [case, Case::new(heads, kv_heads, head_dim, 70).with_sinks()] {
                let error = case.error(&case.paged(kv, 70, 2), 0..70);
                assert!(error < bound(kv), "{kv:?} heads of {head_dim}: {error}");
            }
        }
    }
}

#[test]
fn attention_does_not_depend_on_chunks_or_threads() {
    for kv in KvType::ALL {
        let case = Case::new(6, 2, 32, 1300).with_sinks();
        let whole = case.paged(kv, 1300, 1);
        for (chunk, threads) in [(1300, 3), (512, 2), (64, 7), (7, 2), (1, 7), (1, 1)] {
            let got = case.paged(kv, chunk, threads);
            assert!(bits(&got) == bits(&whole), "{kv:?} chunk {chunk} threads {threads}");
        }
        assert!(case.error(&whole, 1299..1300) < bound(kv));
    }
}

/// Lengths around the edges of vectors, blocks and stretches; a sequence as a whole, because no
/// row may see what is not stored.
#[test]
fn attention_ahead_is_softmax_over_the_whole_sequence() {
    for kv in KvType::ALL {
        for tokens in [1, 15, 16, 17, 33, 64, 511, 513, 1030] {
            let case = Case::new(3, 3, 32, tokens).ahead();
            let whole = case.paged(kv, tokens, 1);
            for threads in [2, 5] {
                let got = case.paged(kv, tokens, threads);
                assert!(bits(&got) == bits(&whole), "{kv:?} {tokens} tokens, {threads} threads");
            }
            let rows = [0, tokens / 2, tokens - 1];
            let error = case.error(&whole, rows.into_iter());
            assert!(error < bound(kv), "{kv:?} {tokens} tokens: {error}");
        }
    }
}

/// Windows around the edges of vectors, blocks and stretches.
const WINDOWS: [usize; 16] =
    [1, 2, 15, 16, 17, 31, 32, 33, 63, 100, 511, 512, 513, 544, 1024, 5000];

#[test]
fn a_window_hides_what_lies_before_it() {
    for kv in KvType::ALL {
        for window in WINDOWS {
            let case = Case::new(4, 2, 16, 1100).windowed(window).with_sinks();
            let got = case.paged(kv, 1100, 2);
            // Rows around every edge, and a sample of the others.
            let near = |edge: usize| edge.saturating_sub(2)..edge + 2;
            let edges = [2, 32, 64, 512, 544, 1024].into_iter().flat_map(near);
            let behind = [32, 512, 1024].into_iter().flat_map(|edge| near(edge + window - 1));
            let rows = edges.chain(behind).chain((0..1100).step_by(97)).filter(|&row| row < 1100);
            let error = case.error(&got, rows);
            assert!(error < bound(kv), "{kv:?} window {window}: {error}");
        }
    }
}

#[test]
fn windows_do_not_depend_on_chunks_or_threads() {
    for kv in KvType::ALL {
        for window in WINDOWS {
            let case = Case::new(3, 1, 20, 1100).windowed(window);
            let whole = case.paged(kv, 1100, 1);
            for (chunk, threads) in [(1100, 3), (512, 2), (33, 5), (1, 3)] {
                let got = case.paged(kv, chunk, threads);
                assert!(bits(&got) == bits(&whole), "{kv:?} {window}: {chunk} of {threads}");
            }
        }
    }
}

#[test]
fn a_window_as_long_as_the_past_hides_nothing() {
    for kv in KvType::ALL {
        let all = bits(&Case::new(4, 2, 16, 700).paged(kv, 700, 2));
        for window in [700, 701, usize::MAX] {
            assert!(bits(&Case::new(4, 2, 16, 700).windowed(window).paged(kv, 64, 2)) == all);
        }
    }
}

/// Behind the window stand NaNs, and in the table blocks that do not exist.
#[test]
fn blocks_behind_the_window_are_never_read() {
    let pool = Pool::new(2);
    for kv in KvType::ALL {
        for window in WINDOWS {
            for (position, rows) in [(1090, 1), (1060, 40), (543, 3), (1024, 1), (1023, 2)] {
                let mut case = Case::new(4, 2, 16, position + rows).windowed(window);
                let clean = case.paged(kv, position + rows, 1);
                let first = case.seen(position).start;
                case.k[..first * 32].fill(f32::NAN);
                case.v[..first * 32].fill(f32::NAN);
                let mut table = case.table();
                let mut layer = KvLayer::new(table.len() * 8, 2, 16, kv);
                let span =
                    Span { first_row: 0, rows: position + rows, position: 0, blocks: &table };
                layer.store(&pool, &case.k, &case.v, &[span]);
                table[..first / BLOCK_TOKENS].fill(u32::MAX);
                let span = Span { first_row: 0, rows, position, blocks: &table };
                let mut out = vec![0f32; rows * 64];
                let q = &case.q[position * 64..];
                attention(&pool, &case.shape, q, None, &layer, &[span], &mut out);
                assert!(bits(&out) == bits(&clean[position * 64..]), "{kv:?} {window} {position}");
            }
        }
    }
}

#[test]
fn a_row_is_rounded_once() {
    // Rows that come later, larger and in the same blocks, change no bit of an earlier one.
    for chunk in [1, 5, 32] {
        let mut case = Case::new(2, 1, 40, 64);
        let before = case.paged(KvType::Q8, chunk, 1);
        case.k[33 * 40..].iter_mut().for_each(|x| *x *= 1e3);
        case.v[33 * 40..].iter_mut().for_each(|x| *x *= 1e3);
        let after = case.paged(KvType::Q8, chunk, 1);
        assert_eq!(bits(&before[..33 * 80]), bits(&after[..33 * 80]));
    }
}

/// Codes and the half behind them, for values of every size.
#[test]
fn bytes_of_the_cache_decode_to_within_half_a_step() {
    for scale in [1e-30f32, 1e-8, 1e-6, 1e-3, 1.0, 1e3, 8e6] {
        for len in [1, 10, 16, 32, 33, 128] {
            let x: Vec<f32> = Random(len as u64).floats(len).iter().map(|x| x * scale).collect();
            let run = |isa| {
                let mut codes = [0i8; 128];
                // SAFETY: there is room for the codes, and the CPU has the level.
                let half = unsafe { (kernels_for(isa).to_q8)(&x, codes.as_mut_ptr()) };
                (codes, half)
            };
            let (codes, half) = run(Isa::Scalar);
            for isa in Isa::all_available() {
                assert_eq!(run(isa), (codes, half), "{} at {scale}", isa.name());
            }
            let step = half::f16::from_bits(half).to_f32();
            let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            // The step is the smallest half that the largest value needs.
            assert!(step >= largest / 127.0 && step <= largest / 127.0 * 1.001 + 6e-8);
            for (x, code) in x.iter().zip(codes) {
                assert!((x - f32::from(code) * step).abs() <= step * 0.5001, "{x} {code} {step}");
                assert!(code > i8::MIN);
            }
        }
    }
}

/// Products of cached bytes on every level: random codes, then the largest of one sign against
/// the largest columns, which is what saturates first.
#[test]
fn products_of_cached_bytes_agree_on_every_instruction_set() {
    for extreme in [None, Some(-128i8), Some(127)] {
        for blocks in [1, 2, 5, 17] {
            for tokens in [1, 2, 3, 4, 5, 8, 12] {
                check_cached(extreme, blocks, tokens);
            }
        }
    }
}

fn check_cached(extreme: Option<i8>, blocks: usize, tokens: usize) {
    let mut random = Random(blocks as u64 + 7);
    let (panels, panel_bytes) = (2, (blocks * (512 + 32)).next_multiple_of(64));
    let mut panel = vec![0u8; panels * panel_bytes];
    for panel in panel.chunks_exact_mut(panel_bytes) {
        let (codes, scales) = panel.split_at_mut(blocks * 512);
        codes.iter_mut().for_each(|c| *c = extreme.unwrap_or(random.next() as i8) as u8);
        for half in scales[..blocks * 32].chunks_exact_mut(2) {
            half.copy_from_slice(&half::f16::from_f32(random.unit().abs()).to_le_bytes());
        }
    }
    let x = match extreme {
        Some(_) => vec![1.0; tokens * blocks * 32],
        None => random.floats(tokens * blocks * 32),
    };
    let columns = columns_of(Isa::Scalar, &x, blocks * 32, ActivationFormat::I16);
    let start = random.floats(panels * tokens * PANEL_ROWS);
    for scaled in [true, false] {
        let run = |isa: Isa, columns: &[Vec<u64>]| {
            let pointers: Vec<*const u8> = columns.iter().map(|c| c.as_ptr().cast()).collect();
            let mut sums = start.clone();
            let product = Product {
                panel: panel.as_ptr(),
                panels,
                panel_bytes,
                k: blocks * 32,
                columns: &pointers,
                fresh: scaled,
                out: sums.as_mut_ptr(),
                out_stride: tokens * PANEL_ROWS,
                next: std::ptr::null(),
            };
            let kernels = kernels_for(isa);
            let run = if scaled { kernels.keys_q8 } else { kernels.values_q8 };
            // SAFETY: panels and columns are whole, and the CPU has the level.
            unsafe { run(&product) };
            sums
        };
        let expected = run(Isa::Scalar, &columns);
        for isa in Isa::all_available() {
            assert!(bits(&run(isa, &columns)) == bits(&expected), "{} {tokens}", isa.name());
            let alone = run(isa, &columns[..1]);
            let at = tokens * PANEL_ROWS;
            assert_eq!(bits(&alone[..PANEL_ROWS]), bits(&expected[..PANEL_ROWS]));
            assert_eq!(bits(&alone[at..at + PANEL_ROWS]), bits(&expected[at..at + PANEL_ROWS]));
        }
        let decoded: Vec<Vec<f64>> =
            columns.iter().map(|c| decode_column(c, blocks * 32, ActivationFormat::I16)).collect();
        for (at, got) in expected.iter().enumerate() {
            let (p, t, lane) = (at / 16 / tokens, at / 16 % tokens, at % 16);
            let panel = &panel[p * panel_bytes..];
            let term = |k: usize| {
                let code = panel[k / 32 * 512 + k % 32 / 4 * 64 + lane * 4 + k % 4] as i8;
                let scale = &panel[blocks * 512 + (k / 32 * 16 + lane) * 2..];
                let scale = half::f16::from_le_bytes([scale[0], scale[1]]).to_f64();
                f64::from(code) * if scaled { scale } else { 1.0 } * decoded[t][k]
            };
            let begin = if scaled { 0.0 } else { f64::from(start[at]) };
            let exact = begin + (0..blocks * 32).map(term).sum::<f64>();
            let size = 1.0 + (0..blocks * 32).map(|k| term(k).abs()).sum::<f64>();
            // Two roundings for each block, of at most half an ulp of what is summed.
            let bound = (2 * blocks + 4) as f64 * f64::from(f32::EPSILON) * size;
            assert!((f64::from(*got) - exact).abs() <= bound, "{got} for {exact}");
        }
    }
}
