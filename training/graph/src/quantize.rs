//! Weight quantisation: symmetric blocks for `MatMulNBits`, symmetric rows for int8×int8.

/// Added and taken away again, it rounds an f32 below 2^22 to the nearest whole number, ties to even.
const ROUND: f32 = 12_582_912.0;
/// Factors on the largest scale that are tried for each 4-bit block.
const SHRINK: [f32; 5] = [1.0, 0.95, 0.9, 0.85, 0.8];

/// A matrix `[rows, columns]` with one scale per block of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockQuantized {
    /// Unsigned codes `[rows, blocks, block · bits / 8]`, low half of a byte first; the zero point is `2^(bits-1)`.
    /// Columns past the end hold the zero point.
    pub codes: Vec<u8>,
    /// `[rows, blocks]`.
    pub scales: Vec<f32>,
    /// Blocks of a row: `columns / block`, rounded up.
    pub block_count: usize,
}

/// A matrix with one scale per row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowQuantized {
    /// Signed codes in `-127..=127`, laid out as the matrix was.
    pub codes: Vec<i8>,
    /// `[rows]`.
    pub scales: Vec<f32>,
}

/// Quantises `[rows, columns]` in blocks of `block` columns to 4 or 8 `bits`.
///
/// 8-bit blocks take the scale `max|w| / 127`. 4-bit blocks try the scale that puts the extreme weight at −8 (the
/// choice of ONNX Runtime's own quantiser), the one that puts it at 7, and somewhat smaller ones of both, and keep the
/// one with the least squared error.
#[must_use]
pub fn quantize_blocks(weight: &[f32], columns: usize, bits: u32, block: usize) -> BlockQuantized {
    debug_assert!(bits == 4 || bits == 8);
    let block_count = columns.div_ceil(block);
    let rows = weight.len() / columns;
    let mut codes = Vec::with_capacity(rows * block_count * block * bits as usize / 8);
    let mut scales = Vec::with_capacity(rows * block_count);
    let mut padded = vec![0.0; block];
    for row in weight.chunks_exact(columns) {
        for part in row.chunks(block) {
            padded[..part.len()].copy_from_slice(part);
            padded[part.len()..].fill(0.0);
            scales.push(if bits == 4 { quantize_4(&padded, &mut codes) } else { quantize_8(&padded, &mut codes) });
        }
    }
    BlockQuantized { codes, scales, block_count }
}

fn quantize_8(block: &[f32], codes: &mut Vec<u8>) -> f32 {
    let scale = extreme(block).abs() / 127.0;
    let inverse = inverse(scale);
    codes.extend(block.iter().map(|&value| round(value * inverse) as i32 as u8 ^ 0x80));
    scale
}

fn quantize_4(block: &[f32], codes: &mut Vec<u8>) -> f32 {
    let extreme = extreme(block);
    let candidates = [extreme / -8.0, extreme / 7.0].into_iter();
    let candidates = candidates.flat_map(|scale| SHRINK.map(|factor| scale * factor));
    let best = candidates.map(|scale| (error_4(block, scale), scale)).reduce(|a, b| if b.0 < a.0 { b } else { a });
    let scale = best.map_or(0.0, |(_, scale)| scale);
    let inverse = inverse(scale);
    let code = |value: f32| (code_4(value, inverse) + 8.0) as u8;
    codes.extend(block.chunks_exact(2).map(|pair| code(pair[0]) | code(pair[1]) << 4));
    scale
}

fn error_4(block: &[f32], scale: f32) -> f32 {
    let inverse = inverse(scale);
    block.iter().map(|&value| (value - code_4(value, inverse) * scale).powi(2)).sum()
}

fn code_4(value: f32, inverse: f32) -> f32 {
    round((value * inverse).clamp(-8.0, 7.0))
}

/// Value with the largest magnitude, with its sign.
fn extreme(block: &[f32]) -> f32 {
    block.iter().fold(0.0f32, |best, &value| if value.abs() > best.abs() { value } else { best })
}

/// Rounds to the nearest whole number, ties to even, in a way that compiles to vector code everywhere.
fn round(value: f32) -> f32 {
    (value + ROUND) - ROUND
}

fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Quantises `[rows, columns]` to 8 bits with the scale `max|w| / 127` per row.
#[must_use]
pub fn quantize_rows(weight: &[f32], columns: usize) -> RowQuantized {
    let mut codes = Vec::with_capacity(weight.len());
    let mut scales = Vec::with_capacity(weight.len() / columns);
    for row in weight.chunks_exact(columns) {
        let scale = extreme(row).abs() / 127.0;
        let inverse = inverse(scale);
        codes.extend(row.iter().map(|&value| round(value * inverse) as i8));
        scales.push(scale);
    }
    RowQuantized { codes, scales }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize) -> Vec<f32> {
        (0..len).map(|index| (index as f32 * 0.7).sin() * (1.0 + index as f32 * 0.01)).collect()
    }

    fn restored(quantized: &BlockQuantized, columns: usize, bits: u32, block: usize) -> Vec<f32> {
        let code = |index: usize| match bits {
            4 => f32::from(quantized.codes[index / 2] >> (4 * (index % 2)) & 15) - 8.0,
            _ => f32::from(quantized.codes[index]) - 128.0,
        };
        let rows = quantized.scales.len() / quantized.block_count;
        let place = |row: usize, column: usize| row * quantized.block_count * block + column;
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| code(place(row, column)) * quantized.scales[place(row, column) / block])
            .collect()
    }

    #[test]
    fn blocks_come_back_within_half_a_step() {
        let weight = wave(3 * 40);
        for (bits, steps) in [(4, 7.0), (8, 127.0)] {
            let quantized = quantize_blocks(&weight, 40, bits, 16);
            assert_eq!((quantized.block_count, quantized.scales.len()), (3, 9));
            let restored = restored(&quantized, 40, bits, 16);
            let rms = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
            let error = rms(&mut weight.iter().zip(&restored).map(|(a, b)| a - b));
            assert!(error < rms(&mut weight.iter().copied()) * 0.5 / steps, "{bits} bits: {error}");
        }
    }

    #[test]
    fn search_is_never_worse_than_the_plain_scale() {
        for block in wave(32 * 50).chunks_exact(32) {
            let mut codes = Vec::new();
            let scale = quantize_4(block, &mut codes);
            assert!(error_4(block, scale) <= error_4(block, extreme(block) / -8.0));
        }
    }

    #[test]
    fn zeros_stay_zero() {
        let quantized = quantize_blocks(&[0.0; 32], 32, 4, 32);
        assert!(quantized.codes.iter().all(|&code| code == 0x88));
        assert!(quantize_blocks(&[0.0; 32], 32, 8, 32).codes.iter().all(|&code| code == 128));
        assert_eq!(quantize_rows(&[0.0; 4], 4), RowQuantized { codes: vec![0; 4], scales: vec![0.0] });
    }

    #[test]
    fn rows_use_the_whole_range() {
        let quantized = quantize_rows(&[1.0, -2.0, 0.5, 0.25], 2);
        assert_eq!(quantized.codes, [64, -127, 127, 64]);
    }
}
