//! Finds the tensors of a checkpoint that an architecture needs, checks their shapes, and
//! refuses those that it has no place for.

use std::collections::HashSet;

use weights::{Checkpoint, Tensor};

use crate::error::ModelError;
use crate::families::FamilyTable;
use crate::families::names::{Slot, is_derived};
use crate::spec::{Head, MoeSpec, Spec};
use crate::stages::{Kinds, Leaves, Place, Stages, build};

/// Leaves that are tensors of the checkpoint: views, nothing is read.
pub(crate) struct Located;

impl Kinds for Located {
    type Matrix = Tensor;
    type Rows = Tensor;
    type Vector = Tensor;
    type Experts = ExpertTensors;
}

/// The matrices of all experts of a layer, in the order of the experts.
pub(crate) struct ExpertTensors {
    /// (width, hidden size) each.
    pub(crate) gate: Vec<Tensor>,
    /// (width, hidden size) each.
    pub(crate) up: Vec<Tensor>,
    /// (hidden size, width) each.
    pub(crate) down: Vec<Tensor>,
}

/// Locates every tensor of `spec` in `checkpoint`.
///
/// # Errors
/// A tensor is missing, has another shape, is of a type that does not decode, or is left over.
pub(crate) fn locate(checkpoint: &Checkpoint, spec: &Spec) -> Result<Stages<Located>, ModelError> {
    let mut search = Search::new(checkpoint, spec);
    let stages = build(spec, &mut search)?;
    search.check_tied_head(spec)?;
    search.check_leftovers()?;
    Ok(stages)
}

/// Leaves that are looked up by name, with a note of what was used.
pub(crate) struct Search<'a> {
    checkpoint: &'a Checkpoint,
    family: &'static FamilyTable,
    /// Whether hidden states are all that is wanted.
    is_headless: bool,
    used: HashSet<String>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, spec: &Spec) -> Search<'a> {
        let (family, is_headless) = (spec.family.table(), spec.head == Head::None);
        Search { checkpoint, family, is_headless, used: HashSet::new() }
    }

    /// The name in the checkpoint's own form, with `{expert}` still in it.
    fn name(&self, place: Place) -> String {
        let row = self.family.tensors.iter().find(|row| row.slot == place.slot);
        let row = row.expect("the family's table has a row for every slot that its specs use");
        let of_layer = |name: &str| name.replace("{layer}", &place.layer.to_string());
        if let Checkpoint::Gguf(_) = self.checkpoint {
            return of_layer(row.gguf);
        }
        let name = of_layer(row.hf);
        // A model that was saved alone has its names without the prefix.
        match name.strip_prefix(self.family.prefix) {
            Some(alone) if self.is_there(alone) && !self.is_there(&name) => alone.to_owned(),
            _ => name,
        }
    }

    /// Whether there is a tensor, or one for each expert, of this name.
    fn is_there(&self, name: &str) -> bool {
        self.checkpoint.tensor(&name.replace("{expert}", "0")).is_some()
    }

    fn has(&self, place: Place) -> bool {
        self.is_there(&self.name(place))
    }

    fn find(&mut self, name: String, shape: &[usize]) -> Result<Tensor, ModelError> {
        let Some(tensor) = self.checkpoint.tensor(&name) else {
            return Err(ModelError::MissingTensor { name });
        };
        if tensor.shape != shape {
            let (expected, got) = (shape.to_vec(), tensor.shape.clone());
            return Err(ModelError::Shape { name, expected, got });
        }
        if !tensor.dtype.is_supported() {
            let why = format!("weights of type {} cannot be decoded", tensor.dtype);
            return Err(ModelError::Decode { name, why });
        }
        let tensor = tensor.clone();
        self.used.insert(name);
        Ok(tensor)
    }

    /// One matrix for each expert, from one tensor each or from one tensor of all.
    fn expert_matrices(
        &mut self,
        place: Place,
        experts: usize,
        shape: [usize; 2],
    ) -> Result<Vec<Tensor>, ModelError> {
        let name = self.name(place);
        if name.contains("{expert}") {
            let one = |expert: usize| name.replace("{expert}", &expert.to_string());
            return (0..experts).map(|expert| self.find(one(expert), &shape)).collect();
        }
        let all = self.find(name, &[experts, shape[0], shape[1]])?;
        Ok((0..experts).map(|expert| all.slice_outer(expert)).collect())
    }

    /// A tied head that is also stored must be the embedding, or it would be dropped silently.
    fn check_tied_head(&mut self, spec: &Spec) -> Result<(), ModelError> {
        if spec.head != Head::Tied {
            return Ok(());
        }
        let name = self.name(Place { slot: Slot::Head, layer: 0 });
        let Some(head) = self.checkpoint.tensor(&name) else { return Ok(()) };
        let other = self.name(Place { slot: Slot::Embedding, layer: 0 });
        let embedding = self.checkpoint.tensor(&other);
        let same = |embedding: &Tensor| {
            embedding.dtype == head.dtype
                && embedding.shape == head.shape
                && *embedding.data == *head.data
        };
        if !embedding.is_some_and(same) {
            return Err(ModelError::NotTied { name, other });
        }
        self.used.insert(name);
        Ok(())
    }

    /// Whether it is known that hidden states, which are wanted, do not depend on the tensor.
    fn is_unused(&self, name: &str) -> bool {
        let head = match self.checkpoint {
            Checkpoint::Gguf(_) => "output.weight",
            Checkpoint::Folder(_) => "lm_head.weight",
        };
        let is = |unused: &&str| {
            name == *unused || unused.strip_prefix(self.family.prefix) == Some(name)
        };
        self.is_headless && (name == head || self.family.unused.iter().any(is))
    }

    fn check_leftovers(&self) -> Result<(), ModelError> {
        let left = |tensor: &&Tensor| {
            let name = tensor.name.as_str();
            !self.used.contains(name) && !is_derived(name) && !self.is_unused(name)
        };
        let mut left = self.checkpoint.tensors().filter(left);
        match left.next() {
            None => Ok(()),
            Some(first) => Err(ModelError::UnexpectedTensors {
                first: first.name.clone(),
                count: 1 + left.count(),
            }),
        }
    }
}

