//! Packing a model into a file, once, so that later loads map it.

use std::io::{Seek, Write};

use kernels::{LAYOUT_VERSION, Matrix, Pool, Precision};
use weights::packed::packed_file_bytes;
use weights::{Checkpoint, PackedWriter, Tensor};

use crate::error::{ModelError, PackError};
use crate::families::inspect;
use crate::locate::{Search, locate};
use crate::model::{LoadOptions, Model, pack, precision_of};
use crate::parameters::Nothing;
use crate::spec::MoeSpec;
use crate::stages::{Leaves, Place, build};

/// Precisions in the order in which a form is looked for, with the forms' names.
const FORMS: [(Precision, &str); 3] = [
    (Precision::Quantized, "quantized"),
    (Precision::ExactFloats, "exact"),
    (Precision::F32, "exact-inputs"),
];

/// The name of the packed form that a precision takes of this checkpoint. Precisions that
/// pack all of its tensors alike share one form, and so one packed file.
pub fn packed_form(checkpoint: &Checkpoint, precision: Precision) -> &'static str {
    let alike = |other: Precision| {
        checkpoint
            .tensors()
            .all(|tensor| Matrix::packs_alike(tensor.dtype, tensor.cols(), precision, other))
    };
    let form = FORMS.iter().find(|(other, _)| *other == precision || alike(*other));
    form.expect("every precision has a row").1
}

/// What a packed file of this checkpoint and precision carries: equal only for the same
/// weights, form and layout. None where the system does not tell when files changed.
pub fn packed_key(checkpoint: &Checkpoint, precision: Precision) -> Option<[u8; 32]> {
    let form = packed_form(checkpoint, precision);
    checkpoint.fingerprint(&format!("packed weights, layout {LAYOUT_VERSION}, {form}"))
}

/// Changes when keys and values of the same model, options and tokens get other bits; a test
/// with golden hashes guards it.
pub const NUMERICS_VERSION: u32 = 1;

/// Names everything that keys and values depend on beside the tokens: weights, how the model is
/// understood, and the numbers it is computed in. None where the system does not tell when
/// files changed.
pub fn prefix_key(
    checkpoint: &Checkpoint,
    model: &Model,
    options: &LoadOptions,
) -> Option<[u8; 32]> {
    // All of the spec's mathematics are in its fields, and so in their text.
    let (spec, LoadOptions { activations, kv }) = (model.spec(), options);
    let numerics = format!("numerics {NUMERICS_VERSION}, {activations:?}, {kv:?}, {spec:?}");
    checkpoint.fingerprint(&format!("prefixes, {numerics}"))
}

/// The matrices of a model with the precision of each, before anything is packed.
pub struct PackPlan {
    key: [u8; 32],
    matrices: Vec<(Tensor, Precision)>,
    file_bytes: u64,
}

impl PackPlan {
    /// Finds and checks every tensor; reads headers only.
    ///
    /// # Errors
    /// What [`crate::Model::load`] would refuse, and [`PackError::NoFingerprint`].
    pub fn new(checkpoint: &Checkpoint, precision: Precision) -> Result<PackPlan, PackError> {
        let spec = inspect(checkpoint)?;
        locate(checkpoint, &spec)?;
        let search = Search::new(checkpoint, &spec);
        let mut collect = Collect { search, activations: precision, matrices: Vec::new() };
        build(&spec, &mut collect)?;
        let matrices = collect.matrices;
        let sizes = matrices
            .iter()
            .map(|(tensor, precision)| Ok((tensor.name.len(), bytes_of(tensor, *precision)?)))
            .collect::<Result<Vec<_>, ModelError>>()?;
        let key = packed_key(checkpoint, precision).ok_or(PackError::NoFingerprint)?;
        Ok(PackPlan { key, matrices, file_bytes: packed_file_bytes(sizes) })
    }

    /// What the file will carry, see [`packed_key`].
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The size that the file will have, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Packs the matrices one after the other into `out`; only one is in memory at a time.
    /// `progress` is told the bytes of each when it is written, and ends the work by an error.
    ///
    /// # Errors
    /// A tensor that cannot be read or packed, or what `out` or `progress` answer.
    pub fn write(
        &self,
        pool: &Pool,
        out: impl Write + Seek,
        progress: &mut dyn FnMut(u64) -> std::io::Result<()>,
    ) -> Result<(), PackError> {
        let mut writer = PackedWriter::new(out, self.key)?;
        for (tensor, precision) in &self.matrices {
            let matrix = pack(pool, tensor, *precision)?;
            let (kind, bytes) = matrix.to_packed();
            writer.add(&tensor.name, kind, [matrix.rows(), matrix.cols()], bytes)?;
            progress(bytes.len() as u64)?;
        }
        writer.finish()?;
        Ok(())
    }
}

/// Bytes of a packed tensor.
pub(crate) fn bytes_of(tensor: &Tensor, precision: Precision) -> Result<u64, ModelError> {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let bytes = Matrix::packed_bytes(tensor.dtype, precision, rows, cols);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| ModelError::Decode {
        name: tensor.name.clone(),
        why: format!("rows of {cols} weights of type {}", tensor.dtype),
    })
}

/// Notes every matrix that loading would pack.
struct Collect<'a> {
    search: Search<'a>,
    activations: Precision,
    matrices: Vec<(Tensor, Precision)>,
}

impl Leaves for Collect<'_> {
    type Kinds = Nothing;
    type Error = ModelError;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), ModelError> {
        let tensor = self.search.matrix(place, rows, cols)?;
        self.matrices.push((tensor, precision_of(place, self.activations)));
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
        let all = tensors.gate.into_iter().chain(tensors.up).chain(tensors.down);
        self.matrices.extend(all.map(|tensor| (tensor, self.activations)));
        Ok(())
    }
}
