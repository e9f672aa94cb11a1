//! How many multiply-adds the products of weights take, from headers alone.

use std::ops::{Add, AddAssign, Mul};

use kernels::{ActivationFormat, Matrix, Precision};
use weights::{Checkpoint, Tensor};

use crate::error::ModelError;
use crate::families::names::Slot;
use crate::locate::Search;
use crate::parameters::Nothing;
use crate::spec::{MoeSpec, Spec};
use crate::stages::{Leaves, Place, build};

/// Multiply-adds, by the form in which products take their input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// With inputs of 8 bits.
    pub int8: u64,
    /// With inputs of 16 bits.
    pub int16: u64,
    /// With inputs in f32.
    pub f32: u64,
}

impl MultiplyAdds {
    /// All forms together.
    pub fn total(&self) -> u64 {
        self.int8 + self.int16 + self.f32
    }

    fn of(format: ActivationFormat, count: u64) -> MultiplyAdds {
        let none = MultiplyAdds::default();
        match format {
            ActivationFormat::I8 => MultiplyAdds { int8: count, ..none },
            ActivationFormat::I16 => MultiplyAdds { int16: count, ..none },
            ActivationFormat::F32 => MultiplyAdds { f32: count, ..none },
        }
    }
}

impl Add for MultiplyAdds {
    type Output = MultiplyAdds;

    fn add(self, other: MultiplyAdds) -> MultiplyAdds {
        MultiplyAdds {
            int8: self.int8 + other.int8,
            int16: self.int16 + other.int16,
            f32: self.f32 + other.f32,
        }
    }
}

impl AddAssign for MultiplyAdds {
    fn add_assign(&mut self, other: MultiplyAdds) {
        *self = *self + other;
    }
}

impl Mul<u64> for MultiplyAdds {
    type Output = MultiplyAdds;

    fn mul(self, times: u64) -> MultiplyAdds {
        MultiplyAdds { int8: self.int8 * times, int16: self.int16 * times, f32: self.f32 * times }
    }
}

/// The multiply-adds of a model's weights: every weight of a matrix that a token goes through
/// counts once. Looking a token up in the embedding is none, nor are the products of queries,
/// keys and values, which grow with the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Products {
    /// Of every token, in all layers; of experts those that a token chooses.
    pub token: MultiplyAdds,
    /// Of the output matrix, for every token whose logits are asked for.
    pub logits: MultiplyAdds,
}

impl Products {
    /// Counts the products of a model whose inputs take this form.
    ///
    /// The headers do not tell whether a F16 or BF16 weight holds a NaN or an infinity; products
    /// of such a weight take f32 inputs and are counted as 16-bit ones here.
    ///
    /// # Errors
    /// What [`crate::Model::load`] would refuse: missing or ill-shaped tensors.
    pub fn count(
        checkpoint: &Checkpoint,
        spec: &Spec,
        activations: Precision,
    ) -> Result<Products, ModelError> {
        let search = Search::new(checkpoint, spec);
        let mut counter = Counter { search, activations, products: Products::default() };
        build(spec, &mut counter)?;
        Ok(counter.products)
    }

    /// A forward of some tokens that ends with some rows of logits.
    pub fn of_forward(&self, tokens: u64, logit_rows: u64) -> MultiplyAdds {
        self.token * tokens + self.logits * logit_rows
    }
}

/// Adds up what each leaf multiplies.
struct Counter<'a> {
    search: Search<'a>,
    activations: Precision,
    products: Products,
}

fn products_of(tensor: &Tensor, precision: Precision) -> Result<MultiplyAdds, ModelError> {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let format = Matrix::activation_format_of(tensor.dtype, precision, cols);
    let format = format.ok_or_else(|| ModelError::Decode {
        name: tensor.name.clone(),
        why: format!("rows of {cols} weights of type {}", tensor.dtype),
    })?;
    Ok(MultiplyAdds::of(format, rows as u64 * cols as u64))
}

impl Leaves for Counter<'_> {
    type Kinds = Nothing;
    type Error = ModelError;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), ModelError> {
        let tensor = self.search.matrix(place, rows, cols)?;
        match place.slot {
            // The embedding is a matrix where it is the output matrix.
            Slot::Head | Slot::Embedding => {
                self.products.logits += products_of(&tensor, self.activations)?;
            }
            Slot::Router => self.products.token += products_of(&tensor, Precision::F32)?,
            _ => self.products.token += products_of(&tensor, self.activations)?,
        }
        Ok(())
    }

    fn rows(&mut self, _: Place, _: usize, _: usize) -> Result<(), ModelError> {
        Ok(())
    }

    fn vector(&mut self, _: Place, _: usize) -> Result<(), ModelError> {
        Ok(())
    }

    fn experts(
        &mut self,
        layer: usize,
        moe: &MoeSpec,
        hidden_size: usize,
    ) -> Result<(), ModelError> {
        let tensors = self.search.experts(layer, moe, hidden_size)?;
        let mut all = MultiplyAdds::default();
        for tensor in tensors.gate.iter().chain(&tensors.up).chain(&tensors.down) {
            all += products_of(tensor, self.activations)?;
        }
        // Which experts a token chooses is not known: the mean, where their types differ.
        let (chosen, experts) = (moe.experts_per_token as u64, moe.experts.max(1) as u64);
        self.products.token += MultiplyAdds {
            int8: all.int8 * chosen / experts,
            int16: all.int16 * chosen / experts,
            f32: all.f32 * chosen / experts,
        };
        Ok(())
    }
}
