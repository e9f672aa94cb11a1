//! Two traces of the same tokens side by side: how far apart each layer is.

use super::States;
use super::divergence::{argmax, divergence};
use crate::output::{Table, stdout};
use anyhow::{Result, ensure};
use serde_json::json;
use std::io::Write as _;

/// The distance between one tensor and its reference.
struct Distance {
    name: String,
    /// Largest difference of two elements.
    max_difference: f64,
    /// Largest magnitude in the reference.
    max_reference: f64,
    /// Euclidean length of the difference over that of the reference.
    relative: f64,
    /// Cosine of the angle between the two.
    cosine: f64,
}

/// Prints a line for every layer and one for the logits.
pub(super) fn print(tested: &States, reference: &States, tokens: usize, json: bool) -> Result<()> {
    let mut distances = Vec::new();
    ensure!(
        tested.hidden.len() == reference.hidden.len(),
        "one model has {} layers, the other {}",
        tested.hidden.len().saturating_sub(1),
        reference.hidden.len().saturating_sub(1)
    );
    for (i, (a, b)) in tested.hidden.iter().zip(&reference.hidden).enumerate() {
        distances.push(distance(format!("hidden.{i}"), a, b)?);
    }
    distances.push(distance("logits".to_owned(), &tested.logits, &reference.logits)?);
    let columns = reference.logits.len() / tokens;
    let rows = || tested.logits.chunks_exact(columns).zip(reference.logits.chunks_exact(columns));
    let same = rows().filter(|(a, b)| argmax(a) == argmax(b)).count();
    let kl = rows().map(|(a, b)| divergence(b, a).kl).sum::<f64>() / tokens as f64;
    let mut out = stdout();
    if json {
        for d in &distances {
            let line = json!({"name": d.name, "max_difference": d.max_difference,
                "max_reference": d.max_reference, "relative_difference": d.relative, "cosine": d.cosine});
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "{}",
            json!({"name": "argmax", "equal": same, "tokens": tokens, "mean_kl": kl})
        )?;
        return Ok(());
    }
    let mut table = Table::new(&["state", "max |Δ|", "max |reference|", "relative", "cosine"]);
    for d in &distances {
        table.row([
            &d.name,
            &format!("{:.3e}", d.max_difference),
            &format!("{:.3e}", d.max_reference),
            &format!("{:.3e}", d.relative),
            &format!("{:.6}", d.cosine),
        ]);
    }
    table.write(&mut out)?;
    writeln!(out, "same likeliest token at {same} of {tokens} positions, mean KL {kl:.6} nats")?;
    Ok(())
}

fn distance(name: String, tested: &[f32], reference: &[f32]) -> Result<Distance> {
    ensure!(
        tested.len() == reference.len(),
        "{name} has {} elements in one model and {} in the other",
        tested.len(),
        reference.len()
    );
    let (mut max_difference, mut max_reference) = (0f64, 0f64);
    let (mut squares, mut a_squares, mut b_squares, mut product) = (0f64, 0f64, 0f64, 0f64);
    for (&a, &b) in tested.iter().zip(reference) {
        let (a, b) = (f64::from(a), f64::from(b));
        max_difference = max_difference.max((a - b).abs());
        max_reference = max_reference.max(b.abs());
        squares += (a - b) * (a - b);
        a_squares += a * a;
        b_squares += b * b;
        product += a * b;
    }
    let cosine =
        if a_squares * b_squares > 0.0 { product / (a_squares * b_squares).sqrt() } else { 1.0 };
    let relative = if b_squares > 0.0 { (squares / b_squares).sqrt() } else { squares.sqrt() };
    Ok(Distance { name, max_difference, max_reference, relative, cosine })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_at_no_distance_from_itself() {
        let d = distance("x".into(), &[1.0, -2.0], &[1.0, -2.0]).expect("equal lengths");
        assert_eq!((d.max_difference, d.max_reference, d.relative), (0.0, 2.0, 0.0));
        assert!((d.cosine - 1.0).abs() < 1e-12);
        assert!(distance("x".into(), &[1.0], &[1.0, 2.0]).is_err());
    }
}
