/* State with an index of its own: registers, and the direct meters of tables' entries.
 *
 * Included by engine.h. What packets call runs under the engine's lock.
 */
#ifndef SW_CELLS_H
#define SW_CELLS_H

#include "meter.h"

struct sw_engine;
struct sw_entry;
struct sw_packet;

/* A register array as the program declares it; a cell is so many words, least significant first. */
struct sw_register_desc {
    uint32_t size, words;
};

enum { SW_NO_METER = 0, SW_METER_BYTES = 1, SW_METER_PACKETS = 2 };

/* The meter of an entry. It belongs to `owner`, the entry's handle plus one, so the meter of an
 * entry that is gone is nobody's, and whoever takes its place starts afresh. */
struct sw_direct_meter {
    uint64_t owner;
    struct sw_meter meter;
};

int sw_cells_init(struct sw_engine *e);
void sw_cells_free(struct sw_engine *e);

/* --- for the generated program --------------------------------------------------------------- */

/* The cell, or NULL if there is none. */
uint64_t *sw_register(struct sw_engine *e, uint32_t array, uint64_t index);

/* Charge the packet to the meter of the entry that it hit; returns the colour. */
uint64_t sw_direct_meter(struct sw_engine *e, uint32_t table, const struct sw_entry *x,
                         const struct sw_packet *k);

/* --- for the control side -------------------------------------------------------------------- */

/* `count` cells from `first` on, each of the array's words. */
int sw_register_read(struct sw_engine *e, uint32_t array, uint32_t first, uint32_t count,
                     uint64_t *out);
int sw_register_write(struct sw_engine *e, uint32_t array, uint32_t first, uint32_t count,
                      const uint64_t *values);

/* config NULL: not configured, so green. Keeps the counts of colours. */
int sw_direct_meter_set(struct sw_engine *e, uint32_t table, uint64_t handle,
                        const struct sw_meter_config *config);

/* Packets and bytes marked green, yellow and red: six numbers. */
int sw_direct_meter_counts(struct sw_engine *e, uint32_t table, uint64_t handle, uint64_t *out);
int sw_direct_meter_set_counts(struct sw_engine *e, uint32_t table, uint64_t handle,
                               const uint64_t *counts);
int sw_meter_counts(struct sw_engine *e, uint32_t meter, uint32_t index, uint64_t *out);
int sw_meter_set_counts(struct sw_engine *e, uint32_t meter, uint32_t index,
                        const uint64_t *counts);

#endif
