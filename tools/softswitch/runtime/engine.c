#include "engine.h"
#include "io.h"
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

uint64_t sw_clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t sw_now_us(const struct sw_engine *e) {
    return sw_clock_us() - e->start_us;
}

static uint64_t self(void) {
    return (uint64_t)(uintptr_t)pthread_self();
}

/* Only the holder itself can find its own id there. */
static bool held(const struct sw_engine *e) {
    uint64_t holder = __atomic_load_n(&e->holder, __ATOMIC_RELAXED);
    return holder && holder == self();
}

void sw_lock(struct sw_engine *e) {
    if (held(e))
        return;
    pthread_mutex_lock(&e->turn);
    pthread_mutex_lock(&e->lock);
    pthread_mutex_unlock(&e->turn);
}

void sw_unlock(struct sw_engine *e) {
    if (!held(e))
        pthread_mutex_unlock(&e->lock);
}

void sw_edit(struct sw_engine *e) {
    if (!held(e))
        pthread_mutex_lock(&e->edit);
}

void sw_edited(struct sw_engine *e) {
    if (!held(e))
        pthread_mutex_unlock(&e->edit);
}

int sw_hold(struct sw_engine *e) {
    sw_edit(e);
    sw_lock(e);
    __atomic_store_n(&e->holder, self(), __ATOMIC_RELAXED);
    return 0;
}

int sw_release(struct sw_engine *e) {
    __atomic_store_n(&e->holder, 0, __ATOMIC_RELAXED);
    sw_unlock(e);
    sw_edited(e);
    return 0;
}

struct sw_room {
    struct sw_room *next;
    uint8_t data[];
};

uint8_t *sw_room(struct sw_engine *e, uint32_t len) {
    struct sw_room *room = malloc(sizeof *room + len);
    if (!room)
        return NULL;
    room->next = e->rooms;
    e->rooms = room;
    return room->data;
}

void sw_free_rooms(struct sw_room *rooms) {
    while (rooms) {
        struct sw_room *next = rooms->next;
        free(rooms);
        rooms = next;
    }
}

static void close_gate(void *e) {
    sw_lock(e);
}

static void open_gate(void *e) {
    sw_unlock(e);
}

struct sw_engine *sw_create(void) {
    struct sw_engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->turn, NULL);
    pthread_mutex_init(&e->edit, NULL);
    e->start_us = sw_clock_us();
    e->tables = calloc(sw_program.n_tables + 1, sizeof *e->tables);
    e->counters = calloc(sw_program.n_counters + 1, sizeof *e->counters);
    e->groups = calloc(SW_GROUPS, sizeof(struct sw_group_copies *));
    e->meters = calloc(sw_program.n_meters + 1, sizeof *e->meters);
    e->profiles = calloc(sw_program.n_profiles + 1, sizeof *e->profiles);
    e->cpu_port = SW_NO_PORT;
    uint8_t *scratch = malloc(SW_OUT_PREFIX + sw_program.header_bytes + 1);
    e->scratch = scratch ? scratch + SW_OUT_PREFIX : NULL;
    struct sw_gate gate = {close_gate, open_gate, e, &e->passes};
    int bad = sw_events_init(&e->events) || !e->tables || !e->counters || !e->groups ||
              !e->meters || !e->profiles || !e->scratch || sw_io_create(e) || sw_cells_init(e);
    for (uint32_t i = 0; !bad && i < sw_program.n_tables; i++)
        bad = sw_table_init(&e->tables[i], &sw_program.tables[i], gate);
    for (uint32_t i = 0; !bad && i < sw_program.n_counters; i++) {
        /* one more, so that an empty counter is no NULL */
        e->counters[i] = calloc((size_t)sw_program.counter_sizes[i] + 1, sizeof(struct sw_counter));
        bad = !e->counters[i];
    }
    for (uint32_t i = 0; !bad && i < sw_program.n_meters; i++) {
        e->meters[i] = calloc((size_t)sw_program.meter_sizes[i] + 1, sizeof(struct sw_meter));
        bad = !e->meters[i];
    }
    if (bad) {
        sw_destroy(e);
        return NULL;
    }
    return e;
}

