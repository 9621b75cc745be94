/* The egress queues of a port with a rate: strict priority, rates of the port and of its queues.
 *
 * Queue SW_QUEUES - 1 is served first; one that has used up its own rate lets those below it go.
 * Each holds SW_QUEUE_DEPTH packets; what does not fit is dropped by the caller. Nothing here
 * locks: the caller holds the engine's lock. Times are sw_clock_us().
 */
#ifndef SW_QUEUE_H
#define SW_QUEUE_H

#include "engine.h"

#define SW_QUEUE_DEPTH 64
#define SW_WHOLE_PORT SW_QUEUES /* in place of a queue: all of them together */

/* In a second at most so many packets, or bits of frames without FCS; 0: no limit. */
struct sw_rate {
    uint64_t per_second;
    bool bits;
};

struct sw_queued {
    struct sw_queued *next;
    uint32_t len;
    uint32_t queue;
    uint8_t data[];
};

struct sw_shaper;

struct sw_shaper *sw_shaper_new(void);
void sw_shaper_free(struct sw_shaper *s);

/* Another rate for what waits and what comes. */
void sw_shaper_rate(struct sw_shaper *s, uint32_t queue, struct sw_rate rate);

/* No rate is left and nothing waits: the port needs no queues any more. */
bool sw_shaper_ended(const struct sw_shaper *s);

/* Throw away what waits. */
void sw_shaper_clear(struct sw_shaper *s);

/* Copy a packet into a queue; false if it is full. */
bool sw_shaper_put(struct sw_shaper *s, uint32_t queue, const uint8_t *headers, uint32_t header_len,
                   const uint8_t *payload, uint32_t payload_len);

/* The next packet if one is due, the caller's to free; else NULL. */
struct sw_queued *sw_shaper_take(struct sw_shaper *s, uint64_t now_us);

/* When the next packet is due; 0 if none waits. */
uint64_t sw_shaper_next(const struct sw_shaper *s);

uint32_t sw_shaper_depth(const struct sw_shaper *s, uint32_t queue);

#endif
