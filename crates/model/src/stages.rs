//! The stages of a forward pass, compiled once from the [`Spec`]: a tree whose leaves are
//! weights. Counting, locating and packing are three kinds of leaves of the same tree.

use crate::families::names::Slot;
use crate::rope::RopeSpec;
use crate::spec::{
    AttentionSpec, DenseSpec, EmbeddingSpec, Ffn, FfnForm, Head, LayerSpec, Mixer, MoeSpec, Norm,
    NormPlacement, Spec,
};

/// What stands at the leaves.
pub(crate) trait Kinds {
    /// A matrix to multiply with, (rows, columns).
    type Matrix;
    /// A matrix of which single rows are looked up.
    type Rows;
    /// A norm's weight or a bias.
    type Vector;
    /// The three matrices of every expert of a layer.
    type Experts;
}

/// Makes leaves.
pub(crate) trait Leaves {
    type Kinds: Kinds;
    type Error;

    fn matrix(
        &mut self,
        place: Place,
        rows: usize,
        cols: usize,
    ) -> Result<<Self::Kinds as Kinds>::Matrix, Self::Error>;

    fn rows(
        &mut self,
        place: Place,
        rows: usize,
        cols: usize,
    ) -> Result<<Self::Kinds as Kinds>::Rows, Self::Error>;

    fn vector(
        &mut self,
        place: Place,
        len: usize,
    ) -> Result<<Self::Kinds as Kinds>::Vector, Self::Error>;

    fn experts(
        &mut self,
        layer: usize,
        moe: &MoeSpec,
        hidden_size: usize,
    ) -> Result<<Self::Kinds as Kinds>::Experts, Self::Error>;
}

/// A slot and the layer it is in; slots outside the layers are in layer 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) layer: usize,
}

/// All stages of a model.
pub(crate) struct Stages<K: Kinds> {
    pub(crate) vocabulary: Vocabulary<K>,
    pub(crate) embedding: EmbeddingStage<K>,
    pub(crate) layers: Vec<LayerStage<K>>,
    pub(crate) final_norm: Option<NormStage<K>>,
    pub(crate) classifier: Option<ClassifierStage<K>>,
    /// The kinds of rotary positions that the layers use, each once.
    pub(crate) ropes: Vec<RopeSpec>,
}

/// The matrices on both ends of the layers.
pub(crate) enum Vocabulary<K: Kinds> {
    /// (vocabulary, hidden size), used on both ends.
    Tied(K::Matrix),
    /// Both (vocabulary, hidden size).
    Untied { embedding: K::Rows, head: K::Matrix },
    /// (vocabulary, hidden size), of which rows are looked up and nothing else.
    Lookup(K::Rows),
}

/// What joins a row of the embedding matrix, each of hidden size.
pub(crate) struct EmbeddingStage<K: Kinds> {
    /// One for each position, and the row of position 0.
    pub(crate) positions: Option<(K::Rows, usize)>,
    /// One for each kind of text.
    pub(crate) token_types: Option<K::Rows>,
    pub(crate) norm: Option<NormStage<K>>,
}

/// Scores from the hidden state of one token.
pub(crate) struct ClassifierStage<K: Kinds> {
    /// (hidden size, hidden size)
    pub(crate) dense: Affine<K>,
    /// (labels, hidden size)
    pub(crate) out: Affine<K>,
}

pub(crate) struct LayerStage<K: Kinds> {
    pub(crate) placement: NormPlacement,
    pub(crate) mixer_norm: NormStage<K>,
    pub(crate) mixer: MixerStage<K>,
    pub(crate) ffn_norm: NormStage<K>,
    pub(crate) ffn: FfnStage<K>,
}

pub(crate) struct NormStage<K: Kinds> {
    pub(crate) norm: Norm,
    /// As long as the rows it works on.
    pub(crate) weight: K::Vector,
    /// Of the same length.
    pub(crate) bias: Option<K::Vector>,
}

pub(crate) enum MixerStage<K: Kinds> {
    Attention(AttentionStage<K>),
}

pub(crate) struct AttentionStage<K: Kinds> {
    pub(crate) spec: AttentionSpec,
    /// Index into [`Stages::ropes`].
    pub(crate) rope: Option<usize>,
    /// (heads · head_dim, hidden size)
    pub(crate) query: Affine<K>,
    /// (kv_heads · head_dim, hidden size)
    pub(crate) key: Affine<K>,
    /// (kv_heads · head_dim, hidden size)
    pub(crate) value: Affine<K>,
    /// (hidden size, heads · head_dim)
    pub(crate) output: Affine<K>,
    /// Of single heads, (head_dim) each.
    pub(crate) qk_norm: Option<[NormStage<K>; 2]>,
    /// A logit for each query head.
    pub(crate) sinks: Option<K::Vector>,
}