void sw_destroy(struct sw_engine *e) {
    sw_io_destroy(e);
    for (uint32_t i = 0; e->tables && i < sw_program.n_tables; i++)
        sw_table_clear(&e->tables[i]);
    for (uint32_t i = 0; e->counters && i < sw_program.n_counters; i++)
        free(e->counters[i]);
    for (uint32_t i = 0; e->groups && i < SW_GROUPS; i++)
        free(e->groups[i]);
    for (uint32_t i = 0; e->meters && i < sw_program.n_meters; i++)
        free(e->meters[i]);
    for (uint32_t i = 0; e->profiles && i < sw_program.n_profiles; i++)
        sw_profile_clear(&e->profiles[i]);
    for (uint32_t i = 0; i < e->n_sessions; i++)
        free(e->sessions[i].replicas);
    sw_wire_free(e->wire);
    sw_events_destroy(&e->events);
    sw_cells_free(e);
    free(e->meters);
    free(e->profiles);
    free(e->sessions);
    free(e->tables);
    free(e->counters);
    free(e->groups);
    if (e->scratch)
        free(e->scratch - SW_OUT_PREFIX);
    free(e->processed.data);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->turn);
    pthread_mutex_destroy(&e->edit);
    free(e);
}

/* --- tables --------------------------------------------------------------------------------------
 */

int sw_insert(struct sw_engine *e, uint32_t table, const uint64_t *key, const uint64_t *mask,
              uint32_t priority, uint32_t action, const uint64_t *args, uint64_t *handle) {
    uint64_t now_us = sw_now_us(e);
    sw_edit(e);
    int rc = sw_table_add(&e->tables[table], key, mask, priority, action, args, now_us, handle);
    sw_edited(e);
    return rc;
}

int sw_modify(struct sw_engine *e, uint32_t table, uint64_t handle, uint32_t action,
              const uint64_t *args) {
    sw_edit(e);
    int rc = sw_table_change(&e->tables[table], handle, action, args);
    sw_edited(e);
    return rc;
}

/* The packet thread reads the number without the lock. */
static void age_count(struct sw_engine *e, int more) {
    __atomic_store_n(&e->ageing, e->ageing + (uint32_t)more, __ATOMIC_RELAXED);
}

int sw_remove(struct sw_engine *e, struct sw_table *t, uint64_t handle) {
    const struct sw_entry *x = sw_table_entry(t, handle);
    if (x && x->idle_ms)
        age_count(e, -1);
    return sw_table_remove(t, handle);
}

int sw_delete(struct sw_engine *e, uint32_t table, uint64_t handle) {
    sw_edit(e);
    int rc = sw_remove(e, &e->tables[table], handle);
    sw_edited(e);
    return rc;
}

int sw_find(struct sw_engine *e, uint32_t table, const uint64_t *key, const uint64_t *mask,
            uint32_t priority, uint64_t *handles, uint32_t most) {
    sw_edit(e);
    uint32_t n = sw_table_find(&e->tables[table], key, mask, priority, handles, most);
    sw_edited(e);
    return (int)n;
}

int sw_entry_idle(struct sw_engine *e, uint32_t table, uint64_t handle, uint32_t idle_ms) {
    sw_edit(e);
    sw_lock(e);
    struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x) {
        age_count(e, (idle_ms != 0) - (x->idle_ms != 0));
        x->idle_ms = idle_ms;
        x->hit_us = sw_now_us(e);
        x->reported_us = 0;
    }
    sw_unlock(e);
    sw_edited(e);
    if (x && idle_ms)
        sw_io_wake(e);
    return x ? 0 : -ENOENT;
}

int sw_entry_last_hit(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *ago_us) {
    sw_edit(e);
    sw_lock(e);
    const struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x)
        *ago_us = sw_now_us(e) - x->hit_us;
    sw_unlock(e);
    sw_edited(e);
    return x ? 0 : -ENOENT;
}

static void age(struct sw_engine *e, uint32_t table, struct sw_entry *x, uint64_t now_us) {
    if (!x || !x->idle_ms)
        return;
    uint64_t since_us = x->reported_us > x->hit_us ? x->reported_us : x->hit_us;
    if (now_us - since_us < (uint64_t)x->idle_ms * 1000)
        return;
    uint64_t record[2] = {table, x->handle};
    sw_events_add(&e->events, SW_EVENT_IDLE, record, sizeof record, NULL, 0);
    x->reported_us = now_us;
}

