#include "engine.h"
#include "io.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

static uint64_t clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t sw_now_us(const struct sw_engine *e) {
    return clock_us() - e->start_us;
}

void sw_lock(struct sw_engine *e) {
    pthread_mutex_lock(&e->turn);
    pthread_mutex_lock(&e->lock);
    pthread_mutex_unlock(&e->turn);
}

void sw_unlock(struct sw_engine *e) {
    pthread_mutex_unlock(&e->lock);
}

struct sw_engine *sw_create(void) {
    struct sw_engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->turn, NULL);
    e->start_us = clock_us();
    e->tables = calloc(sw_program.n_tables + 1, sizeof *e->tables);
    e->counters = calloc(sw_program.n_counters + 1, sizeof *e->counters);
    e->groups = calloc(SW_GROUPS, sizeof(struct sw_group_copies *));
    e->scratch = malloc(sw_program.header_bytes + 1);
    int bad = !e->tables || !e->counters || !e->groups || !e->scratch || sw_io_create(e);
    for (uint32_t i = 0; !bad && i < sw_program.n_tables; i++)
        bad = sw_table_init(&e->tables[i], &sw_program.tables[i]);
    for (uint32_t i = 0; !bad && i < sw_program.n_counters; i++) {
        /* one more, so that an empty counter is no NULL */
        e->counters[i] = calloc((size_t)sw_program.counter_sizes[i] + 1, sizeof(struct sw_counter));
        bad = !e->counters[i];
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
    free(e->tables);
    free(e->counters);
    free(e->groups);
    free(e->scratch);
    free(e->processed.data);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->turn);
    free(e);
}

/* --- tables --------------------------------------------------------------------------------------
 */

int sw_insert(struct sw_engine *e, uint32_t table, const uint64_t *key, const uint64_t *mask,
              uint32_t priority, uint32_t action, const uint64_t *args, uint64_t *handle) {
    sw_lock(e);
    int rc = sw_table_add(&e->tables[table], key, mask, priority, action, args, handle);
    sw_unlock(e);
    return rc;
}

int sw_modify(struct sw_engine *e, uint32_t table, uint64_t handle, uint32_t action,
              const uint64_t *args) {
    sw_lock(e);
    int rc = sw_table_change(&e->tables[table], handle, action, args);
    sw_unlock(e);
    return rc;
}

int sw_delete(struct sw_engine *e, uint32_t table, uint64_t handle) {
    sw_lock(e);
    int rc = sw_table_remove(&e->tables[table], handle);
    sw_unlock(e);
    return rc;
}

int sw_set_default(struct sw_engine *e, uint32_t table, uint32_t action, const uint64_t *args) {
    sw_lock(e);
    sw_table_default(&e->tables[table], action, args);
    sw_unlock(e);
    return 0;
}

int sw_entry_count(struct sw_engine *e, uint32_t table, uint32_t *entries) {
    sw_lock(e);
    *entries = e->tables[table].entries;
    sw_unlock(e);
    return 0;
}

/* --- counters ------------------------------------------------------------------------------------
 */

int sw_direct_read(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *packets,
                   uint64_t *bytes) {
    sw_lock(e);
    const struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x) {
        *packets = x->packets;
        *bytes = x->bytes;
    }
    sw_unlock(e);
    return x ? 0 : -ENOENT;
}

int sw_direct_write(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t packets,
                    uint64_t bytes) {
    sw_lock(e);
    struct sw_entry *x = sw_table_entry(&e->tables[table], handle);
    if (x) {
        x->packets = packets;
        x->bytes = bytes;
    }
    sw_unlock(e);
    return x ? 0 : -ENOENT;
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
    return 0;
}

uint8_t *sw_out_begin(struct sw_engine *e, uint32_t port) {
    uint8_t *room = e->sink ? e->scratch : sw_io_begin(e, port);
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

void sw_out_commit(struct sw_engine *e, uint32_t port, uint32_t header_len, const uint8_t *payload,
                   uint32_t payload_len) {
    struct sw_sink *s = e->sink;
    if (!s) {
        sw_io_commit(e, port, header_len, payload, payload_len);
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
    sw_lock(e);
    e->processed.used = 0;
    e->processed.failed = false;
    e->sink = &e->processed;
    sw_program.receive(e, data, len, port);
    e->sink = NULL;
    *out = e->processed.data;
    *out_len = e->processed.used;
    bool failed = e->processed.failed;
    sw_unlock(e);
    return failed ? -ENOMEM : 0;
}
