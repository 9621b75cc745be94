/* What the packet thread has to tell the control side: packets for the CPU port, digests, entries
 * that nothing has hit. A bounded queue; what does not fit is counted. An eventfd says that there
 * is something. Any thread may add and take.
 */
#ifndef SW_EVENT_H
#define SW_EVENT_H

#include "bits.h"

#include <pthread.h>
#include <stddef.h>

enum {
    SW_EVENT_PACKET = 1,
    SW_EVENT_DIGEST = 2,
    SW_EVENT_IDLE = 3,
    SW_EVENT_OUT = 4,
    SW_EVENT_MARK = 5
};

/* A record: kind and length (32 bits each), then length bytes, padded to 8. A digest's bytes are
 * the learn list and its values, 64 bits each; an idle entry's its table and handle, 64 bits each;
 * those of a packet out of a port: port and id, 64 bits each, then the packet; those of a mark: its
 * number, 64 bits.
 */
struct sw_events {
    pthread_mutex_t lock;
    uint8_t *data;
    size_t used, capacity;
    uint64_t lost;
    int fd;
};

int sw_events_init(struct sw_events *q);
void sw_events_destroy(struct sw_events *q);
void sw_events_add(struct sw_events *q, uint32_t kind, const void *a, size_t a_len, const void *b,
                   size_t b_len);

/* Hand the records over: *data is the caller's to free. */
void sw_events_take(struct sw_events *q, uint8_t **data, size_t *len);

/* Records that there was no room for, ever. */
uint64_t sw_events_lost(struct sw_events *q);

#endif
