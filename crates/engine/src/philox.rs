//! Philox4x32-10, a counter-based generator: a draw is a pure function of its key and counter,
//! so it does not depend on what other sequences drew before.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Ten rounds over `counter` under `key`.
fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let a = MULTIPLIERS[0] * u64::from(counter[0]);
        let b = MULTIPLIERS[1] * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// A number in `[0, 1)` with 53 random bits, drawn for (`seed`, `choice`, `position`).
#[must_use]
pub fn uniform(seed: u64, choice: u32, position: u64) -> f64 {
    uniform_of_stream(seed, choice, position, 0)
}

/// As [`uniform`], of another stream: further numbers for the same draw.
pub(crate) fn uniform_of_stream(seed: u64, choice: u32, position: u64, stream: u32) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, choice, stream];
    let bits = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
    let high = (u64::from(bits[0]) << 32) | u64::from(bits[1]);
    (high >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::{philox4x32, uniform};

    /// The known-answer vectors published with the generator.
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn draws_are_spread_over_the_unit_interval() {
        let mean: f64 = (0..10_000).map(|i| uniform(7, 0, i)).sum::<f64>() / 10_000.0;
        // The standard error is 0.29 / 100.
        assert!((mean - 0.5).abs() < 0.012, "{mean}");
        assert!(uniform(7, 0, 3) != uniform(7, 1, 3) && uniform(7, 0, 3) != uniform(8, 0, 3));
    }
}
