//! Which type each tensor of a quantized file has: the mixtures that published GGUF files use, by name.

use anyhow::{Context as _, Result};
use weights::DType;

/// A mixture: most matrices in one type, the embedding (and with it a tied head) and the most
/// sensitive half of the value and down projections in a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// As in file names: `Q4_K_M`.
    pub(crate) name: &'static str,
    /// `general.file_type`.
    pub(crate) file_type: u32,
    base: DType,
    embedding: DType,
    /// The type of `attn_v` and `ffn_down` in the layers that [`is_sensitive`] names.
    sensitive: DType,
}

/// A mixture that has one type for all layers.
const fn plain(name: &'static str, file_type: u32, base: DType, embedding: DType) -> Mix {
    Mix { name, file_type, base, embedding, sensitive: base }
}

const MIXES: [Mix; 17] = [
    plain("F32", 0, DType::F32, DType::F32),
    plain("F16", 1, DType::F16, DType::F16),
    plain("BF16", 32, DType::BF16, DType::BF16),
    plain("Q4_0", 2, DType::Q4_0, DType::Q6_K),
    plain("Q4_1", 3, DType::Q4_1, DType::Q6_K),
    plain("Q5_0", 8, DType::Q5_0, DType::Q6_K),
    plain("Q5_1", 9, DType::Q5_1, DType::Q6_K),
    plain("Q8_0", 7, DType::Q8_0, DType::Q8_0),
    plain("Q2_K", 10, DType::Q2_K, DType::Q6_K),
    plain("Q3_K", 12, DType::Q3_K, DType::Q6_K),
    plain("Q4_K", 14, DType::Q4_K, DType::Q6_K),
    plain("Q5_K", 16, DType::Q5_K, DType::Q6_K),
    plain("Q6_K", 18, DType::Q6_K, DType::Q6_K),
    plain("IQ4_NL", 25, DType::IQ4_NL, DType::Q6_K),
    plain("IQ4_XS", 30, DType::IQ4_XS, DType::Q6_K),
    Mix { name: "Q4_K_M", file_type: 15, sensitive: DType::Q6_K, ..MIX_Q4_K },
    Mix { name: "Q5_K_M", file_type: 17, sensitive: DType::Q6_K, ..MIX_Q5_K },
];

const MIX_Q4_K: Mix = plain("Q4_K", 14, DType::Q4_K, DType::Q6_K);
const MIX_Q5_K: Mix = plain("Q5_K", 16, DType::Q5_K, DType::Q6_K);

impl Mix {
    /// The mixture with this name, in any case.
    pub(crate) fn from_name(name: &str) -> Result<Mix> {
        let found = MIXES.into_iter().find(|mix| mix.name.eq_ignore_ascii_case(name));
        found.with_context(|| {
            format!("no mixture `{name}`; there are {}", MIXES.map(|mix| mix.name).join(", "))
        })
    }

    /// The type of a tensor: vectors and routers stay F32, matrices follow the mixture.
    pub(crate) fn dtype(&self, tensor: &str, dimensions: usize, layers: usize) -> DType {
        if dimensions < 2 {
            return DType::F32;
        }
        let Some((layer, part)) = layer_part(tensor) else {
            return self.embedding;
        };
        if part == "ffn_gate_inp.weight" {
            return DType::F32;
        }
        let wants_more =
            matches!(part, "attn_v.weight" | "ffn_down.weight" | "ffn_down_exps.weight");
        if wants_more && is_sensitive(layer, layers) { self.sensitive } else { self.base }
    }
}

/// `blk.7.attn_v.weight` is layer 7 and `attn_v.weight`; none for tensors outside the layers.
fn layer_part(tensor: &str) -> Option<(usize, &str)> {
    let (layer, part) = tensor.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// The first and last eighth of the layers, and every third of those between.
fn is_sensitive(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_28_layers_are_sensitive() {
        let found: Vec<usize> = (0..28).filter(|&layer| is_sensitive(layer, 28)).collect();
        assert_eq!(found, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
    }

    #[test]
    fn a_mixture_tells_each_tensor_its_type() {
        let mix = Mix::from_name("q4_k_m").expect("known");
        assert_eq!(mix.dtype("token_embd.weight", 2, 28), DType::Q6_K);
        assert_eq!(mix.dtype("blk.0.attn_v.weight", 2, 28), DType::Q6_K);
        assert_eq!(mix.dtype("blk.3.attn_v.weight", 2, 28), DType::Q4_K);
        assert_eq!(mix.dtype("blk.0.attn_q.weight", 2, 28), DType::Q4_K);
        assert_eq!(mix.dtype("blk.0.attn_norm.weight", 1, 28), DType::F32);
        assert_eq!(mix.dtype("blk.0.ffn_gate_inp.weight", 2, 28), DType::F32);
        assert_eq!(mix.dtype("blk.0.ffn_down_exps.weight", 3, 28), DType::Q6_K);
        assert_eq!(Mix::from_name("Q8_0").expect("known").dtype("x", 2, 1), DType::Q8_0);
        assert!(Mix::from_name("Q9_Z").is_err());
    }
}