impl Leaves for Search<'_> {
    type Kinds = Located;
    type Error = ModelError;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<Tensor, ModelError> {
        self.find(self.name(place), &[rows, cols])
    }

    fn rows(&mut self, place: Place, rows: usize, cols: usize) -> Result<Tensor, ModelError> {
        self.matrix(place, rows, cols)
    }

    fn vector(&mut self, place: Place, len: usize) -> Result<Tensor, ModelError> {
        self.find(self.name(place), &[len])
    }

    fn experts(
        &mut self,
        layer: usize,
        moe: &MoeSpec,
        hidden_size: usize,
    ) -> Result<ExpertTensors, ModelError> {
        let place = |slot: Slot| Place { slot, layer };
        let (up_shape, down_shape) = ([moe.width, hidden_size], [hidden_size, moe.width]);
        if !self.has(place(Slot::ExpertGateUp)) {
            return Ok(ExpertTensors {
                gate: self.expert_matrices(place(Slot::ExpertGate), moe.experts, up_shape)?,
                up: self.expert_matrices(place(Slot::ExpertUp), moe.experts, up_shape)?,
                down: self.expert_matrices(place(Slot::ExpertDown), moe.experts, down_shape)?,
            });
        }
        let both_shape = [2 * moe.width, hidden_size];
        let both = self.expert_matrices(place(Slot::ExpertGateUp), moe.experts, both_shape)?;
        Ok(ExpertTensors {
            gate: both.iter().map(|both| rows_of(both, 0, moe.width)).collect::<Result<_, _>>()?,
            up: both
                .iter()
                .map(|both| rows_of(both, moe.width, moe.width))
                .collect::<Result<_, _>>()?,
            down: self.expert_matrices(place(Slot::ExpertDownAll), moe.experts, down_shape)?,
        })
    }
}

/// A view of `count` rows of a matrix from `first` on.
fn rows_of(matrix: &Tensor, first: usize, count: usize) -> Result<Tensor, ModelError> {
    let refused = |why: String| ModelError::Decode { name: matrix.name.clone(), why };
    let row_bytes = matrix.row_bytes().map_err(|error| refused(error.to_string()))?;
    let data = matrix.data.slice(first * row_bytes, count * row_bytes);
    let data = data.ok_or_else(|| refused(format!("it has no rows {first}+{count}")))?;
    let name = format!("{}[{first}..{}]", matrix.name, first + count);
    Tensor::new(name, matrix.dtype, vec![count, matrix.cols()], data)
        .map_err(|error| refused(error.to_string()))
}
