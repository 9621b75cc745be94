/* Meters: two token buckets per cell (RFC 2698), charged as BMv2 does.
 *
 * The peak bucket is asked first: a packet that it has no tokens for is red and charges nothing.
 * One that the committed bucket has no tokens for is yellow and has charged the peak bucket. A cell
 * without configuration is green. Buckets start full.
 */
#ifndef SW_METER_H
#define SW_METER_H

#include "bits.h"

enum { SW_GREEN = 0, SW_YELLOW = 1, SW_RED = 2 };

struct sw_meter_config {
    uint64_t cir, cburst, pir, pburst; /* units per second, units */
};

struct sw_bucket {
    uint64_t burst, tokens, filled; /* filled: tokens that time has brought since the start */
    double per_us;
};

struct sw_meter {
    struct sw_meter_config config;
    struct sw_bucket committed, peak;
    bool configured;
    uint64_t marked[3][2]; /* packets and bytes by colour */
};

void sw_meter_configure(struct sw_meter *m, const struct sw_meter_config *config);

/* Count a packet of so many bytes. */
SW_INLINE void sw_meter_mark(struct sw_meter *m, uint32_t color, uint32_t bytes) {
    m->marked[color][0]++;
    m->marked[color][1] += bytes;
}

/* Charge units at now_us; returns the colour. */
uint32_t sw_meter_charge(struct sw_meter *m, uint64_t now_us, uint64_t units);

#endif