bool sw_age(struct sw_engine *e) {
    uint32_t left = SW_AGE_MOST;
    /* a table that is being changed is looked at the next time */
    if (pthread_mutex_trylock(&e->edit))
        return false;
    sw_lock(e);
    uint64_t now_us = sw_now_us(e);
    for (; e->ageing && e->aged.table < sw_program.n_tables && left; e->aged.table++) {
        const struct sw_table *t = &e->tables[e->aged.table];
        for (; e->aged.handle < t->n_handles && left; e->aged.handle++, left--)
            age(e, e->aged.table, t->handles[e->aged.handle].entry, now_us);
        if (e->aged.handle < t->n_handles)
            break;
        e->aged.handle = 0;
    }
    bool ended = left || !e->ageing;
    if (ended)
        e->aged.table = e->aged.handle = 0;
    sw_unlock(e);
    pthread_mutex_unlock(&e->edit);
    return ended;
}

int sw_set_default(struct sw_engine *e, uint32_t table, uint32_t action, const uint64_t *args) {
    sw_edit(e);
    sw_table_default(&e->tables[table], action, args);
    sw_edited(e);
    return 0;
}

int sw_entry_count(struct sw_engine *e, uint32_t table, uint32_t *entries) {
    sw_edit(e);
    *entries = e->tables[table].entries;
    sw_edited(e);
    return 0;
}

/* --- counters ------------------------------------------------------------------------------------
 */

int sw_direct_read(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *packets,
                   uint64_t *bytes) {
    sw_edit(e);
    sw_lock(e);
    const struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x) {
        *packets = x->packets;
        *bytes = x->bytes;
    }
    sw_unlock(e);
    sw_edited(e);
    return x ? 0 : -ENOENT;
}

int sw_direct_write(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t packets,
                    uint64_t bytes) {
    sw_edit(e);
    sw_lock(e);
    struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x) {
        x->packets = packets;
        x->bytes = bytes;
    }
    sw_unlock(e);
    sw_edited(e);
    return x ? 0 : -ENOENT;
}

/* Looking for them keeps no packet out, however many entries there are. */
int sw_direct_counted(struct sw_engine *e, uint32_t table, uint64_t *handles,
                      struct sw_counter *counters, uint32_t most) {
    const struct sw_table *t = &e->tables[table];
    uint32_t found = 0;
    sw_edit(e);
    for (uint32_t i = 0; i < t->n_handles; i++) {
        const struct sw_entry *x = t->handles[i].entry;
        if (!x || !(__atomic_load_n(&x->packets, __ATOMIC_RELAXED) |
                    __atomic_load_n(&x->bytes, __ATOMIC_RELAXED)))
            continue;
        if (found < most) {
            sw_lock(e);
            handles[found] = x->handle;
            counters[found] = (struct sw_counter){x->packets, x->bytes};
            sw_unlock(e);
        }
        found++;
    }
    sw_edited(e);
    return (int)found;
}

int sw_counter_read(struct sw_engine *e, uint32_t counter, uint32_t first, uint32_t count,
                    struct sw_counter *out) {
    if ((uint64_t)first + count > sw_program.counter_sizes[counter])
        return -ERANGE;
    sw_lock(e);
    memcpy(out, e->counters[counter] + first, count * sizeof *out);
    sw_unlock(e);
    return 0;
}

int sw_counter_write(struct sw_engine *e, uint32_t counter, uint32_t index, uint64_t packets,
                     uint64_t bytes) {
    if (index >= sw_program.counter_sizes[counter])
        return -ERANGE;
    sw_lock(e);
    e->counters[counter][index] = (struct sw_counter){packets, bytes};
    sw_unlock(e);
    return 0;
}

/* --- meters and profiles -------------------------------------------------------------------------
 */

int sw_meter_set(struct sw_engine *e, uint32_t meter, uint32_t index,
                 const struct sw_meter_config *config) {
    if (index >= sw_program.meter_sizes[meter])
        return -ERANGE;
    sw_lock(e);
    sw_meter_configure(&e->meters[meter][index], config);
    sw_unlock(e);
    return 0;
}

int sw_meter_get(struct sw_engine *e, uint32_t meter, uint32_t index, struct sw_meter_config *out) {
    if (index >= sw_program.meter_sizes[meter])
        return -ERANGE;
    sw_lock(e);
    const struct sw_meter *m = &e->meters[meter][index];
    bool configured = m->configured;
    *out = m->config;
    sw_unlock(e);
    return configured;
}

