/* P4Runtime updates as they come on the wire, straight into the tables.
 *
 * Of a serialized p4.v1.WriteRequest this takes what is plain: an INSERT, MODIFY or DELETE of an
 * entry with key, action, priority and cookies in canonical form (each field once, in order, in the
 * fewest bytes), which the table accepts. It stops at an update that is anything else, and has then
 * changed nothing of it: whoever called looks at that one more closely, and says what is wrong.
 */
#ifndef SW_WIRE_H
#define SW_WIRE_H

#include "engine.h"

#define SW_WIRE_WORDS 32 /* the longest key, and arguments, of a table that is described */

enum { SW_WIRE_INSERT = 1, SW_WIRE_MODIFY = 2, SW_WIRE_DELETE = 3 }; /* as p4.v1.Update.Type */

enum { SW_WIRE_EXACT, SW_WIRE_LPM, SW_WIRE_TERNARY, SW_WIRE_OPTIONAL };

/* What decides which entry wins, and is part of what identifies it. */
enum { SW_WIRE_NOTHING, SW_WIRE_PREFIX, SW_WIRE_PRIORITY };

struct sw_wire_table {
    uint32_t id, table;
    uint32_t order;                   /* SW_WIRE_NOTHING, ... */
    uint32_t limit;                   /* entries, 0: as many as the table takes */
    uint32_t metered;                 /* entries have a meter, which a MODIFY resets */
    uint32_t ages;                    /* entries can have a timeout */
    uint32_t first_field, n_fields;   /* in the order of the key */
    uint32_t first_action, n_actions; /* that its entries may have */
};

struct sw_wire_field {
    uint32_t id, kind, width;
    uint32_t bit; /* where it begins in the key's words, the first of them least significant */
};

struct sw_wire_action {
    uint32_t id, action;
    uint32_t first_param, n_params; /* each takes one word */
};

struct sw_wire_param {
    uint32_t id, width;
};

struct sw_wire; /* owned by the engine */

/* An update that was taken: the entry's handle, and where its TableEntry lies in the request. */
struct sw_wire_taken {
    uint64_t handle;
    uint32_t table, kind;
    uint32_t at, len;
};

/* Describe the tables that are to be taken. -EINVAL: what cannot be; -ENOMEM. */
int sw_wire_describe(struct sw_engine *e, uint32_t n_tables, const struct sw_wire_table *tables,
                     uint32_t n_fields, const struct sw_wire_field *fields, uint32_t n_actions,
                     const struct sw_wire_action *actions, uint32_t n_params,
                     const struct sw_wire_param *params);
void sw_wire_free(struct sw_wire *w);

/* Skip so many updates from *at on, then take up to `most`; returns how many were taken, and leaves
 * *at where to go on. */
int sw_wire_write(struct sw_engine *e, const uint8_t *data, uint32_t len, uint32_t *at,
                  uint32_t skip, uint32_t most, struct sw_wire_taken *out);

#endif
