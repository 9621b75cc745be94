/* Packets between network interfaces and the program: one thread, AF_PACKET sockets, epoll. */
#ifndef SW_IO_H
#define SW_IO_H

#include "engine.h"

#include <net/if.h>

struct sw_port_stats {
    uint32_t port;
    uint32_t up; /* the socket is open */
    uint64_t rx_packets, rx_bytes;
    uint64_t tx_packets, tx_bytes;
    uint64_t rx_kernel_drops; /* the kernel had no room in the socket */
    uint64_t rx_oversize;     /* longer than a receive buffer */
    uint64_t tx_failures;     /* the kernel refused the frame */
    uint64_t pcap_failures;   /* a capture file could not be written and was given up */
};

/* Ports may be added while the thread does not run. EEXIST: number in use; ENODEV: no interface. */
int sw_port_add(struct sw_engine *e, uint32_t port, const char *interface);

/* Open the sockets and start the thread; on failure nothing is left open and *port is the culprit.
 */
int sw_start(struct sw_engine *e, uint32_t *port);

/* Stop the thread and close the sockets. May be called again. */
int sw_stop(struct sw_engine *e);

/* Hand a packet to the thread, as received on `port`. ENETDOWN: the thread does not run; EAGAIN:
 * too many wait already. `id` comes back with SW_EVENT_OUT. */
int sw_inject(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len, uint64_t id);

/* All packets handed in before are done when the event SW_EVENT_MARK comes. Fails as sw_inject. */
int sw_inject_mark(struct sw_engine *e, uint64_t mark);

/* What leaves by the port, or by one of its queues (`queue` SW_QUEUES: the whole port), in a second
 * at most: packets, or bits of frames without FCS; 0: no limit. Strict priority between queues. */
int sw_port_rate(struct sw_engine *e, uint32_t port, uint32_t queue, uint64_t per_second,
                 uint32_t bits);

struct sw_queue_stats {
    uint64_t packets, bytes; /* given to the kernel, or refused by it */
    uint64_t drops;          /* the queue was full */
    uint64_t waiting;
};

/* Fill out[0..SW_QUEUES). ENOENT: no such port. */
int sw_queue_stats_read(struct sw_engine *e, uint32_t port, struct sw_queue_stats *out);

/* Write what the port receives and sends to two files; while the thread does not run. */
int sw_port_pcap(struct sw_engine *e, uint32_t port, const char *in, const char *out);

/* Fill out[0..max) in order of port number; returns how many ports there are. */
int sw_port_stats_read(struct sw_engine *e, struct sw_port_stats *out, uint32_t max);

/* --- for engine.c
 * --------------------------------------------------------------------------------- */

int sw_io_create(struct sw_engine *e);
void sw_io_destroy(struct sw_engine *e);
uint8_t *sw_io_begin(struct sw_engine *e, uint32_t port);
void sw_io_commit(struct sw_engine *e, uint32_t port, uint32_t queue, uint32_t header_len,
                  const uint8_t *payload, uint32_t payload_len);
void sw_io_wake(struct sw_engine *e);

#endif
