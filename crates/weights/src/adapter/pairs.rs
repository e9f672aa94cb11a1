//! From single tensors to pairs of A and B.

use super::error::shown;
use super::{AdapterError, LowRank, PAIRS_MAX, RANK_MAX};
use crate::Tensor;
use std::collections::BTreeMap;

/// Which of the two a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    A,
    B,
}

/// What is known of a target so far.
#[derive(Default)]
struct Found {
    a: Option<Tensor>,
    b: Option<Tensor>,
}

/// Tensors by the weight that they change.
#[derive(Default)]
pub(super) struct Pairs {
    by_target: BTreeMap<String, Found>,
}

impl Pairs {
    /// Takes note of one half of the change of `target`.
    pub(super) fn add(
        &mut self,
        target: String,
        half: Half,
        tensor: &Tensor,
    ) -> Result<(), AdapterError> {
        let name = shown(&tensor.name);
        if tensor.shape.len() != 2 {
            let expected = "(rows, columns)".to_owned();
            let got = tensor.shape.clone();
            return Err(AdapterError::Shape { tensor: name, expected, got });
        }
        if !tensor.dtype.is_supported() {
            let why = format!("values of type {} cannot be decoded", tensor.dtype);
            return Err(AdapterError::Tensor { tensor: name, why });
        }
        let found = self.by_target.entry(target).or_default();
        let place = match half {
            Half::A => &mut found.a,
            Half::B => &mut found.b,
        };
        if place.replace(tensor.clone()).is_some() {
            // Two spellings of one name.
            let why = "another tensor stands for the same half of the same pair".to_owned();
            return Err(AdapterError::Tensor { tensor: name, why });
        }
        let (count, limit) = (self.by_target.len(), PAIRS_MAX);
        if count > limit {
            return Err(AdapterError::TooMany { what: "changed weights", found: count, limit });
        }
        Ok(())
    }

    /// The whole pairs. `partner` names the half that a lone one lacks; `scale` tells alpha
    /// over rank, or its like, and may refuse the rank.
    pub(super) fn finish(
        self,
        partner: impl Fn(&str, Half) -> String,
        scale: impl Fn(&str, &Tensor) -> Result<Scale, AdapterError>,
    ) -> Result<Vec<LowRank>, AdapterError> {
        let mut pairs = Vec::with_capacity(self.by_target.len());
        for (target, found) in self.by_target {
            let (a, b) = match (found.a, found.b) {
                (Some(a), Some(b)) => (a, b),
                (Some(lone), None) => return Err(no_partner(&lone, partner(&target, Half::B))),
                (_, Some(lone)) => return Err(no_partner(&lone, partner(&target, Half::A))),
                (None, None) => continue,
            };
            check_shapes(&a, &b)?;
            let Scale { alpha, factor } = scale(&target, &a)?;
            let scale = factor as f32;
            if !scale.is_finite() {
                let (tensor, rank) = (shown(&a.name), a.shape[0]);
                return Err(AdapterError::Scale { tensor, alpha, rank });
            }
            pairs.push(LowRank { target, a, b, scale });
        }
        if pairs.is_empty() { Err(AdapterError::Empty) } else { Ok(pairs) }
    }
}

/// What a product is multiplied with, and the alpha that it comes from.
pub(super) struct Scale {
    pub(super) alpha: f64,
    pub(super) factor: f64,
}

fn no_partner(lone: &Tensor, partner: String) -> AdapterError {
    AdapterError::NoPartner { tensor: shown(&lone.name), partner: shown(partner) }
}

fn check_shapes(a: &Tensor, b: &Tensor) -> Result<(), AdapterError> {
    let shape = |tensor: &Tensor, expected: String| AdapterError::Shape {
        tensor: shown(&tensor.name),
        expected,
        got: tensor.shape.clone(),
    };
    let rank = a.shape[0];
    if !(1..=RANK_MAX).contains(&rank) || a.shape[1] == 0 {
        return Err(shape(a, format!("(rank, inputs) with a rank of 1 to {RANK_MAX}")));
    }
    if b.shape[1] != rank || b.shape[0] == 0 {
        return Err(shape(b, format!("(outputs, {rank}), the rank of {}", shown(&a.name))));
    }
    Ok(())
}
