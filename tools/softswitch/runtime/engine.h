/* One running instance of a generated program: tables, counters, multicast groups, ports.
 *
 * The control side calls the sw_* functions below from any thread; each takes the engine's lock,
 * which the packet thread holds for one batch at a time. They return 0 or a negative errno.
 */
#ifndef SW_ENGINE_H
#define SW_ENGINE_H

#include "cells.h"
#include "event.h"
#include "meter.h"
#include "profile.h"
#include "table.h"

#include <pthread.h>

#define SW_DROP_PORT 511
#define SW_QUEUES 8

#define SW_AGE_MOST 1024 /* entries that are looked at while packets wait */
#define SW_NO_PORT UINT32_MAX
#define SW_MAX_CLONES 8 /* of clones of clones */
#define SW_MAX_PASSES 32

enum {
    SW_INSTANCE_NORMAL = 0,
    SW_INSTANCE_INGRESS_CLONE = 1,
    SW_INSTANCE_EGRESS_CLONE = 2,
    SW_INSTANCE_RECIRCULATED = 4,
    SW_INSTANCE_REPLICATION = 5,
    SW_INSTANCE_RESUBMITTED = 6
};

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
    uint64_t now_us; /* received */
    uint32_t digest; /* learn list to report, counted from 1; 0: none */
    bool cloned;
    uint32_t clone_session, clone_list;
    bool ingress_cloned;
    uint32_t ingress_clone_session, ingress_clone_list;
    uint32_t resubmit, recirculate; /* field list of what begins anew, counted from 1; 0: nothing */
    uint32_t passes;                /* how often it has begun anew */
    uint32_t depth;                 /* clone of a clone of ... */
    uint32_t truncate;              /* send at most so many bytes; 0: all */
};

