//! The architecture of a model as data: what is computed, in which shapes.
//!
//! Nothing here knows where the weights come from or how they are stored.
//! Every slot of the layer (norm, mixer, feed-forward, position) is a
//! closed enum; new mathematics is a variant here, a kernel, and an arm in the
//! one layer, never a second forward.

use crate::families::Family;
use crate::rope::RopeSpec;

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The reader and the tensor names that this model came through.
    pub family: Family,
    /// Number of token ids, and of logits per row.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of positions that the model was made for.
    pub context_length: usize,
    /// What becomes of the rows of the embedding matrix before the first layer.
    pub embedding: EmbeddingSpec,
    /// In the order of computation.
    pub layers: Vec<LayerSpec>,
    /// Between the last layer and what is made of it; none where layers end with a norm.
    pub final_norm: Option<Norm>,
    /// What is made of the last layer's output.
    pub head: Head,
    /// How hidden states become one vector for a text, where the files say so.
    pub pooling: Option<Pooling>,
}

/// What is added to a token's row of the embedding matrix, and done with the sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmbeddingSpec {
    /// A learned vector for each position.
    pub positions: Option<LearnedPositions>,
    /// Number of learned vectors of which each token gets one by the text that it is in.
    pub token_types: Option<usize>,
    /// A norm of the sum.
    pub norm: Option<Norm>,
}

/// Learned vectors of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedPositions {
    /// Rows of the matrix.
    pub rows: usize,
    /// The row of position 0.
    pub first: usize,
}

/// How the hidden states of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
    /// The largest value of each dimension over all tokens.
    Max,
}

impl Pooling {
    /// Every kind.
    pub const ALL: [Pooling; 4] = [Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Max];

    /// The name that `--pooling` takes.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            Pooling::Last => "last",
            Pooling::Max => "max",
        }
    }
}

/// One layer: `x += mixer(norm(x)); x += ffn(norm(x))` when the norms stand before, and
/// `x = norm(x + mixer(x)); x = norm(x + ffn(x))` when they stand after.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Where the two norms stand.
    pub placement: NormPlacement,
    /// The norm of the mixer.
    pub mixer_norm: Norm,
    /// Mixes positions.
    pub mixer: Mixer,
    /// The norm of the feed-forward part.
    pub ffn_norm: Norm,
    /// Works on each position alone.
    pub ffn: Ffn,
}

/// Where the norms of a layer stand in relation to the residual additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// On the input of the mixer and of the feed-forward part.
    Before,
    /// On the sums, as in Vaswani et al., "Attention Is All You Need" (2017).
    After,
}

/// A normalisation of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// `x · w / sqrt(mean(x²) + epsilon)`, computed in f32.
    Rms {
        /// Added to the mean square.
        epsilon: f32,
    },
    /// `(x - mean(x)) / sqrt(var(x) + epsilon) · w + b`, computed in f32.
    Layer {
        /// Added to the variance.
        epsilon: f32,
    },
}

/// What mixes positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Softmax attention over cached keys and values, query heads in groups.
    Attention(AttentionSpec),
}

/// Grouped-query attention.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; `heads * head_dim` need not be the hidden size.
    pub head_dim: usize,
    /// Factor on the scores before the softmax.
    pub scale: f32,
    /// Which earlier positions a position sees.
    pub mask: Mask,
    /// Whether the query, key and value projections add a bias.
    pub qkv_bias: bool,
    /// Whether the output projection adds a bias.
    pub output_bias: bool,
    /// A norm of every query and key head before the rotation.
    pub qk_norm: Option<Norm>,
    /// Rotary positions; none for a layer without positions.
    pub rope: Option<RopeSpec>,
    /// Whether every query head has a learned logit that takes part in its softmax and adds no
    /// value (transformers' gpt-oss: `sinks`).
    pub sinks: bool,
}

/// Which positions attend to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Each position sees itself and everything before it.
    Causal,
    /// Position p sees p - window + 1 to p, as transformers' masks have it
    /// (`sliding_window_overlay`: `kv_idx > q_idx - sliding_window`).
    Sliding {
        /// Positions, the own one among them; at least one.
        window: usize,
    },
    /// Each position sees all of its sequence, which is computed as a whole.
    All,
}

impl Mask {
    /// The positions that a position sees at most, if there is a limit.
    pub fn window(self) -> Option<usize> {
        match self {
            Mask::Causal | Mask::All => None,
            Mask::Sliding { window } => Some(window),
        }
    }
}

/// The part of a layer that works on each position alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Ffn {
    /// One network for every token.
    Dense(DenseSpec),
    /// A few of many networks for each token.
    Moe(MoeSpec),
}

