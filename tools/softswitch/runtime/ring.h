/* The receive ring of an AF_PACKET socket (TPACKET_V2): frames are read where the kernel put them.
 *
 * The kernel hands over frame by frame, so a single packet waits for no timer. A frame that is
 * longer than a slot comes through the socket's queue instead; the slot says that it is there.
 * SW_RING_ROOM bytes before each frame may be overwritten.
 */
#ifndef SW_RING_H
#define SW_RING_H

#include "bits.h"

#define SW_RING_FRAME_MAX 65536
#define SW_RING_ROOM 4 /* for a VLAN tag */

struct sw_ring {
    uint8_t *map;
    size_t bytes;
    uint8_t **slots;
    uint32_t n, at; /* slots; the next to be read */
    int fd;
};

struct sw_frame {
    uint8_t *data; /* NULL: longer than SW_RING_FRAME_MAX, or the queue had no room for it */
    uint32_t len;
    bool queued; /* valid until the next queued frame */
};

/* About `frames` slots on a bound or unbound packet socket; 0 or a negative errno. */
int sw_ring_open(struct sw_ring *r, int fd, uint32_t frames);
void sw_ring_close(struct sw_ring *r);

/* How many frames wait, at most `most`. */
uint32_t sw_ring_waiting(const struct sw_ring *r, uint32_t most);

/* The waiting frame number i, with its VLAN tag where it was on the wire. `room` takes a queued
 * frame: SW_RING_ROOM and SW_RING_FRAME_MAX bytes. */
struct sw_frame sw_ring_frame(const struct sw_ring *r, uint32_t i, uint8_t *room);

/* Ask for the memory of a frame that is read soon. */
void sw_ring_prefetch(const struct sw_ring *r, uint32_t i);

/* Give n frames back to the kernel. */
void sw_ring_release(struct sw_ring *r, uint32_t n);

#endif
