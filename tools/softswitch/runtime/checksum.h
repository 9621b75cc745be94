/* The Internet checksum (RFC 1071). */
#ifndef SW_CHECKSUM_H
#define SW_CHECKSUM_H

#include "bits.h"

/* Sum of the 16-bit big-endian words of n bytes; odd says that the first byte is a word's second.
 */
SW_INLINE uint64_t sw_sum(const uint8_t *p, uint32_t n, bool odd) {
    uint64_t sum = 0;
    if (odd && n) {
        sum += p[0];
        p++;
        n--;
    }
    for (; n >= 4; p += 4, n -= 4)
        sum += sw_get32(p);
    if (n >= 2) {
        sum += sw_get16(p);
        p += 2;
        n -= 2;
    }
    if (n)
        sum += (uint64_t)p[0] << 8;
    return sum;
}

/* The complement of a sum, folded to 16 bits. */
SW_INLINE uint64_t sw_checksum(uint64_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

#endif