/// A matrix and perhaps a bias of one entry for each of its rows.
pub(crate) struct Affine<K: Kinds> {
    pub(crate) matrix: K::Matrix,
    pub(crate) bias: Option<K::Vector>,
}

pub(crate) enum FfnStage<K: Kinds> {
    Dense(DenseStage<K>),
    Moe(MoeStage<K>),
}

pub(crate) struct DenseStage<K: Kinds> {
    pub(crate) spec: DenseSpec,
    /// (width, hidden size); none in a network without a gate
    pub(crate) gate: Option<Affine<K>>,
    /// (width, hidden size)
    pub(crate) up: Affine<K>,
    /// (hidden size, width)
    pub(crate) down: Affine<K>,
}

pub(crate) struct MoeStage<K: Kinds> {
    pub(crate) spec: MoeSpec,
    /// (experts, hidden size)
    pub(crate) router: K::Matrix,
    pub(crate) experts: K::Experts,
}

/// Builds the whole tree, in the order of computation.
///
/// # Errors
/// The first error of a leaf.
pub(crate) fn build<L: Leaves>(spec: &Spec, leaves: &mut L) -> Result<Stages<L::Kinds>, L::Error> {
    let (vocab, hidden) = (spec.vocab_size, spec.hidden_size);
    let embedding = Place { slot: Slot::Embedding, layer: 0 };
    let vocabulary = match spec.head {
        Head::Tied => Vocabulary::Tied(leaves.matrix(embedding, vocab, hidden)?),
        Head::Untied => Vocabulary::Untied {
            embedding: leaves.rows(embedding, vocab, hidden)?,
            head: leaves.matrix(Place { slot: Slot::Head, layer: 0 }, vocab, hidden)?,
        },
        Head::None | Head::Classifier { .. } => {
            Vocabulary::Lookup(leaves.rows(embedding, vocab, hidden)?)
        }
    };
    let mut ropes = Vec::new();
    let mut outside = Builder { index: 0, hidden, leaves, ropes: &mut ropes };
    let embedding = outside.embedding(&spec.embedding)?;
    let mut layers = Vec::with_capacity(spec.layers.len());
    for (index, layer) in spec.layers.iter().enumerate() {
        layers.push(Builder { index, hidden, leaves, ropes: &mut ropes }.layer(layer)?);
    }
    let mut outside = Builder { index: 0, hidden, leaves, ropes: &mut ropes };
    let final_norm = spec.final_norm.map(|norm| outside.norm(Slot::FinalNorm, norm, hidden));
    let final_norm = final_norm.transpose()?;
    let classifier = match spec.head {
        Head::Classifier { labels } => Some(outside.classifier(labels)?),
        Head::Tied | Head::Untied | Head::None => None,
    };
    Ok(Stages { vocabulary, embedding, layers, final_norm, classifier, ropes })
}

/// Builds one layer, or what stands outside of all.
struct Builder<'a, L> {
    index: usize,
    hidden: usize,
    leaves: &'a mut L,
    ropes: &'a mut Vec<RopeSpec>,
}