struct sw_program {
    uint32_t n_tables;
    const struct sw_table_desc *tables;
    uint32_t n_counters;
    const uint32_t *counter_sizes;
    uint32_t n_meters;
    const uint32_t *meter_sizes;
    const bool *meter_counts_packets;
    uint32_t n_registers;
    const struct sw_register_desc *registers;
    const uint8_t *table_meters; /* by table: SW_NO_METER, ... */
    uint32_t n_profiles;
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

struct sw_session {
    uint32_t id, n;
    uint32_t truncate; /* of the clones; 0: not */
    struct sw_replica *replicas;
};

struct sw_drops {
    uint64_t unknown_port; /* sent to a port that does not exist */
    uint64_t priority;     /* standard_metadata.priority beyond the number of queues */
    uint64_t clones;       /* clones of clones beyond SW_MAX_CLONES */
    uint64_t passes;       /* begun anew more than SW_MAX_PASSES times */
    uint64_t queue_full;   /* of a port with a rate */
    uint64_t events;       /* packet-ins, digests and idle entries that the queue had no room for */
};

/* Where process() collects what came out: records of port, length (both 32 bits), bytes. */
struct sw_sink {
    uint8_t *data;
    size_t used, capacity;
    bool failed; /* out of memory */
    bool counts; /* only count, in `used` the packets */
};

struct sw_engine {
    struct sw_table *tables;
    struct sw_counter **counters;
    struct sw_meter **meters;
    uint64_t **registers;
    struct sw_direct_meter **direct_meters; /* by table, then by handle */
    struct sw_profile *profiles;
    struct sw_group_copies **groups; /* by group id, SW_GROUPS of them */
    struct sw_session *sessions;     /* clone sessions */
    uint32_t n_sessions;
    struct sw_events events;
    uint32_t cpu_port; /* SW_NO_PORT: none */
    bool events_only;  /* every port's packets are events, no interface is asked */
    uint64_t injected; /* id of the packet under way */
    uint64_t holder;   /* thread that holds the lock over several calls; 0: none */
    uint32_t ageing;   /* entries with an idle timeout */
    struct {
        uint32_t table, handle;
    } aged; /* where sw_age() goes on */
    struct sw_drops drops;
    uint64_t start_us, packet_us;
    uint64_t passes; /* of packets through the tables, counted at the beginning and at the end */
    /* The lock is fair: whoever waits for `turn` holds the next place. */
    pthread_mutex_t lock, turn;
    pthread_mutex_t edit; /* of whoever changes tables; taken before the lock */
    struct sw_io *io;
    struct sw_wire *wire; /* NULL: no table is described */
    struct sw_sink *sink; /* set while process() runs */
    struct sw_sink processed;
    struct sw_room *rooms; /* of this batch */
    uint8_t *scratch;      /* room for headers, behind SW_OUT_PREFIX bytes */
};

#define SW_GROUPS 65536
#define SW_OUT_PREFIX 16

/* For the control side alone: to look at entries, or change tables, without keeping packets out. */
void sw_edit(struct sw_engine *e);
void sw_edited(struct sw_engine *e);

void sw_lock(struct sw_engine *e);
void sw_unlock(struct sw_engine *e);

/* Keep the lock for all calls of this thread until sw_release: no packet sees anything between. */
int sw_hold(struct sw_engine *e);
int sw_release(struct sw_engine *e);

/* --- for the generated program -----------------------------------------------------------------
 */

/* Room for the headers of a packet that leaves by port, or NULL if there is no such port. */
uint8_t *sw_out_begin(struct sw_engine *e, uint32_t port);

/* Send the headers written there, followed by payload. `queue` counts where the port has a rate. */
void sw_out_commit(struct sw_engine *e, uint32_t port, uint32_t queue, uint32_t header_len,
                   const uint8_t *payload, uint32_t payload_len);

/* Packets that wait in a port's queue. */
uint32_t sw_queue_depth(const struct sw_engine *e, uint32_t port, uint64_t queue);

/* Room for a packet that begins anew, until what came of it is sent. NULL: no memory. */
uint8_t *sw_room(struct sw_engine *e, uint32_t len);

const struct sw_session *sw_session(const struct sw_engine *e, uint32_t id);

void sw_event_digest(struct sw_engine *e, uint64_t learn, uint32_t n, const uint64_t *values);

/* Charge the packet; false and no colour if there is no such cell. */
SW_INLINE bool sw_meter(struct sw_engine *e, uint32_t meter, uint64_t index,
                        const struct sw_packet *k, uint64_t *color) {
    if (index >= sw_program.meter_sizes[meter])
        return false;
    uint64_t units = sw_program.meter_counts_packets[meter] ? 1 : k->len;
    *color = sw_meter_charge(&e->meters[meter][index], k->now_us, units);
    sw_meter_mark(&e->meters[meter][index], (uint32_t)*color, k->len);
    return true;
}

/* Microseconds of the monotonic clock. */
uint64_t sw_clock_us(void);

/* Microseconds since the engine was created. */
uint64_t sw_now_us(const struct sw_engine *e);

/* What packets take for the time: that at which their batch was taken up. */
SW_INLINE uint64_t sw_packet_us(const struct sw_engine *e) {
    return e->packet_us;
}

/* Take up a batch, and be done with it. */
SW_INLINE void sw_begin(struct sw_engine *e) {
    sw_lock(e);
    __atomic_store_n(&e->passes, e->passes + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* before any entry is looked up */
    e->packet_us = sw_now_us(e);
}

/* What sw_room() gave is the caller's, who frees it when everything is sent. */
SW_INLINE struct sw_room *sw_end(struct sw_engine *e) {
    struct sw_room *rooms = e->rooms;
    e->rooms = NULL;
    __atomic_store_n(&e->passes, e->passes + 1, __ATOMIC_RELEASE);
    sw_unlock(e);
    return rooms;
}

void sw_free_rooms(struct sw_room *rooms);

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
/* The same for who edits. */
int sw_remove(struct sw_engine *e, struct sw_table *t, uint64_t handle);
/* Handles of the entries with this key and priority (0: of any); returns how many there are. */
int sw_find(struct sw_engine *e, uint32_t table, const uint64_t *key, const uint64_t *mask,
            uint32_t priority, uint64_t *handles, uint32_t most);
/* Report the entry when nothing has hit it for so long; 0: never. Restarts its clock. */
int sw_entry_idle(struct sw_engine *e, uint32_t table, uint64_t handle, uint32_t idle_ms);
int sw_entry_last_hit(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *ago_us);
int sw_set_default(struct sw_engine *e, uint32_t table, uint32_t action, const uint64_t *args);
int sw_entry_count(struct sw_engine *e, uint32_t table, uint32_t *entries);

int sw_direct_read(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *packets,
                   uint64_t *bytes);
int sw_direct_write(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t packets,
                    uint64_t bytes);
/* Handles and counters of the entries that have counted anything, `most` at most; returns how many
 * there are. */
int sw_direct_counted(struct sw_engine *e, uint32_t table, uint64_t *handles,
                      struct sw_counter *counters, uint32_t most);
int sw_counter_read(struct sw_engine *e, uint32_t counter, uint32_t first, uint32_t count,
                    struct sw_counter *out);
int sw_counter_write(struct sw_engine *e, uint32_t counter, uint32_t index, uint64_t packets,
                     uint64_t bytes);

/* config NULL: not configured. get: 1 if configured, 0 if not. */
int sw_meter_set(struct sw_engine *e, uint32_t meter, uint32_t index,
                 const struct sw_meter_config *config);
int sw_meter_get(struct sw_engine *e, uint32_t meter, uint32_t index, struct sw_meter_config *out);

int sw_member_set(struct sw_engine *e, uint32_t profile, uint32_t member, uint32_t action,
                  uint32_t n_args, const uint64_t *args);
int sw_member_delete(struct sw_engine *e, uint32_t profile, uint32_t member);
int sw_member_group_set(struct sw_engine *e, uint32_t profile, uint32_t group, uint32_t n,
                        const uint32_t *members);
int sw_member_group_delete(struct sw_engine *e, uint32_t profile, uint32_t group);

int sw_session_set(struct sw_engine *e, uint32_t id, uint32_t truncate, uint32_t n,
                   const struct sw_replica *copies);
int sw_session_delete(struct sw_engine *e, uint32_t id);

int sw_set_cpu_port(struct sw_engine *e, uint32_t port);
/* Packets out of every port but the CPU port become SW_EVENT_OUT events. */
int sw_set_events_only(struct sw_engine *e, uint32_t on);
int sw_event_fd(struct sw_engine *e);
int sw_take_events(struct sw_engine *e, uint8_t **data, size_t *len);
void sw_free(void *data);

/* Report entries that have been idle for their time, going on where the last call stopped, of a
 * bounded number; returns whether all have been looked at. */
bool sw_age(struct sw_engine *e);

int sw_group_set(struct sw_engine *e, uint32_t group, uint32_t n, const struct sw_replica *copies);
int sw_group_delete(struct sw_engine *e, uint32_t group);

int sw_drops_read(struct sw_engine *e, struct sw_drops *out);

/* Run one packet and leave what came out in *out, valid until the next call. */
int sw_process(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len,
               const uint8_t **out, size_t *out_len);

/* Run n packets of `stride` bytes each, `rounds` times over, in batches as the packet thread does;
 * headers are written, payload stays where it is. *out is how many came out. */
int sw_replay(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t stride, uint32_t n,
              uint32_t rounds, uint64_t *out);

#endif
