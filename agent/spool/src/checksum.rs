//! CRC-32C of the same bytes in several sums, for which they are gone through once.
//!
//! What a camera gives goes into two checksums: that of its record and that of its fragment. Checksums are polynomials over GF(2), and
//! n bytes that follow multiply what stands before them by x⁸ⁿ, modulo CRC-32C's own polynomial. The highest bit of a number is its
//! lowest power, as in the checksums themselves. `crc32c_combine` does the same by squaring matrices, which takes longer than a picture.

use bytes::Bytes;

/// CRC-32C's polynomial, without its x³².
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// Fewer bytes are gone through for each sum: that takes less than to multiply.
const ONCE_FROM: usize = 2048;

/// What n bytes multiply by, at `[k][digit]` for each digit of n to the base 256.
const FACTORS: [[u32; 256]; 4] = {
    let mut factors = [[ONE; 256]; 4];
    // x⁸
    let mut first = ONE >> 8;
    let mut k = 0;
    while k < factors.len() {
        let mut digit = 1;
        while digit < 256 {
            factors[k][digit] = product(factors[k][digit - 1], first);
            digit += 1;
        }
        first = product(factors[k][255], first);
        k += 1;
    }
    factors
};

/// Each of the sums, with `pieces` behind what it is of.
pub(crate) fn append_to_each<const N: usize>(sums: [u32; N], pieces: &[Bytes]) -> [u32; N] {
    let append = |sum| pieces.iter().fold(sum, |sum, piece| crc32c::crc32c_append(sum, piece));
    let bytes = pieces.iter().map(Bytes::len).sum();
    if N == 1 || bytes < ONCE_FROM {
        return sums.map(append);
    }
    let (own, factor) = (append(0), factor(bytes));
    sums.map(|sum| product(factor, sum) ^ own)
}

fn factor(bytes: usize) -> u32 {
    let digits =
        u32::try_from(bytes).expect("a record is smaller than a fragment, which is at most 50 MiB").to_le_bytes();
    let factors = FACTORS.iter().zip(digits).filter(|(_, digit)| *digit > 0);
    factors.fold(ONE, |factor, (of, digit)| match of[usize::from(digit)] {
        first if factor == ONE => first,
        next => product(factor, next),
    })
}

/// The product of two polynomials.
const fn product(a: u32, b: u32) -> u32 {
    let (mut sum, mut term, mut rest) = (0, b, a);
    while rest != 0 {
        if rest & ONE != 0 {
            sum ^= term;
        }
        rest <<= 1;
        term = if term & 1 == 1 { (term >> 1) ^ POLYNOMIAL } else { term >> 1 };
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_appended_to_each_sum_as_if_to_it_alone(
            before in any::<[u32; 3]>(),
            first in proptest::collection::vec(any::<u8>(), 0..300),
            second in proptest::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let joined = [first.clone(), second.clone()].concat();
            let sums = append_to_each(before, &[first.into(), Bytes::new(), second.into()]);
            prop_assert_eq!(sums, before.map(|sum| crc32c::crc32c_append(sum, &joined)));
        }
    }

    #[test]
    fn a_length_with_any_digits_is_known() {
        for bytes in (0..32).flat_map(|bit| [1 << bit, (1_usize << bit) - 1, (1 << bit) + 0x0102_0304]) {
            let expected = crc32c::crc32c_combine(0x1234_5678, 0, bytes);
            assert_eq!(product(factor(bytes), 0x1234_5678), expected, "{bytes} bytes");
        }
    }
}