impl<L: Leaves> Builder<'_, L> {
    fn embedding(&mut self, spec: &EmbeddingSpec) -> Result<EmbeddingStage<L::Kinds>, L::Error> {
        let place = |slot: Slot| Place { slot, layer: 0 };
        let positions = match spec.positions {
            None => None,
            Some(learned) => {
                let rows = self.leaves.rows(place(Slot::Positions), learned.rows, self.hidden)?;
                Some((rows, learned.first))
            }
        };
        let types = spec.token_types;
        let types = types.map(|n| self.leaves.rows(place(Slot::TokenTypes), n, self.hidden));
        let token_types = types.transpose()?;
        let norm = spec.norm.map(|norm| self.norm(Slot::EmbeddingNorm, norm, self.hidden));
        Ok(EmbeddingStage { positions, token_types, norm: norm.transpose()? })
    }

    fn classifier(&mut self, labels: usize) -> Result<ClassifierStage<L::Kinds>, L::Error> {
        let hidden = self.hidden;
        let dense = Some(Slot::ClassifierDenseBias);
        let dense = self.affine(Slot::ClassifierDense, dense, hidden, hidden)?;
        let out = Some(Slot::ClassifierOutBias);
        Ok(ClassifierStage { dense, out: self.affine(Slot::ClassifierOut, out, labels, hidden)? })
    }

    fn layer(&mut self, spec: &LayerSpec) -> Result<LayerStage<L::Kinds>, L::Error> {
        Ok(LayerStage {
            placement: spec.placement,
            mixer_norm: self.norm(Slot::MixerNorm, spec.mixer_norm, self.hidden)?,
            mixer: match &spec.mixer {
                Mixer::Attention(attention) => MixerStage::Attention(self.attention(attention)?),
            },
            ffn_norm: self.norm(Slot::FfnNorm, spec.ffn_norm, self.hidden)?,
            ffn: match &spec.ffn {
                Ffn::Dense(dense) => FfnStage::Dense(self.dense(dense)?),
                Ffn::Moe(moe) => {
                    let router = Place { slot: Slot::Router, layer: self.index };
                    FfnStage::Moe(MoeStage {
                        spec: moe.clone(),
                        router: self.leaves.matrix(router, moe.experts, self.hidden)?,
                        experts: self.leaves.experts(self.index, moe, self.hidden)?,
                    })
                }
            },
        })
    }

    fn attention(&mut self, spec: &AttentionSpec) -> Result<AttentionStage<L::Kinds>, L::Error> {
        let (queries, keys) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let qkv = |slot: Slot| spec.qkv_bias.then_some(slot);
        let output_bias = spec.output_bias.then_some(Slot::OutputBias);
        let hidden = self.hidden;
        let sinks = Place { slot: Slot::Sinks, layer: self.index };
        Ok(AttentionStage {
            spec: spec.clone(),
            rope: spec.rope.as_ref().map(|rope| self.rope(rope)),
            query: self.affine(Slot::Query, qkv(Slot::QueryBias), queries, hidden)?,
            key: self.affine(Slot::Key, qkv(Slot::KeyBias), keys, hidden)?,
            value: self.affine(Slot::Value, qkv(Slot::ValueBias), keys, hidden)?,
            output: self.affine(Slot::Output, output_bias, hidden, queries)?,
            qk_norm: match spec.qk_norm {
                None => None,
                Some(norm) => Some([
                    self.norm(Slot::QueryNorm, norm, spec.head_dim)?,
                    self.norm(Slot::KeyNorm, norm, spec.head_dim)?,
                ]),
            },
            sinks: spec.sinks.then(|| self.leaves.vector(sinks, spec.heads)).transpose()?,
        })
    }

    fn rope(&mut self, spec: &RopeSpec) -> usize {
        self.ropes.iter().position(|rope| rope == spec).unwrap_or_else(|| {
            self.ropes.push(spec.clone());
            self.ropes.len() - 1
        })
    }

    fn dense(&mut self, spec: &DenseSpec) -> Result<DenseStage<L::Kinds>, L::Error> {
        let bias = |slot: Slot| spec.bias.then_some(slot);
        let hidden = self.hidden;
        Ok(DenseStage {
            spec: spec.clone(),
            gate: match spec.form {
                FfnForm::SwiGlu => {
                    Some(self.affine(Slot::Gate, bias(Slot::GateBias), spec.width, hidden)?)
                }
                FfnForm::Gelu => None,
            },
            up: self.affine(Slot::Up, bias(Slot::UpBias), spec.width, hidden)?,
            down: self.affine(Slot::Down, bias(Slot::DownBias), hidden, spec.width)?,
        })
    }

    fn affine(
        &mut self,
        matrix: Slot,
        bias: Option<Slot>,
        rows: usize,
        cols: usize,
    ) -> Result<Affine<L::Kinds>, L::Error> {
        let layer = self.index;
        let matrix = self.leaves.matrix(Place { slot: matrix, layer }, rows, cols)?;
        let bias = bias.map(|slot| self.leaves.vector(Place { slot, layer }, rows)).transpose()?;
        Ok(Affine { matrix, bias })
    }

    fn norm(
        &mut self,
        slot: Slot,
        norm: Norm,
        len: usize,
    ) -> Result<NormStage<L::Kinds>, L::Error> {
        let layer = self.index;
        let weight = self.leaves.vector(Place { slot, layer }, len)?;
        let bias = match norm {
            Norm::Rms { .. } => None,
            Norm::Layer { .. } => slot.norm_bias(),
        };
        let bias = bias.map(|slot| self.leaves.vector(Place { slot, layer }, len)).transpose()?;
        Ok(NormStage { norm, weight, bias })
    }
}
