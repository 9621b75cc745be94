/* CRC-16 as BMv2 computes it for action selectors: polynomial 0x8005, reflected, start 0. */
#ifndef SW_CRC_H
#define SW_CRC_H

#include "bits.h"

extern const uint16_t sw_crc16_table[256];

SW_INLINE uint32_t sw_crc16(const uint8_t *p, uint32_t n) {
    uint16_t crc = 0;
    for (uint32_t i = 0; i < n; i++)
        crc = (uint16_t)(crc >> 8 ^ sw_crc16_table[(crc ^ p[i]) & 0xff]);
    return crc;
}

#endif