/// A dense feed-forward network.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseSpec {
    /// Its form.
    pub form: FfnForm,
    /// Width between the two projections.
    pub width: usize,
    /// Whether its projections add a bias.
    pub bias: bool,
}

/// The form of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FfnForm {
    /// `down(silu(gate(x)) · up(x))`.
    SwiGlu,
    /// `down(gelu(up(x)))` with the error function.
    Gelu,
}

/// A mixture of experts; each expert is a [`FfnForm::SwiGlu`] without bias.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeSpec {
    /// Number of experts.
    pub experts: usize,
    /// How many of them a token uses.
    pub experts_per_token: usize,
    /// Width of one expert.
    pub width: usize,
    /// How router logits become weights.
    pub scoring: Scoring,
}

/// How router logits become the experts' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Softmax over all experts in f32, then the largest are kept.
    Softmax {
        /// Whether the kept ones are divided by their sum.
        renormalize: bool,
    },
}

/// Where the output matrix lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The embedding matrix is also the output matrix.
    Tied,
    /// A matrix of its own.
    Untied,
    /// Nothing: hidden states are the output.
    None,
    /// `out(tanh(dense(x)))` of the first token: a score for each label.
    Classifier {
        /// Number of scores.
        labels: usize,
    },
}

impl Head {
    /// Whether it gives a logit for each token id.
    pub fn has_logits(self) -> bool {
        matches!(self, Head::Tied | Head::Untied)
    }
}

impl LayerSpec {
    /// Attention, then a feed-forward part, with the same norm before each.
    pub(crate) fn pre_norm(norm: Norm, attention: AttentionSpec, ffn: Ffn) -> LayerSpec {
        LayerSpec {
            placement: NormPlacement::Before,
            mixer_norm: norm,
            mixer: Mixer::Attention(attention),
            ffn_norm: norm,
            ffn,
        }
    }

    /// A layer for each mask, alike but for that and for what `ffn` says of its number.
    pub(crate) fn for_masks(
        masks: &[Mask],
        norm: Norm,
        attention: &AttentionSpec,
        ffn: impl Fn(usize) -> Ffn,
    ) -> Vec<LayerSpec> {
        let layer = |(layer, &mask)| {
            LayerSpec::pre_norm(norm, AttentionSpec { mask, ..attention.clone() }, ffn(layer))
        };
        masks.iter().enumerate().map(layer).collect()
    }
}

impl Spec {
    /// Whether tokens see what comes after them, so that nothing can be generated and a
    /// sequence is computed as a whole.
    pub fn sees_ahead(&self) -> bool {
        self.layers.iter().any(|layer| {
            let Mixer::Attention(attention) = &layer.mixer;
            attention.mask == Mask::All
        })
    }

    /// The windows of the layers' attention in words; empty where there are none.
    fn windows(&self) -> String {
        let window = |layer: &LayerSpec| {
            let Mixer::Attention(attention) = &layer.mixer;
            attention.mask.window()
        };
        let windows: Vec<usize> = self.layers.iter().filter_map(window).collect();
        match (windows.iter().min(), windows.iter().max()) {
            (Some(least), Some(most)) if least == most => {
                format!(", windows of {most} in {} layers", windows.len())
            }
            (Some(least), Some(most)) => {
                format!(", windows of {least} to {most} in {} layers", windows.len())
            }
            _ => String::new(),
        }
    }

    /// The architecture in one line of words, for people.
    pub fn summary(&self) -> String {
        let Some(first) = self.layers.first() else { return self.family.name().to_owned() };
        let Mixer::Attention(attention) = &first.mixer;
        let experts = self.layers.iter().find_map(|layer| match &layer.ffn {
            Ffn::Moe(moe) => Some(moe),
            Ffn::Dense(_) => None,
        });
        let ffn = match (experts, &first.ffn) {
            (Some(moe), _) => format!(
                "{} of {} experts of width {}",
                moe.experts_per_token, moe.experts, moe.width
            ),
            (None, Ffn::Dense(dense)) => format!("feed-forward width {}", dense.width),
            (None, Ffn::Moe(_)) => String::new(),
        };
        let windows = self.windows();
        format!(
            "{}: {} layers, hidden size {}, {} query and {} key/value heads of {}, {ffn}, \
             vocabulary {}, context {}{windows}",
            self.family.name(),
            self.layers.len(),
            self.hidden_size,
            attention.heads,
            attention.kv_heads,
            attention.head_dim,
            self.vocab_size,
            self.context_length,
        )
    }
}
