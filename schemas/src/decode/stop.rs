//! Where the plain part of a string ends.

/// The place of the first quote, backslash or control character; 16 if there is none.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the compiler asks for a promise that the processor has SSE2")]
pub(super) fn first(bytes: &[u8; 16]) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    #[inline]
    fn stops(low: u64, high: u64) -> i32 {
        let bytes = _mm_set_epi64x(high as i64, low as i64);
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let controls = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls))
    }

    let [low, high] = words(bytes);
    // SAFETY: SSE2 is a part of this architecture, so every processor has it.
    let stops = unsafe { stops(low, high) };
    (stops | 1 << 16).trailing_zeros() as usize
}

/// As above, in plain arithmetic: the classic test for a zero byte in a word, three times for each word.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn first(bytes: &[u8; 16]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    // Of the high bits that are set the lowest tells.
    let stop = |word: u64| {
        let quote = zero(word ^ (ONES * b'"' as u64));
        let backslash = zero(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        (((quote | backslash | control) & HIGHS).trailing_zeros() / 8) as usize
    };
    let [low, high] = words(bytes).map(stop);
    if low < 8 { low } else { 8 + high }
}

#[inline]
fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let (words, _) = bytes.as_chunks::<8>();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}