int sw_member_set(struct sw_engine *e, uint32_t profile, uint32_t member, uint32_t action,
                  uint32_t n_args, const uint64_t *args) {
    struct sw_member *fresh = malloc(sizeof *fresh + (n_args + 1) * sizeof *args);
    if (!fresh)
        return -ENOMEM;
    fresh->action = action;
    memcpy(fresh->args, args, n_args * sizeof *args);
    sw_lock(e);
    int rc = sw_profile_member(&e->profiles[profile], member, fresh);
    sw_unlock(e);
    if (rc)
        free(fresh);
    return rc;
}

int sw_member_delete(struct sw_engine *e, uint32_t profile, uint32_t member) {
    sw_lock(e);
    bool known = sw_member_named(&e->profiles[profile], member);
    int rc = known ? sw_profile_member(&e->profiles[profile], member, NULL) : -ENOENT;
    sw_unlock(e);
    return rc;
}

int sw_member_group_set(struct sw_engine *e, uint32_t profile, uint32_t group, uint32_t n,
                        const uint32_t *members) {
    struct sw_member_group *fresh = malloc(sizeof *fresh + (n + 1) * sizeof *members);
    if (!fresh)
        return -ENOMEM;
    fresh->n = n;
    memcpy(fresh->members, members, n * sizeof *members);
    sw_lock(e);
    int rc = sw_profile_group(&e->profiles[profile], group, fresh);
    sw_unlock(e);
    if (rc)
        free(fresh);
    return rc;
}

int sw_member_group_delete(struct sw_engine *e, uint32_t profile, uint32_t group) {
    sw_lock(e);
    bool known = sw_group_named(&e->profiles[profile], SW_GROUP_REF | group);
    int rc = known ? sw_profile_group(&e->profiles[profile], group, NULL) : -ENOENT;
    sw_unlock(e);
    return rc;
}

/* --- clone sessions ------------------------------------------------------------------------------
 */

const struct sw_session *sw_session(const struct sw_engine *e, uint32_t id) {
    for (uint32_t i = 0; i < e->n_sessions; i++)
        if (e->sessions[i].id == id)
            return &e->sessions[i];
    return NULL;
}

static void forget_session(struct sw_engine *e, const struct sw_session *s) {
    uint32_t place = (uint32_t)(s - e->sessions);
    free(s->replicas);
    e->sessions[place] = e->sessions[--e->n_sessions];
}

int sw_session_set(struct sw_engine *e, uint32_t id, uint32_t truncate, uint32_t n,
                   const struct sw_replica *copies) {
    struct sw_replica *fresh = malloc((n + 1) * sizeof *copies);
    if (!fresh)
        return -ENOMEM;
    memcpy(fresh, copies, n * sizeof *copies);
    sw_lock(e);
    const struct sw_session *old = sw_session(e, id);
    if (old)
        forget_session(e, old);
    struct sw_session *grown = realloc(e->sessions, (e->n_sessions + 1) * sizeof *grown);
    if (grown) {
        e->sessions = grown;
        grown[e->n_sessions++] = (struct sw_session){id, n, truncate, fresh};
    }
    sw_unlock(e);
    if (!grown)
        free(fresh);
    return grown ? 0 : -ENOMEM;
}

int sw_session_delete(struct sw_engine *e, uint32_t id) {
    sw_lock(e);
    const struct sw_session *old = sw_session(e, id);
    if (old)
        forget_session(e, old);
    sw_unlock(e);
    return old ? 0 : -ENOENT;
}

/* --- events --------------------------------------------------------------------------------------
 */

int sw_set_cpu_port(struct sw_engine *e, uint32_t port) {
    sw_lock(e);
    e->cpu_port = port;
    sw_unlock(e);
    return 0;
}

int sw_set_events_only(struct sw_engine *e, uint32_t on) {
    sw_lock(e);
    e->events_only = on;
    sw_unlock(e);
    return 0;
}

int sw_event_fd(struct sw_engine *e) {
    return e->events.fd;
}

int sw_take_events(struct sw_engine *e, uint8_t **data, size_t *len) {
    sw_events_take(&e->events, data, len);
    return 0;
}

void sw_free(void *data) {
    free(data);
}

void sw_event_digest(struct sw_engine *e, uint64_t learn, uint32_t n, const uint64_t *values) {
    sw_events_add(&e->events, SW_EVENT_DIGEST, &learn, sizeof learn, values, n * sizeof *values);
}

/* --- multicast -----------------------------------------------------------------------------------
 */

