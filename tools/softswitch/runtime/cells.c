#include "cells.h"

#include "engine.h"

#include <errno.h>
#include <stdlib.h>

int sw_cells_init(struct sw_engine *e) {
    e->registers = calloc(sw_program.n_registers + 1, sizeof *e->registers);
    e->direct_meters = calloc(sw_program.n_tables + 1, sizeof *e->direct_meters);
    if (!e->registers || !e->direct_meters)
        return -ENOMEM;
    for (uint32_t i = 0; i < sw_program.n_registers; i++) {
        const struct sw_register_desc *desc = &sw_program.registers[i];
        e->registers[i] = calloc((size_t)desc->size * desc->words + 1, sizeof(uint64_t));
        if (!e->registers[i])
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < sw_program.n_tables; i++) {
        if (sw_program.table_meters[i] == SW_NO_METER)
            continue;
        /* memory is taken as entries come: untouched pages cost none */
        size_t size = (size_t)sw_program.tables[i].max_size + 1;
        e->direct_meters[i] = calloc(size, sizeof(struct sw_direct_meter));
        if (!e->direct_meters[i])
            return -ENOMEM;
    }
    return 0;
}

void sw_cells_free(struct sw_engine *e) {
    for (uint32_t i = 0; e->registers && i < sw_program.n_registers; i++)
        free(e->registers[i]);
    for (uint32_t i = 0; e->direct_meters && i < sw_program.n_tables; i++)
        free(e->direct_meters[i]);
    free(e->registers);
    free(e->direct_meters);
}

/* --- registers -------------------------------------------------------------------------------- */

uint64_t *sw_register(struct sw_engine *e, uint32_t array, uint64_t index) {
    const struct sw_register_desc *desc = &sw_program.registers[array];
    return index < desc->size ? e->registers[array] + index * desc->words : NULL;
}

static bool beyond(uint32_t array, uint32_t first, uint32_t count) {
    return (uint64_t)first + count > sw_program.registers[array].size;
}

int sw_register_read(struct sw_engine *e, uint32_t array, uint32_t first, uint32_t count,
                     uint64_t *out) {
    size_t words = sw_program.registers[array].words;
    if (beyond(array, first, count))
        return -ERANGE;
    sw_lock(e);
    memcpy(out, e->registers[array] + first * words, count * words * sizeof *out);
    sw_unlock(e);
    return 0;
}

int sw_register_write(struct sw_engine *e, uint32_t array, uint32_t first, uint32_t count,
                      const uint64_t *values) {
    size_t words = sw_program.registers[array].words;
    if (beyond(array, first, count))
        return -ERANGE;
    sw_lock(e);
    memcpy(e->registers[array] + first * words, values, count * words * sizeof *values);
    sw_unlock(e);
    return 0;
}

/* --- meters ----------------------------------------------------------------------------------- */

static struct sw_meter *meter_of(struct sw_engine *e, uint32_t table, uint64_t handle) {
    uint32_t place = (uint32_t)handle;
    if (!e->direct_meters[table] || place >= sw_program.tables[table].max_size)
        return NULL;
    struct sw_direct_meter *cell = &e->direct_meters[table][place];
    if (cell->owner != handle + 1)
        *cell = (struct sw_direct_meter){.owner = handle + 1};
    return &cell->meter;
}

uint64_t sw_direct_meter(struct sw_engine *e, uint32_t table, const struct sw_entry *x,
                         const struct sw_packet *k) {
    struct sw_meter *m = meter_of(e, table, x->handle);
    if (!m)
        return SW_GREEN;
    bool packets = sw_program.table_meters[table] == SW_METER_PACKETS;
    uint32_t color = sw_meter_charge(m, k->now_us, packets ? 1 : k->len);
    sw_meter_mark(m, color, k->len);
    return color;
}

int sw_direct_meter_set(struct sw_engine *e, uint32_t table, uint64_t handle,
                        const struct sw_meter_config *config) {
    sw_edit(e);
    sw_lock(e);
    bool known = sw_table_entry(&e->tables[table], handle) != NULL;
    struct sw_meter *m = known ? meter_of(e, table, handle) : NULL;
    if (m)
        sw_meter_configure(m, config);
    sw_unlock(e);
    sw_edited(e);
    return m ? 0 : -ENOENT;
}

static int counts(struct sw_engine *e, struct sw_meter *m, uint64_t *out, const uint64_t *in) {
    if (m && out)
        memcpy(out, m->marked, sizeof m->marked);
    if (m && in)
        memcpy(m->marked, in, sizeof m->marked);
    sw_unlock(e);
    sw_edited(e);
    return m ? 0 : -ENOENT;
}

static int direct_counts(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *out,
                         const uint64_t *in) {
    sw_edit(e);
    sw_lock(e);
    bool known = sw_table_entry(&e->tables[table], handle) != NULL;
    return counts(e, known ? meter_of(e, table, handle) : NULL, out, in);
}

static int indirect_counts(struct sw_engine *e, uint32_t meter, uint32_t index, uint64_t *out,
                           const uint64_t *in) {
    if (index >= sw_program.meter_sizes[meter])
        return -ERANGE;
    sw_edit(e);
    sw_lock(e);
    return counts(e, &e->meters[meter][index], out, in);
}

int sw_direct_meter_counts(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *out) {
    return direct_counts(e, table, handle, out, NULL);
}

int sw_direct_meter_set_counts(struct sw_engine *e, uint32_t table, uint64_t handle,
                               const uint64_t *in) {
    return direct_counts(e, table, handle, NULL, in);
}

int sw_meter_counts(struct sw_engine *e, uint32_t meter, uint32_t index, uint64_t *out) {
    return indirect_counts(e, meter, index, out, NULL);
}

int sw_meter_set_counts(struct sw_engine *e, uint32_t meter, uint32_t index, const uint64_t *in) {
    return indirect_counts(e, meter, index, NULL, in);
}
