#include "table.h"

#include <errno.h>
#include <stdlib.h>

#define NO_FREE UINT32_MAX

int sw_table_init(struct sw_table *t, const struct sw_table_desc *desc) {
    memset(t, 0, sizeof *t);
    t->desc = desc;
    t->free_handle = NO_FREE;
    t->default_action = SW_NO_ACTION;
    t->default_args = calloc(desc->arg_words + 1, sizeof *t->default_args);
    return t->default_args ? 0 : -ENOMEM;
}

void sw_table_clear(struct sw_table *t) {
    for (uint32_t i = 0; i < t->n_handles; i++)
        free(t->handles[i].entry);
    for (uint32_t i = 0; i < t->n_groups; i++) {
        free(t->groups[i]->slots);
        free(t->groups[i]);
    }
    free(t->groups);
    free(t->handles);
    free(t->default_args);
}

/* --- groups ----------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct sw_group *g, const uint64_t *key, uint64_t hash,
                        uint32_t words) {
    uint32_t i = (uint32_t)hash & g->slot_mask;
    while (g->slots[i] && !(g->slots[i]->hash == hash && sw_same(g->slots[i], key, g->mask, words)))
        i = (i + 1) & g->slot_mask;
    return i;
}

static int group_grow(struct sw_group *g) {
    uint32_t size = (g->slot_mask + 1) * 2;
    struct sw_entry **slots = calloc(size, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i <= g->slot_mask; i++) {
        if (!g->slots[i])
            continue;
        uint32_t j = (uint32_t)g->slots[i]->hash & (size - 1);
        while (slots[j])
            j = (j + 1) & (size - 1);
        slots[j] = g->slots[i];
    }
    free(g->slots);
    g->slots = slots;
    g->slot_mask = size - 1;
    return 0;
}

/* Close the gap at slot i: move up what linear probing put behind it. */
static void slot_clear(struct sw_group *g, uint32_t i) {
    uint32_t gap = i;
    g->slots[gap] = NULL;
    for (uint32_t j = (gap + 1) & g->slot_mask; g->slots[j]; j = (j + 1) & g->slot_mask) {
        uint32_t home = (uint32_t)g->slots[j]->hash & g->slot_mask;
        if (((j - home) & g->slot_mask) >= ((j - gap) & g->slot_mask)) {
            g->slots[gap] = g->slots[j];
            g->slots[j] = NULL;
            gap = j;
        }
    }
}

/* Put groups[i] where its max_priority belongs; only that one is out of order. */
static void reorder(struct sw_table *t, uint32_t i) {
    struct sw_group *g = t->groups[i];
    for (; i > 0 && t->groups[i - 1]->max_priority < g->max_priority; i--)
        t->groups[i] = t->groups[i - 1];
    for (; i + 1 < t->n_groups && t->groups[i + 1]->max_priority > g->max_priority; i++)
        t->groups[i] = t->groups[i + 1];
    t->groups[i] = g;
}

static uint32_t group_index(const struct sw_table *t, const struct sw_group *g) {
    uint32_t i = 0;
    while (t->groups[i] != g)
        i++;
    return i;
}

static struct sw_group *group_find(const struct sw_table *t, const uint64_t *mask) {
    size_t bytes = t->desc->key_words * sizeof *mask;
    for (uint32_t i = 0; i < t->n_groups; i++)
        if (!memcmp(t->groups[i]->mask, mask, bytes))
            return t->groups[i];
    return NULL;
}

static struct sw_group *group_new(struct sw_table *t, const uint64_t *mask) {
    size_t bytes = t->desc->key_words * sizeof *mask;
    if (t->n_groups == t->group_capacity) {
        uint32_t capacity = t->group_capacity ? t->group_capacity * 2 : 4;
        struct sw_group **groups = realloc(t->groups, capacity * sizeof(struct sw_group *));
        if (!groups)
            return NULL;
        t->groups = groups;
        t->group_capacity = capacity;
    }
    struct sw_group *g = calloc(1, sizeof *g + bytes);
    if (!g)
        return NULL;
    g->slot_mask = 7;
    g->slots = calloc(g->slot_mask + 1, sizeof(struct sw_entry *));
    if (!g->slots) {
        free(g);
        return NULL;
    }
    memcpy(g->mask, mask, bytes);
    t->groups[t->n_groups++] = g;
    return g;
}

static void group_delete(struct sw_table *t, struct sw_group *g) {
    uint32_t i = group_index(t, g);
    memmove(t->groups + i, t->groups + i + 1, (t->n_groups - i - 1) * sizeof(struct sw_group *));
    t->n_groups--;
    free(g->slots);
    free(g);
}

static void group_count(struct sw_table *t, struct sw_group *g, uint32_t priority) {
    g->entries++;
    if (g->entries == 1 || priority > g->max_priority) {
        g->max_priority = priority;
        g->at_max = 1;
        reorder(t, group_index(t, g));
    } else if (priority == g->max_priority) {
        g->at_max++;
    }
}

