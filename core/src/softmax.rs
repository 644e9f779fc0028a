//! The passes over a whole row of logits, written so that the compiler vectorises them.

use crate::TokenId;

/// Why no token can be chosen from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A logit is not a number.
    #[error("a logit is NaN")]
    NotANumber,
    /// A logit is plus infinity.
    #[error("a logit is infinite")]
    Infinite,
    /// Every logit is minus infinity: the model or the constraint allows nothing.
    #[error("no finite logit")]
    NothingFinite,
}

impl Unusable {
    /// The reason as text.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotANumber => "a logit is NaN",
            Self::Infinite => "a logit is infinite",
            Self::NothingFinite => "no finite logit",
        }
    }
}

/// Width of a block that is looked at as one.
pub(crate) const BLOCK: usize = 64;

const LANES: usize = 16;

/// The largest value; NaNs are passed over.
pub(crate) fn block_max(block: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = block.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let rest = chunks.remainder().iter();
    rest.chain(&lanes).fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max })
}

/// The largest logit, finite.
pub(crate) fn max(row: &[f32]) -> Result<f32, Unusable> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut unordered = [0_u32; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
            unordered[lane] |= u32::from(x.is_nan());
        }
    }
    let rest = chunks.remainder();
    let nan = unordered.iter().any(|&lane| lane != 0) || rest.iter().any(|x| x.is_nan());
    let max = rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    match max {
        _ if nan => Err(Unusable::NotANumber),
        f32::INFINITY => Err(Unusable::Infinite),
        f32::NEG_INFINITY => Err(Unusable::NothingFinite),
        max => Ok(max),
    }
}

/// The token with the largest logit, the lowest id among equals.
pub(crate) fn argmax(row: &[f32]) -> Result<TokenId, Unusable> {
    // The value costs one pass at full speed; the place is then looked for only up to its first occurrence.
    let max = max(row)?;
    let block = row.chunks(BLOCK).position(|block| block_max(block) == max).unwrap_or(0) * BLOCK;
    let place = row[block..].iter().position(|&x| x == max).unwrap_or(0);
    Ok((block + place) as TokenId)
}

/// Writes exp((row − max) · scale) to `out`, which is as long as `row`, and returns the sum in f64.
///
/// `scale` is the inverse temperature, `max` the row's largest value.
pub(crate) fn exponentials(row: &[f32], max: f32, scale: f32, out: &mut [f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let mut outs = out.chunks_exact_mut(LANES);
    let mut rows = row.chunks_exact(LANES);
    for (out, row) in (&mut outs).zip(&mut rows) {
        for lane in 0..LANES {
            out[lane] = exp((row[lane] - max) * scale);
        }
        for lane in 0..LANES {
            lanes[lane] += f64::from(out[lane]);
        }
    }
    let mut sum = lanes.iter().sum();
    for (out, &x) in outs.into_remainder().iter_mut().zip(rows.remainder()) {
        *out = exp((x - max) * scale);
        sum += f64::from(*out);
    }
    sum
}

/// e^x for x ≤ 0 within 2 units in the last place, 0 below the smallest normal number; without branches.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, and e^r by the polynomial of Cephes' `expf` (Moshier, 1992).
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to an integer, which then lies in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const UNDERFLOW: f32 = -87.0;
    let clamped = if x > UNDERFLOW { x } else { UNDERFLOW };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let poly = 1.987_569_1e-4;
    let poly = poly * r + 1.398_2e-3;
    let poly = poly * r + 8.333_452e-3;
    let poly = poly * r + 4.166_579_6e-2;
    let poly = poly * r + 1.666_666_5e-1;
    let poly = poly * r + 0.5;
    let mantissa = poly * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x > UNDERFLOW { mantissa * f32::from_bits(exponent) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library_in_double_precision() {
        let mut worst: f64 = 0.0;
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "relative error {worst}");
        assert_eq!((exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn the_sum_is_the_sum_of_what_was_written() {
        let row: Vec<f32> = (0..1003).map(|i| ((i * 37) % 101) as f32 * 0.1 - 10.0).collect();
        let mut out = vec![0.0; row.len()];
        let sum = exponentials(&row, max(&row).unwrap(), 2.0, &mut out);
        let again: f64 = out.iter().map(|&x| f64::from(x)).sum();
        assert!((sum - again).abs() < 1e-9 * sum);
        assert!((f64::from(out[5]) - (2.0 * f64::from(row[5] - max(&row).unwrap())).exp()).abs() < 1e-7);
    }

    #[test]
    fn argmax_takes_the_first_of_equals_wherever_it_lies() {
        for len in [1, 15, 16, 17, 63, 64, 65, 200, 1000] {
            for place in 0..len {
                let mut row = vec![-1.0; len];
                row[place..].fill(2.0);
                assert_eq!(argmax(&row), Ok(place as TokenId));
            }
        }
    }

    #[test]
    fn rows_without_a_choice_are_refused() {
        for place in [0, 7, 16, 40] {
            let mut row = vec![0.0; 41];
            row[place] = f32::NAN;
            assert_eq!(argmax(&row), Err(Unusable::NotANumber));
            row[place] = f32::INFINITY;
            assert_eq!(argmax(&row), Err(Unusable::Infinite));
        }
        assert_eq!(argmax(&[f32::NEG_INFINITY; 41]), Err(Unusable::NothingFinite));
        assert_eq!(argmax(&[]), Err(Unusable::NothingFinite));
        assert_eq!(argmax(&[f32::NEG_INFINITY, -3.0, f32::NEG_INFINITY]), Ok(1));
    }
}
