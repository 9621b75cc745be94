#include "meter.h"

/* Units per microsecond that a rate counts as at most, so that no sum overflows within years. */
#define MOST_PER_US 1e5

static void start(struct sw_bucket *b, uint64_t per_second, uint64_t burst) {
    double per_us = (double)per_second / 1e6;
    b->per_us = per_us < MOST_PER_US ? per_us : MOST_PER_US;
    b->burst = b->tokens = burst;
    b->filled = 0;
}

void sw_meter_configure(struct sw_meter *m, const struct sw_meter_config *config) {
    m->configured = config != NULL;
    if (!config)
        return;
    m->config = *config;
    start(&m->committed, config->cir, config->cburst);
    start(&m->peak, config->pir, config->pburst);
}

/* Tokens are counted from the start of time, so that rounding does not add up. */
static bool take(struct sw_bucket *b, uint64_t now_us, uint64_t units) {
    uint64_t filled = (uint64_t)((double)now_us * b->per_us);
    uint64_t fresh = filled - b->filled, missing = b->burst - b->tokens;
    b->filled = filled;
    b->tokens += fresh < missing ? fresh : missing;
    if (b->tokens < units)
        return false;
    b->tokens -= units;
    return true;
}

uint32_t sw_meter_charge(struct sw_meter *m, uint64_t now_us, uint64_t units) {
    if (!m->configured)
        return SW_GREEN;
    if (!take(&m->peak, now_us, units))
        return SW_RED;
    return take(&m->committed, now_us, units) ? SW_GREEN : SW_YELLOW;
}
