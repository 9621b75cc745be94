/* Integers of n 64-bit limbs, least significant first, two's complement. */
#ifndef SW_WIDE_H
#define SW_WIDE_H

#include "bits.h"

SW_INLINE void sw_wide_copy(uint64_t *d, uint32_t n, const uint64_t *s, uint32_t m, bool sign) {
    uint64_t fill = sign && (s[m - 1] >> 63) ? ~0ull : 0;
    for (uint32_t i = 0; i < n; i++)
        d[i] = i < m ? s[i] : fill;
}

SW_INLINE void sw_wide_from128(uint64_t *d, uint32_t n, sw_u128 value, bool sign) {
    uint64_t limbs[2] = {(uint64_t)value, (uint64_t)(value >> 64)};
    sw_wide_copy(d, n, limbs, 2, sign);
}

SW_INLINE void sw_wide_from64(uint64_t *d, uint32_t n, uint64_t value, bool sign) {
    sw_wide_copy(d, n, &value, 1, sign);
}

SW_INLINE sw_u128 sw_wide_low128(const uint64_t *s) {
    return sw_pair(s[1], s[0]);
}

SW_INLINE void sw_wide_add(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    sw_u128 carry = 0;
    for (uint32_t i = 0; i < n; i++) {
        carry += (sw_u128)a[i] + b[i];
        d[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

SW_INLINE void sw_wide_sub(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    sw_u128 carry = 1;
    for (uint32_t i = 0; i < n; i++) {
        carry += (sw_u128)a[i] + (uint64_t)~b[i];
        d[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* d must not overlap a or b. */
SW_INLINE void sw_wide_mul(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    memset(d, 0, n * sizeof *d);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; i + j < n; j++) {
            sw_u128 t = (sw_u128)a[i] * b[j] + d[i + j] + carry;
            d[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
}

SW_INLINE void sw_wide_and(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        d[i] = a[i] & b[i];
}

SW_INLINE void sw_wide_or(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        d[i] = a[i] | b[i];
}

SW_INLINE void sw_wide_xor(uint64_t *d, const uint64_t *a, const uint64_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        d[i] = a[i] ^ b[i];
}

SW_INLINE void sw_wide_not(uint64_t *d, const uint64_t *a, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        d[i] = ~a[i];
}

/* d must not overlap a. */
SW_INLINE void sw_wide_shl(uint64_t *d, const uint64_t *a, uint32_t n, uint32_t by) {
    uint32_t limbs = by / 64, bits = by % 64;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t low = i >= limbs ? a[i - limbs] : 0;
        uint64_t lower = i > limbs ? a[i - limbs - 1] : 0;
        d[i] = bits ? low << bits | lower >> (64 - bits) : low;
    }
}

/* d must not overlap a. Shifts in the sign if sign is set, else zeros. */
SW_INLINE void sw_wide_shr(uint64_t *d, const uint64_t *a, uint32_t n, uint32_t by, bool sign) {
    uint32_t limbs = by / 64, bits = by % 64;
    uint64_t fill = sign && (a[n - 1] >> 63) ? ~0ull : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t high = limbs < n - i ? a[i + limbs] : fill;
        uint64_t higher = limbs + 1 < n - i ? a[i + limbs + 1] : fill;
        d[i] = bits ? high >> bits | higher << (64 - bits) : high;
    }
}

/* Keep the low width bits and extend with zeros or with the sign. */
SW_INLINE void sw_wide_trim(uint64_t *d, uint32_t n, uint32_t width, bool sign) {
    uint64_t fill = 0;
    for (uint32_t i = 0; i < n; i++) {
        if ((i + 1) * 64 <= width) {
            fill = sign && (d[i] >> 63) ? ~0ull : 0;
        } else if (i * 64 < width) {
            uint32_t keep = width - i * 64;
            uint64_t low = d[i] & ((1ull << keep) - 1);
            fill = sign && (low >> (keep - 1)) ? ~0ull : 0;
            d[i] = low | fill << keep;
        } else {
            d[i] = fill;
        }
    }
}

SW_INLINE void sw_wide_pick(uint64_t *d, bool c, const uint64_t *a, const uint64_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        d[i] = c ? a[i] : b[i];
}

/* -1, 0 or 1. */
SW_INLINE int sw_wide_cmp(const uint64_t *a, const uint64_t *b, uint32_t n, bool sign) {
    if (sign && (a[n - 1] ^ b[n - 1]) >> 63)
        return a[n - 1] >> 63 ? -1 : 1;
    for (uint32_t i = n; i-- > 0;)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

SW_INLINE void sw_wide_get(uint64_t *d, uint32_t n, const uint8_t *p, uint32_t at, uint32_t width) {
    memset(d, 0, n * sizeof *d);
    for (uint32_t i = 0; i < width; i++)
        d[i / 64] |= (uint64_t)sw_bit(p, at + width - 1 - i) << i % 64;
}

SW_INLINE void sw_wide_put(uint8_t *p, uint32_t at, uint32_t width, const uint64_t *s) {
    for (uint32_t i = 0; i < width; i++)
        sw_put_bit(p, at + width - 1 - i, s[i / 64] >> i % 64 & 1);
}

#endif
