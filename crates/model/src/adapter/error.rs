//! Why an adapter cannot be applied to a model.

use thiserror::Error;

/// An adapter that does not fit its model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// It was made for models of another architecture.
    #[error("the adapter is for the architecture {got:?}, the model's is {expected:?}")]
    Architecture {
        /// The model's.
        expected: &'static str,
        /// The adapter's.
        got: String,
    },
    /// It changes something that the model does not have, or that cannot be adapted.
    #[error("the adapter changes {target}, which is not supported: {why}")]
    Target {
        /// The weight in the adapter's own form.
        target: String,
        /// The reason.
        why: &'static str,
    },
    /// It changes a layer that the model does not have.
    #[error("the adapter changes {target} in layer {layer}, the model has {layers} layers")]
    Layer {
        /// The weight in the adapter's own form.
        target: String,
        /// Its layer.
        layer: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// Its matrices do not fit the weight.
    #[error(
        "the adapter's pair for {target} is for a weight of {got:?}, the model's has {expected:?} (outputs, inputs)"
    )]
    Shape {
        /// The weight in the adapter's own form.
        target: String,
        /// Rows and columns of the model's weight.
        expected: [usize; 2],
        /// Rows of B and columns of A.
        got: [usize; 2],
    },
    /// Its configuration selects a weight for which the file has no pair.
    #[error("the adapter's configuration selects {target}, but its file has no pair for it")]
    NoPair {
        /// The weight in the adapter's own form.
        target: String,
    },
    /// A matrix holds a NaN or an infinity.
    #[error("adapter tensor {tensor}: element {index} is {value}")]
    NotFinite {
        /// Its name in the file.
        tensor: String,
        /// Which element, row after row.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// A matrix cannot be read or decoded.
    #[error("adapter tensor {tensor} cannot be read: {why}")]
    Read {
        /// Its name in the file.
        tensor: String,
        /// The reason.
        why: String,
    },
    /// A matrix cannot be packed.
    #[error(transparent)]
    Pack(#[from] kernels::KernelError),
}
