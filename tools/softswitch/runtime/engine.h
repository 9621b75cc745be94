/* One running instance of a generated program: tables, counters, multicast groups, ports.
 *
 * The control side calls the sw_* functions below from any thread; each takes the engine's lock,
 * which the packet thread holds for one batch at a time. They return 0 or a negative errno.
 */
#ifndef SW_ENGINE_H
#define SW_ENGINE_H

#include "table.h"

#include <pthread.h>

#define SW_DROP_PORT 511
#define SW_QUEUES 8

enum { SW_INSTANCE_NORMAL = 0, SW_INSTANCE_REPLICATION = 5 };

struct sw_engine;

struct sw_packet {
    const uint8_t *data;
    uint32_t len;    /* as received; what counters count */
    uint32_t port;   /* ingress port */
    uint32_t offset; /* bytes that the parser consumed; the rest is payload */
    uint32_t error;  /* parser_error */
    bool bad_checksum;
    bool exit;
    uint64_t length; /* packet_length as the egress pipeline will see it */
};

struct sw_program {
    uint32_t n_tables;
    const struct sw_table_desc *tables;
    uint32_t n_counters;
    const uint32_t *counter_sizes;
    uint32_t header_bytes; /* the most that the deparser writes */
    void (*receive)(struct sw_engine *e, const uint8_t *data, uint32_t len, uint32_t port);
};

/* The generated program defines it. */
extern const struct sw_program sw_program;

struct sw_counter {
    uint64_t packets, bytes;
};

struct sw_replica {
    uint32_t port, rid;
};

struct sw_group_copies {
    uint32_t n;
    struct sw_replica replicas[];
};

struct sw_drops {
    uint64_t unknown_port; /* sent to a port that does not exist */
    uint64_t priority;     /* standard_metadata.priority beyond the number of queues */
};

/* Where process() collects what came out: records of port, length (both 32 bits), bytes. */
struct sw_sink {
    uint8_t *data;
    size_t used, capacity;
    bool failed; /* out of memory */
};

struct sw_engine {
    struct sw_table *tables;
    struct sw_counter **counters;
    struct sw_group_copies **groups; /* by group id, SW_GROUPS of them */
    struct sw_drops drops;
    uint64_t start_us;
    /* The lock is fair: whoever waits for `turn` holds the next place. */
    pthread_mutex_t lock, turn;
    struct sw_io *io;
    struct sw_sink *sink; /* set while process() runs */
    struct sw_sink processed;
    uint8_t *scratch;
};

#define SW_GROUPS 65536

void sw_lock(struct sw_engine *e);
void sw_unlock(struct sw_engine *e);

/* --- for the generated program -----------------------------------------------------------------
 */

/* Room for the headers of a packet that leaves by port, or NULL if there is no such port. */
uint8_t *sw_out_begin(struct sw_engine *e, uint32_t port);

/* Send the headers written there, followed by payload. */
void sw_out_commit(struct sw_engine *e, uint32_t port, uint32_t header_len, const uint8_t *payload,
                   uint32_t payload_len);

/* Microseconds since the engine was created. */
uint64_t sw_now_us(const struct sw_engine *e);

SW_INLINE void sw_count(struct sw_engine *e, uint32_t counter, uint64_t index,
                        const struct sw_packet *k) {
    uint32_t i = (uint32_t)index;
    if (i >= sw_program.counter_sizes[counter])
        return;
    e->counters[counter][i].packets++;
    e->counters[counter][i].bytes += k->len;
}

/* --- for the control side -----------------------------------------------------------------------
 */

struct sw_engine *sw_create(void);
void sw_destroy(struct sw_engine *e);

int sw_insert(struct sw_engine *e, uint32_t table, const uint64_t *key, const uint64_t *mask,
              uint32_t priority, uint32_t action, const uint64_t *args, uint64_t *handle);
int sw_modify(struct sw_engine *e, uint32_t table, uint64_t handle, uint32_t action,
              const uint64_t *args);
int sw_delete(struct sw_engine *e, uint32_t table, uint64_t handle);
int sw_set_default(struct sw_engine *e, uint32_t table, uint32_t action, const uint64_t *args);
int sw_entry_count(struct sw_engine *e, uint32_t table, uint32_t *entries);

int sw_direct_read(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *packets,
                   uint64_t *bytes);
int sw_direct_write(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t packets,
                    uint64_t bytes);
int sw_counter_read(struct sw_engine *e, uint32_t counter, uint32_t first, uint32_t count,
                    struct sw_counter *out);
int sw_counter_write(struct sw_engine *e, uint32_t counter, uint32_t index, uint64_t packets,
                     uint64_t bytes);

int sw_group_set(struct sw_engine *e, uint32_t group, uint32_t n, const struct sw_replica *copies);
int sw_group_delete(struct sw_engine *e, uint32_t group);

int sw_drops_read(struct sw_engine *e, struct sw_drops *out);

/* Run one packet and leave what came out in *out, valid until the next call. */
int sw_process(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len,
               const uint8_t **out, size_t *out_len);

#endif
