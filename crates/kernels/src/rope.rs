//! Rotary positions (Su et al., "RoFormer", 2021).

use crate::aligned::SharedMut;
use crate::norm::TASK_ELEMENTS;
use crate::pool::Pool;

/// Which two values of a head a frequency turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `i` and `i + rotary_dim / 2`: Hugging Face checkpoints, GGUF of most families.
    Half,
    /// `2i` and `2i + 1`: GGUF of the llama family.
    Adjacent,
}

/// A rotation by frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position for each pair: `rotary_dim / 2` values.
    pub inverse_frequencies: Vec<f32>,
    /// Factor on cosine and sine (the attention factor of YaRN), else 1.
    pub scale: f32,
    /// Pairs of a head.
    pub pairing: Pairing,
}

/// Cosines and sines of a batch, made once and applied in every layer.
#[derive(Default)]
pub struct RopeTable {
    pairs: usize,
    pairing: Option<Pairing>,
    /// (tokens, pairs)
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// An empty table.
    pub fn new() -> RopeTable {
        RopeTable::default()
    }

    /// Bytes that the table takes now.
    pub fn held_bytes(&self) -> usize {
        size_of_val(&*self.cos) + size_of_val(&*self.sin)
    }

    /// Takes the positions of a batch. Angles are products in f32, as the reference
    /// implementations have them; their cosines are exact to f32.
    pub fn set(&mut self, pool: &Pool, rope: &Rope, positions: &[u32]) {
        let pairs = rope.inverse_frequencies.len();
        self.pairs = pairs;
        self.pairing = Some(rope.pairing);
        self.cos.resize(positions.len() * pairs, 0.0);
        self.sin.resize(positions.len() * pairs, 0.0);
        let (cos, sin) = (SharedMut(self.cos.as_mut_ptr()), SharedMut(self.sin.as_mut_ptr()));
        pool.ranges(positions.len(), 2048 / pairs.max(1), |tokens| {
            for t in tokens {
                // SAFETY: row `t` is this task's.
                let (cos, sin) =
                    unsafe { (cos.slice(t * pairs, pairs), sin.slice(t * pairs, pairs)) };
                for (i, frequency) in rope.inverse_frequencies.iter().enumerate() {
                    let (s, c) = f64::from(positions[t] as f32 * frequency).sin_cos();
                    cos[i] = c as f32 * rope.scale;
                    sin[i] = s as f32 * rope.scale;
                }
            }
        });
    }

    /// Turns `x` (tokens, heads, head_dim) in place; values past `rotary_dim` stay.
    ///
    /// # Panics
    /// If `x` has other rows than the table or heads are smaller than the rotation.
    pub fn apply(&self, pool: &Pool, x: &mut [f32], heads: usize, head_dim: usize) {
        let Some(pairing) = self.pairing else { return };
        let (pairs, width) = (self.pairs, heads * head_dim);
        assert!(2 * pairs <= head_dim, "a head holds the rotation");
        assert_eq!(x.len() * pairs, self.cos.len() * width, "a row for each position");
        let tokens = x.len() / width.max(1);
        let x = SharedMut(x.as_mut_ptr());
        pool.ranges(tokens, TASK_ELEMENTS / width.max(1), |range| {
            for t in range {
                let (cos, sin) = (&self.cos[t * pairs..][..pairs], &self.sin[t * pairs..][..pairs]);
                // SAFETY: row `t` is this task's.
                let row = unsafe { x.slice(t * width, width) };
                for head in row.chunks_exact_mut(head_dim) {
                    turn(head, cos, sin, pairing);
                }
            }
        });
    }
}

fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], pairing: Pairing) {
    match pairing {
        Pairing::Half => {
            let (a, rest) = head.split_at_mut(cos.len());
            let pairs = a.iter_mut().zip(rest).zip(cos.iter().zip(sin));
            for ((a, b), (c, s)) in pairs {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
        Pairing::Adjacent => {
            for (pair, (c, s)) in head.chunks_exact_mut(2).zip(cos.iter().zip(sin)) {
                (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
            }
        }
    }
}
