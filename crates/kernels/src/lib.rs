//! Every loop that must be fast: packed weights, matrix products, norms, rotary
//! positions, attention over a paged KV cache, mixtures of experts, the thread pool.
//!
//! The public functions are safe and synchronous; each is one hand-off to the
//! [`Pool`]. They know shapes and layouts, never a model's name or a request.
//!
//! **Same numbers in any company.** For one [`Matrix`] (its layout fixes the
//! activation format) and one KV type, every output element is computed by the
//! same operations in the same order whatever the number of rows in the batch
//! and of threads: one thread owns an element, sums run over `k` in ascending
//! blocks, attention merges fixed absolute spans of positions in order.

#![allow(
    unsafe_code,
    reason = "SIMD intrinsics, packed buffers and disjoint writes from several threads live here"
)]

pub mod activations;
mod aligned;
pub mod attention;
mod dispatch;
pub mod error;
pub mod isa;
pub mod kv;
mod layout;
pub mod linear;
pub mod low_rank;
pub mod matrix;
pub mod moe;
pub mod norm;
pub mod packed;
pub mod peak;
pub mod pool;
mod product;
pub mod rope;
mod simd;

pub use activations::Activations;
pub use aligned::Arena;
pub use attention::{AttentionShape, Span, attention, attention_bytes};
pub use error::KernelError;
pub use isa::Isa;
pub use kv::{BLOCK_TOKENS, KvLayer, KvType};
pub use linear::{Gated, Linear, Write, gated, linear};
pub use low_rank::{Shrink, Update, shrink};
pub use matrix::{ActivationFormat, Matrix, Precision};
pub use moe::{Experts, MoeScratch, Routes, moe};
pub use norm::{add, gelu_rows, head_rms_norm, layer_norm, rms_norm};
pub use packed::LAYOUT_VERSION;
pub use pool::Pool;
pub use rope::{Pairing, Rope, RopeTable};

#[cfg(test)]
mod tests;
