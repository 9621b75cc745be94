/* A port of the packet thread: its sockets, its receive ring, and what waits to be sent. */
#ifndef SW_PORT_H
#define SW_PORT_H

#include "io.h"
#include "pcap.h"
#include "queue.h"
#include "ring.h"

#include <sys/socket.h>
#include <sys/uio.h>

#define SW_BATCH 64

struct sw_port {
    struct sw_port_stats stats;
    char interface[IF_NAMESIZE];
    int fd;  /* receives */
    int out; /* sends; not watched, or every packet sent would look for who waits for room */
    struct sw_ring ring;
    uint32_t pending;
    bool dirty;
    struct mmsghdr messages[SW_BATCH];
    struct iovec parts[SW_BATCH][2];
    uint8_t *headers;         /* SW_BATCH times header_bytes */
    struct sw_shaper *shaper; /* with a rate */
    struct sw_queue_stats queues[SW_QUEUES];
    struct sw_pcap received, sent;
};

/* Statistics are read by other threads without a lock. */
SW_INLINE void sw_stat(uint64_t *counter, uint64_t n) {
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* A port at an interface without sockets, or NULL: no memory. */
struct sw_port *sw_port_new(uint32_t number, const char *interface);
void sw_port_free(struct sw_port *p);

/* Open its sockets, with a receive ring of so many slots. 0 or a negative errno. */
int sw_port_open(struct sw_port *p, uint32_t slots);
void sw_port_close(struct sw_port *p);

/* Send what is pending. */
void sw_port_flush(struct sw_port *p);

/* Send a packet that had waited, and free it. */
void sw_port_send(struct sw_port *p, struct sw_queued *q);

/* Add what the kernel dropped since to the statistics. */
void sw_port_count_drops(struct sw_port *p);

#endif
