/* Match-action tables.
 *
 * A key is a number of 64-bit words; the code generator and the control side agree on where each
 * field lies in them. Entries with the same mask form a group, which is a hash table over the
 * masked key; an exact table has one group, an lpm table one per prefix length (priority = prefix
 * length), a ternary table one per combination of masks. A lookup probes groups, those of the
 * highest priority first, and stops when no later group can win. The highest priority wins, then
 * the oldest entry.
 *
 * Changes are made by one thread at a time: the caller holds the lock of whoever edits. An entry
 * comes and goes by one store, which keeps no packet out; its memory is freed later, with others'.
 * For everything else the table closes its gate, which does, for no more than putting pointers in
 * place; what takes long (memory, a larger hash table) is made ready before.
 */
#ifndef SW_TABLE_H
#define SW_TABLE_H

#include "bits.h"

#define SW_NO_ACTION UINT32_MAX

/* What a lookup reads while entries are added, and how it is written. */
#define SW_SEEN(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define SW_SHOW(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

struct sw_table_desc {
    const char *name;
    uint32_t key_words;
    uint32_t arg_words; /* the most that any action of the table takes */
    uint32_t max_size;
    bool overlapping; /* ternary: the same key may come again with another priority */
};

/* What a lookup reads and counts comes first, in one cache line. */
struct sw_entry {
    uint64_t hash;
    struct sw_entry *next; /* same masked key, lower priority or younger */
    uint64_t packets, bytes;
    uint64_t hit_us; /* last hit, or since when it is as it is */
    uint32_t priority;
    uint32_t action;
    uint64_t sequence;
    uint64_t *args;
    uint64_t handle;
    uint64_t reported_us; /* when it was last reported idle */
    struct sw_group *group;
    uint32_t idle_ms; /* report when not hit for so long; 0: never */
    uint32_t ranked;  /* its place in the group's ranking */
    uint64_t key[];
};

/* In the slot of an entry that was removed: a lookup goes on behind it. */
extern struct sw_entry sw_gone;

struct sw_group {
    uint32_t max_priority;
    uint32_t entries; /* all entries */
    uint32_t used;    /* slots that are not empty: distinct masked keys, and sw_gone */
    uint32_t gone;    /* slots with sw_gone */
    uint32_t slot_mask;
    struct sw_entry **slots;
    struct sw_entry **ranking; /* of an overlapping table: a heap, the highest priority first */
    uint32_t ranking_room;
    uint64_t mask[];
};

struct sw_handle {
    struct sw_entry *entry; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

/* Keeps packets out, and lets them in again. `passes` counts twice for each batch of packets, when
 * it begins and when it ends: it is odd while one is under way. */
struct sw_gate {
    void (*close)(void *owner);
    void (*open)(void *owner);
    void *owner;
    const uint64_t *passes;
};

struct sw_table {
    const struct sw_table_desc *desc;
    struct sw_gate gate;
    struct sw_group **groups; /* highest max_priority first */
    uint32_t n_groups, group_capacity;
    uint32_t entries;
    uint64_t sequence;
    struct sw_handle *handles;
    uint32_t n_handles, handle_capacity, free_handle;
    uint32_t default_action;
    uint64_t *default_args;
    /* Entries that are not found any more, but may be in a packet's hands: those removed before
     * `passes` was `left_at`, and those removed since. */
    struct sw_entry *left, *removed;
    uint64_t left_at;
    uint32_t n_removed;
};

int sw_table_init(struct sw_table *t, const struct sw_table_desc *desc, struct sw_gate gate);
void sw_table_clear(struct sw_table *t);

/* All return 0 or a negative errno: ENOSPC table full, EEXIST duplicate, ENOENT handle, ENOMEM. */
int sw_table_add(struct sw_table *t, const uint64_t *key, const uint64_t *mask, uint32_t priority,
                 uint32_t action, const uint64_t *args, uint64_t now_us, uint64_t *handle);
int sw_table_change(struct sw_table *t, uint64_t handle, uint32_t action, const uint64_t *args);
int sw_table_remove(struct sw_table *t, uint64_t handle);
void sw_table_default(struct sw_table *t, uint32_t action, const uint64_t *args);
struct sw_entry *sw_table_entry(const struct sw_table *t, uint64_t handle);
/* The handles of the entries with this key, `most` at most; of an overlapping table those of one
 * priority, or of all (0). Returns how many there are. */
uint32_t sw_table_find(const struct sw_table *t, const uint64_t *key, const uint64_t *mask,
                       uint32_t priority, uint64_t *handles, uint32_t most);

SW_INLINE uint64_t sw_hash(const uint64_t *key, const uint64_t *mask, uint32_t words) {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (uint32_t i = 0; i < words; i++) {
        h = (h ^ (key[i] & mask[i])) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    return h;
}

SW_INLINE bool sw_same(const struct sw_entry *x, const uint64_t *key, const uint64_t *mask,
                       uint32_t words) {
    uint64_t differ = 0;
    for (uint32_t i = 0; i < words; i++)
        differ |= x->key[i] ^ (key[i] & mask[i]);
    return !differ;
}

SW_INLINE struct sw_entry *sw_group_find(const struct sw_group *g, const uint64_t *key,
                                         uint32_t words) {
    uint64_t hash = sw_hash(key, g->mask, words);
    for (uint32_t i = (uint32_t)hash & g->slot_mask;; i = (i + 1) & g->slot_mask) {
        struct sw_entry *x = SW_SEEN(g->slots[i]);
        if (!x || (x->hash == hash && x != &sw_gone && sw_same(x, key, g->mask, words)))
            return x;
    }
}

/* The entry that wins for this key, or NULL. */
SW_INLINE struct sw_entry *sw_lookup(const struct sw_table *t, const uint64_t *key,
                                     uint32_t words) {
    struct sw_entry *best = NULL;
    for (uint32_t i = 0; i < t->n_groups; i++) {
        const struct sw_group *g = t->groups[i];
        if (best && SW_SEEN(g->max_priority) < best->priority)
            break;
        struct sw_entry *x = sw_group_find(g, key, words);
        if (x && (!best || x->priority > best->priority ||
                  (x->priority == best->priority && x->sequence < best->sequence)))
            best = x;
    }
    return best;
}

#endif
