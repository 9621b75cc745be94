/* Big-endian byte and bit access, and integers wider than 128 bits.
 *
 * Bit offsets count from the most significant bit of the first byte, as in packet headers. Wide
 * integers are arrays of 64-bit limbs, least significant first, in two's complement. Nothing here
 * reads or writes outside of the bits it was asked for.
 */
#ifndef SW_BITS_H
#define SW_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned __int128 sw_u128;
typedef __int128 sw_i128;

#define SW_INLINE static inline __attribute__((always_inline, unused))

SW_INLINE sw_u128 sw_pair(uint64_t high, uint64_t low) {
    return (sw_u128)high << 64 | low;
}

/* --- whole bytes ---------------------------------------------------------------------------- */

SW_INLINE uint64_t sw_get8(const uint8_t *p) {
    return p[0];
}

SW_INLINE uint64_t sw_get16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

SW_INLINE uint64_t sw_get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

SW_INLINE uint64_t sw_get64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

/* The number in n bytes, n from 1 to 8. With a constant n this is one to three loads. */
SW_INLINE uint64_t sw_get(const uint8_t *p, unsigned n) {
    switch (n) {
    case 1:
        return sw_get8(p);
    case 2:
        return sw_get16(p);
    case 3:
        return sw_get16(p) << 8 | sw_get8(p + 2);
    case 4:
        return sw_get32(p);
    case 5:
        return sw_get32(p) << 8 | sw_get8(p + 4);
    case 6:
        return sw_get32(p) << 16 | sw_get16(p + 4);
    case 7:
        return sw_get32(p) << 24 | sw_get16(p + 4) << 8 | sw_get8(p + 6);
    default:
        return sw_get64(p);
    }
}

/* The number in n bytes, n from 9 to 16. */
SW_INLINE sw_u128 sw_get_long(const uint8_t *p, unsigned n) {
    return (sw_u128)sw_get64(p) << ((n - 8) * 8) | sw_get(p + 8, n - 8);
}

SW_INLINE void sw_put16(uint8_t *p, uint64_t value) {
    uint16_t v = __builtin_bswap16((uint16_t)value);
    memcpy(p, &v, 2);
}

SW_INLINE void sw_put32(uint8_t *p, uint64_t value) {
    uint32_t v = __builtin_bswap32((uint32_t)value);
    memcpy(p, &v, 4);
}

SW_INLINE void sw_put64(uint8_t *p, uint64_t value) {
    uint64_t v = __builtin_bswap64(value);
    memcpy(p, &v, 8);
}

/* Write the low n bytes of value, n from 1 to 8. */
SW_INLINE void sw_put(uint8_t *p, unsigned n, uint64_t value) {
    switch (n) {
    case 1:
        p[0] = (uint8_t)value;
        break;
    case 2:
        sw_put16(p, value);
        break;
    case 3:
        sw_put16(p, value >> 8);
        p[2] = (uint8_t)value;
        break;
    case 4:
        sw_put32(p, value);
        break;
    case 5:
        sw_put32(p, value >> 8);
        p[4] = (uint8_t)value;
        break;
    case 6:
        sw_put32(p, value >> 16);
        sw_put16(p + 4, value);
        break;
    case 7:
        sw_put32(p, value >> 24);
        sw_put16(p + 4, value >> 8);
        p[6] = (uint8_t)value;
        break;
    default:
        sw_put64(p, value);
        break;
    }
}

/* Write the low n bytes of value, n from 9 to 16. */
SW_INLINE void sw_put_long(uint8_t *p, unsigned n, sw_u128 value) {
    sw_put64(p, (uint64_t)(value >> ((n - 8) * 8)));
    sw_put(p + 8, n - 8, (uint64_t)value);
}

/* --- single bits: slow, for layouts that fit no byte boundary --------------------------------- */

SW_INLINE unsigned sw_bit(const uint8_t *p, uint32_t at) {
    return p[at / 8] >> (7 - at % 8) & 1;
}

SW_INLINE sw_u128 sw_get_bits(const uint8_t *p, uint32_t at, uint32_t width) {
    sw_u128 value = 0;
    for (uint32_t i = 0; i < width; i++)
        value = value << 1 | sw_bit(p, at + i);
    return value;
}

SW_INLINE void sw_put_bit(uint8_t *p, uint32_t at, unsigned bit) {
    uint8_t mask = (uint8_t)(0x80 >> at % 8);
    p[at / 8] = (uint8_t)(bit ? p[at / 8] | mask : p[at / 8] & ~mask);
}

SW_INLINE void sw_put_bits(uint8_t *p, uint32_t at, uint32_t width, sw_u128 value) {
    for (uint32_t i = 0; i < width; i++)
        sw_put_bit(p, at + i, (unsigned)(value >> (width - 1 - i)) & 1);
}

/* --- shifts that are defined for every amount ------------------------------------------------- */

SW_INLINE uint64_t sw_shl64(uint64_t x, uint32_t n) {
    return n < 64 ? x << n : 0;
}

SW_INLINE sw_u128 sw_shl128(sw_u128 x, uint32_t n) {
    return n < 128 ? x << n : 0;
}

SW_INLINE uint64_t sw_shr64(uint64_t x, uint32_t n) {
    return n < 64 ? x >> n : 0;
}

SW_INLINE sw_u128 sw_shr128(sw_u128 x, uint32_t n) {
    return n < 128 ? x >> n : 0;
}

SW_INLINE uint64_t sw_sar64(uint64_t x, uint32_t n) {
    return (uint64_t)((int64_t)x >> (n < 63 ? n : 63));
}

SW_INLINE sw_u128 sw_sar128(sw_u128 x, uint32_t n) {
    return (sw_u128)((sw_i128)x >> (n < 127 ? n : 127));
}

/* Sign extension from bit width-1; width from 1 to 64, or to 128. */
SW_INLINE uint64_t sw_sign64(uint64_t x, uint32_t width) {
    return (uint64_t)((int64_t)(x << (64 - width)) >> (64 - width));
}

SW_INLINE sw_u128 sw_sign128(sw_u128 x, uint32_t width) {
    return (sw_u128)((sw_i128)(x << (128 - width)) >> (128 - width));
}

/* A divisor of zero, which P4 leaves undefined, gives zero. */
SW_INLINE uint64_t sw_div64(uint64_t a, uint64_t b) {
    return b ? a / b : 0;
}

SW_INLINE uint64_t sw_mod64(uint64_t a, uint64_t b) {
    return b ? a % b : 0;
}

SW_INLINE sw_u128 sw_div128(sw_u128 a, sw_u128 b) {
    return b ? a / b : 0;
}

SW_INLINE sw_u128 sw_mod128(sw_u128 a, sw_u128 b) {
    return b ? a % b : 0;
}

#endif