static void group_uncount(struct sw_table *t, struct sw_group *g, uint32_t priority) {
    g->entries--;
    if (priority < g->max_priority || --g->at_max)
        return;
    g->max_priority = 0;
    for (uint32_t i = 0; i <= g->slot_mask; i++) {
        /* a chain starts with its highest priority */
        const struct sw_entry *x = g->slots[i];
        for (; x && x->priority >= g->max_priority; x = x->next) {
            g->at_max = x->priority > g->max_priority ? 1 : g->at_max + 1;
            g->max_priority = x->priority;
        }
    }
    reorder(t, group_index(t, g));
}

/* --- handles ---------------------------------------------------------------------------------- */

static int handle_new(struct sw_table *t, struct sw_entry *x) {
    uint32_t index = t->free_handle;
    if (index != NO_FREE) {
        t->free_handle = t->handles[index].next_free;
    } else {
        if (t->n_handles == t->handle_capacity) {
            uint32_t capacity = t->handle_capacity ? t->handle_capacity * 2 : 16;
            struct sw_handle *handles = realloc(t->handles, capacity * sizeof *handles);
            if (!handles)
                return -ENOMEM;
            t->handles = handles;
            t->handle_capacity = capacity;
        }
        index = t->n_handles++;
        t->handles[index].generation = 0;
    }
    t->handles[index].entry = x;
    x->handle = (uint64_t)t->handles[index].generation << 32 | index;
    return 0;
}

struct sw_entry *sw_table_entry(const struct sw_table *t, uint64_t handle) {
    uint32_t index = (uint32_t)handle;
    if (index >= t->n_handles || t->handles[index].generation != handle >> 32)
        return NULL;
    return t->handles[index].entry;
}

/* --- entries ---------------------------------------------------------------------------------- */

int sw_table_add(struct sw_table *t, const uint64_t *key, const uint64_t *mask, uint32_t priority,
                 uint32_t action, const uint64_t *args, uint64_t *handle) {
    uint32_t words = t->desc->key_words;
    struct sw_group *g = group_find(t, mask);
    struct sw_entry **link = NULL;
    if (g) {
        uint32_t at = slot_of(g, key, sw_hash(key, mask, words), words);
        struct sw_entry *same = g->slots[at];
        if (same && !t->desc->overlapping)
            return -EEXIST;
        for (; same; same = same->next)
            if (same->priority == priority)
                return -EEXIST;
    }
    if (t->entries >= t->desc->max_size)
        return -ENOSPC;
    struct sw_entry *x = calloc(1, sizeof *x + (words + t->desc->arg_words) * sizeof *key);
    if (!x)
        return -ENOMEM;
    if (!g)
        g = group_new(t, mask);
    if (!g || ((g->used + 1) * 2 > g->slot_mask && group_grow(g)) || handle_new(t, x)) {
        if (g && !g->entries)
            group_delete(t, g);
        free(x);
        return -ENOMEM;
    }
    x->hash = sw_hash(key, mask, words);
    x->sequence = t->sequence++;
    x->group = g;
    x->priority = priority;
    x->action = action;
    x->args = x->key + words;
    for (uint32_t i = 0; i < words; i++)
        x->key[i] = key[i] & mask[i];
    memcpy(x->args, args, t->desc->arg_words * sizeof *args);
    link = &g->slots[slot_of(g, key, x->hash, words)];
    g->used += !*link;
    while (*link && (*link)->priority > priority)
        link = &(*link)->next;
    x->next = *link;
    *link = x;
    t->entries++;
    group_count(t, g, priority);
    *handle = x->handle;
    return 0;
}

int sw_table_change(struct sw_table *t, uint64_t handle, uint32_t action, const uint64_t *args) {
    struct sw_entry *x = sw_table_entry(t, handle);
    if (!x)
        return -ENOENT;
    x->action = action;
    memcpy(x->args, args, t->desc->arg_words * sizeof *args);
    return 0;
}

int sw_table_remove(struct sw_table *t, uint64_t handle) {
    struct sw_entry *x = sw_table_entry(t, handle);
    if (!x)
        return -ENOENT;
    struct sw_group *g = x->group;
    uint32_t at = slot_of(g, x->key, x->hash, t->desc->key_words);
    struct sw_entry **link = &g->slots[at];
    while (*link != x)
        link = &(*link)->next;
    *link = x->next;
    if (!g->slots[at]) {
        slot_clear(g, at);
        g->used--;
    }
    struct sw_handle *h = &t->handles[(uint32_t)handle];
    h->entry = NULL;
    h->generation++;
    h->next_free = t->free_handle;
    t->free_handle = (uint32_t)handle;
    t->entries--;
    if (g->entries == 1)
        group_delete(t, g);
    else
        group_uncount(t, g, x->priority);
    free(x);
    return 0;
}

void sw_table_default(struct sw_table *t, uint32_t action, const uint64_t *args) {
    t->default_action = action;
    memcpy(t->default_args, args, t->desc->arg_words * sizeof *args);
}