int sw_group_set(struct sw_engine *e, uint32_t group, uint32_t n, const struct sw_replica *copies) {
    if (group == 0 || group >= SW_GROUPS)
        return -ERANGE;
    struct sw_group_copies *fresh = malloc(sizeof *fresh + n * sizeof *copies);
    if (!fresh)
        return -ENOMEM;
    fresh->n = n;
    memcpy(fresh->replicas, copies, n * sizeof *copies);
    sw_lock(e);
    struct sw_group_copies *old = e->groups[group];
    e->groups[group] = fresh;
    sw_unlock(e);
    free(old);
    return 0;
}

int sw_group_delete(struct sw_engine *e, uint32_t group) {
    if (group == 0 || group >= SW_GROUPS)
        return -ERANGE;
    sw_lock(e);
    struct sw_group_copies *old = e->groups[group];
    e->groups[group] = NULL;
    sw_unlock(e);
    free(old);
    return old ? 0 : -ENOENT;
}

/* --- packets -------------------------------------------------------------------------------------
 */

int sw_drops_read(struct sw_engine *e, struct sw_drops *out) {
    sw_lock(e);
    *out = e->drops;
    sw_unlock(e);
    out->events = sw_events_lost(&e->events);
    return 0;
}

uint8_t *sw_out_begin(struct sw_engine *e, uint32_t port) {
    bool here = e->sink || e->events_only || port == e->cpu_port;
    uint8_t *room = here ? e->scratch : sw_io_begin(e, port);
    if (!room)
        e->drops.unknown_port++;
    return room;
}

static bool sink_reserve(struct sw_sink *s, size_t more) {
    size_t capacity = s->capacity ? s->capacity : 4096;
    while (capacity < s->used + more)
        capacity *= 2;
    if (capacity == s->capacity)
        return true;
    uint8_t *data = realloc(s->data, capacity);
    if (!data)
        return false;
    s->data = data;
    s->capacity = capacity;
    return true;
}

static void sink_put(struct sw_sink *s, const void *data, size_t len) {
    if (len)
        memcpy(s->data + s->used, data, len);
    s->used += len;
}

void sw_out_commit(struct sw_engine *e, uint32_t port, uint32_t queue, uint32_t header_len,
                   const uint8_t *payload, uint32_t payload_len) {
    struct sw_sink *s = e->sink;
    if (port == e->cpu_port)
        sw_events_add(&e->events, SW_EVENT_PACKET, e->scratch, header_len, payload, payload_len);
    if (!s && port != e->cpu_port && e->events_only) {
        uint64_t head[2] = {port, e->injected};
        memcpy(e->scratch - sizeof head, head, sizeof head);
        sw_events_add(&e->events, SW_EVENT_OUT, e->scratch - sizeof head, sizeof head + header_len,
                      payload, payload_len);
    } else if (!s && port != e->cpu_port) {
        sw_io_commit(e, port, queue, header_len, payload, payload_len);
    }
    if (!s)
        return;
    if (s->counts) {
        s->used++;
        return;
    }
    uint32_t record[2] = {port, header_len + payload_len};
    if (!sink_reserve(s, sizeof record + header_len + payload_len)) {
        s->failed = true;
        return;
    }
    sink_put(s, record, sizeof record);
    sink_put(s, e->scratch, header_len);
    sink_put(s, payload, payload_len);
}

int sw_process(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len,
               const uint8_t **out, size_t *out_len) {
    sw_begin(e);
    e->processed.used = 0;
    e->processed.failed = false;
    e->sink = &e->processed;
    sw_program.receive(e, data, len, port);
    e->sink = NULL;
    *out = e->processed.data;
    *out_len = e->processed.used;
    bool failed = e->processed.failed;
    sw_free_rooms(sw_end(e));
    return failed ? -ENOMEM : 0;
}

#define REPLAY_BATCH 64

int sw_replay(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t stride, uint32_t n,
              uint32_t rounds, uint64_t *out) {
    struct sw_sink sink = {.counts = true};
    for (uint64_t left = (uint64_t)n * rounds, at = 0; left;) {
        sw_begin(e);
        e->sink = &sink;
        for (uint32_t i = 0; i < REPLAY_BATCH && left; i++, left--) {
            sw_program.receive(e, data + at * stride, stride, port);
            at = at + 1 < n ? at + 1 : 0;
        }
        e->sink = NULL;
        sw_free_rooms(sw_end(e));
    }
    *out = sink.used;
    return 0;
}
