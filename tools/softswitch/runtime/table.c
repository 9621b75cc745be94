#include "table.h"

#include <errno.h>
#include <stdlib.h>

#define NO_FREE UINT32_MAX
#define MOST_REMOVED 1 /* kept until packets have let go of them */

struct sw_entry sw_gone;

static void close_gate(const struct sw_table *t) {
    t->gate.close(t->gate.owner);
}

static void open_gate(const struct sw_table *t) {
    t->gate.open(t->gate.owner);
}

static void group_free(struct sw_group *g) {
    free(g->slots);
    free(g->ranking);
    free(g);
}

int sw_table_init(struct sw_table *t, const struct sw_table_desc *desc, struct sw_gate gate) {
    memset(t, 0, sizeof *t);
    t->desc = desc;
    t->gate = gate;
    t->free_handle = NO_FREE;
    t->default_action = SW_NO_ACTION;
    t->default_args = calloc(desc->arg_words + 1, sizeof *t->default_args);
    return t->default_args ? 0 : -ENOMEM;
}

static void free_all(struct sw_entry *x) {
    while (x) {
        struct sw_entry *next = x->next;
        free(x);
        x = next;
    }
}

void sw_table_clear(struct sw_table *t) {
    for (uint32_t i = 0; i < t->n_handles; i++)
        free(t->handles[i].entry);
    for (uint32_t i = 0; i < t->n_groups; i++)
        group_free(t->groups[i]);
    free_all(t->left);
    free_all(t->removed);
    free(t->groups);
    free(t->handles);
    free(t->default_args);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* The slot of a key's entries, or the one where they would go. */
static uint32_t slot_of(const struct sw_group *g, const uint64_t *key, uint64_t hash,
                        uint32_t words) {
    uint32_t i = (uint32_t)hash & g->slot_mask, gone = UINT32_MAX;
    for (; g->slots[i]; i = (i + 1) & g->slot_mask) {
        if (g->slots[i] == &sw_gone)
            gone = gone == UINT32_MAX ? i : gone;
        else if (g->slots[i]->hash == hash && sw_same(g->slots[i], key, g->mask, words))
            return i;
    }
    return gone == UINT32_MAX ? i : gone;
}

/* The entries of a slot, or NULL. */
static struct sw_entry *chain(const struct sw_group *g, uint32_t slot) {
    return g->slots[slot] == &sw_gone ? NULL : g->slots[slot];
}

/* A hash table with room for more, and without what is gone. */
static int group_grow(struct sw_table *t, struct sw_group *g) {
    uint32_t size = g->slot_mask + 1;
    if ((g->used - g->gone) * 4 > size)
        size *= 2;
    struct sw_entry **slots = calloc(size, sizeof *slots), **old = g->slots;
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i <= g->slot_mask; i++) {
        if (!chain(g, i))
            continue;
        uint32_t j = (uint32_t)old[i]->hash & (size - 1);
        while (slots[j])
            j = (j + 1) & (size - 1);
        slots[j] = old[i];
    }
    close_gate(t);
    g->slots = slots;
    g->slot_mask = size - 1;
    open_gate(t);
    g->used -= g->gone;
    g->gone = 0;
    free(old);
    return 0;
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

/* A group that is not in the table yet; room for it is. */
static struct sw_group *group_new(struct sw_table *t, const uint64_t *mask) {
    size_t bytes = t->desc->key_words * sizeof *mask;
    if (t->n_groups == t->group_capacity) {
        uint32_t capacity = t->group_capacity ? t->group_capacity * 2 : 4;
        struct sw_group **groups = malloc(capacity * sizeof(struct sw_group *)), **old = t->groups;
        if (!groups)
            return NULL;
        if (old)
            memcpy(groups, old, t->n_groups * sizeof(struct sw_group *));
        close_gate(t);
        t->groups = groups;
        open_gate(t);
        t->group_capacity = capacity;
        free(old);
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
    return g;
}

static void group_take_out(struct sw_table *t, const struct sw_group *g) {
    uint32_t i = group_index(t, g);
    memmove(t->groups + i, t->groups + i + 1, (t->n_groups - i - 1) * sizeof(struct sw_group *));
    t->n_groups--;
}

/* --- ranking ---------------------------------------------------------------------------------- */

/* A group's highest priority decides when a lookup may stop. In a table that is not overlapping a
 * group has but one; otherwise a heap knows it, so that no removal has to look at all entries. */

static void rank(struct sw_group *g, uint32_t at, struct sw_entry *x) {
    g->ranking[at] = x;
    x->ranked = at;
}

static void rank_up(struct sw_group *g, uint32_t at, struct sw_entry *x) {
    for (; at > 0 && g->ranking[(at - 1) / 2]->priority < x->priority; at = (at - 1) / 2)
        rank(g, at, g->ranking[(at - 1) / 2]);
    rank(g, at, x);
}

static void rank_down(struct sw_group *g, uint32_t n, uint32_t at, struct sw_entry *x) {
    for (uint32_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && g->ranking[child + 1]->priority > g->ranking[child]->priority)
            child++;
        if (g->ranking[child]->priority <= x->priority)
            break;
        rank(g, at, g->ranking[child]);
        at = child;
    }
    rank(g, at, x);
}

static int ranking_reserve(struct sw_group *g) {
    if (g->entries < g->ranking_room)
        return 0;
    uint32_t room = g->ranking_room ? g->ranking_room * 2 : 8;
    struct sw_entry **ranking = realloc(g->ranking, room * sizeof *ranking);
    if (!ranking)
        return -ENOMEM;
    g->ranking = ranking;
    g->ranking_room = room;
    return 0;
}

/* Take x out of the ranking of g->entries entries. */
static void ranking_remove(struct sw_group *g, const struct sw_entry *x) {
    uint32_t n = g->entries - 1, at = x->ranked;
    struct sw_entry *last = g->ranking[n];
    if (last == x)
        return;
    if (at > 0 && g->ranking[(at - 1) / 2]->priority < last->priority)
        rank_up(g, at, last);
    else
        rank_down(g, n, at, last);
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

/* The entries of a key, or NULL. */
static struct sw_entry *same_key(const struct sw_group *g, const uint64_t *key, uint32_t words) {
    return chain(g, slot_of(g, key, sw_hash(key, g->mask, words), words));
}

uint32_t sw_table_find(const struct sw_table *t, const uint64_t *key, const uint64_t *mask,
                       uint32_t priority, uint64_t *handles, uint32_t most) {
    const struct sw_group *g = group_find(t, mask);
    uint32_t n = 0;
    for (const struct sw_entry *x = g ? same_key(g, key, t->desc->key_words) : NULL; x;
         x = x->next) {
        if (t->desc->overlapping && priority && x->priority != priority)
            continue;
        if (n < most)
            handles[n] = x->handle;
        n++;
    }
    return n;
}

/* --- entries ---------------------------------------------------------------------------------- */

static struct sw_entry *entry_new(struct sw_table *t, struct sw_group *g, const uint64_t *key,
                                  uint32_t priority, uint32_t action, const uint64_t *args) {
    uint32_t words = t->desc->key_words;
    struct sw_entry *x = calloc(1, sizeof *x + (words + t->desc->arg_words) * sizeof *key);
    if (!x)
        return NULL;
    x->hash = sw_hash(key, g->mask, words);
    x->sequence = t->sequence++;
    x->group = g;
    x->priority = priority;
    x->action = action;
    x->args = x->key + words;
    for (uint32_t i = 0; i < words; i++)
        x->key[i] = key[i] & g->mask[i];
    memcpy(x->args, args, t->desc->arg_words * sizeof *args);
    return x;
}

/* Room for one more entry in a group, and a handle for it. */
static int make_room(struct sw_table *t, struct sw_group *g, struct sw_entry *x) {
    if (t->desc->overlapping && ranking_reserve(g))
        return -ENOMEM;
    if ((g->used + 1) * 2 > g->slot_mask && group_grow(t, g))
        return -ENOMEM;
    return handle_new(t, x);
}

/* Whether a group's place among the others stays the same with this highest priority. */
static bool in_place(const struct sw_table *t, const struct sw_group *g, uint32_t priority) {
    if (priority <= g->max_priority)
        return true;
    uint32_t i = group_index(t, g);
    return i == 0 || t->groups[i - 1]->max_priority >= priority;
}

/* Let packets see an entry at its place. */
static void publish(struct sw_table *t, struct sw_group *g, struct sw_entry **link,
                    struct sw_entry *x, bool known) {
    if (known && in_place(t, g, x->priority)) {
        if (x->priority > g->max_priority)
            SW_SHOW(g->max_priority, x->priority); /* first: a lookup that sees x must not stop */
        SW_SHOW(*link, x);
        return;
    }
    close_gate(t);
    *link = x;
    g->max_priority = x->priority;
    if (!known)
        t->groups[t->n_groups++] = g;
    reorder(t, group_index(t, g));
    open_gate(t);
}

int sw_table_add(struct sw_table *t, const uint64_t *key, const uint64_t *mask, uint32_t priority,
                 uint32_t action, const uint64_t *args, uint64_t now_us, uint64_t *handle) {
    uint32_t words = t->desc->key_words;
    struct sw_group *known = group_find(t, mask), *g = known;
    if (g) {
        const struct sw_entry *same = same_key(g, key, words);
        if (same && !t->desc->overlapping)
            return -EEXIST;
        for (; same; same = same->next)
            if (same->priority == priority)
                return -EEXIST;
    }
    if (t->entries >= t->desc->max_size)
        return -ENOSPC;
    if (!g)
        g = group_new(t, mask);
    struct sw_entry *x = g ? entry_new(t, g, key, priority, action, args) : NULL;
    if (!x || make_room(t, g, x)) {
        if (g && !known)
            group_free(g);
        free(x);
        return -ENOMEM;
    }
    x->hit_us = now_us;
    if (t->desc->overlapping)
        rank_up(g, g->entries, x);
    uint32_t slot = slot_of(g, key, x->hash, words);
    struct sw_entry **link = &g->slots[slot], *next = chain(g, slot);
    g->used += !*link;
    g->gone -= *link == &sw_gone;
    for (; next && next->priority > priority; next = *link)
        link = &next->next;
    x->next = next;
    publish(t, g, link, x, known);
    g->entries++;
    t->entries++;
    *handle = x->handle;
    return 0;
}

int sw_table_change(struct sw_table *t, uint64_t handle, uint32_t action, const uint64_t *args) {
    struct sw_entry *x = sw_table_entry(t, handle);
    if (!x)
        return -ENOENT;
    close_gate(t);
    x->action = action;
    memcpy(x->args, args, t->desc->arg_words * sizeof *args);
    open_gate(t);
    return 0;
}

static void lower_priority(struct sw_table *t, struct sw_group *g, uint32_t priority) {
    uint32_t i = group_index(t, g);
    if (i + 1 == t->n_groups || t->groups[i + 1]->max_priority <= priority) {
        SW_SHOW(g->max_priority, priority);
        return;
    }
    close_gate(t);
    g->max_priority = priority;
    reorder(t, i);
    open_gate(t);
}

/* A batch that is under way may have found the entry, a later one has not. */
static void free_later(struct sw_table *t, struct sw_entry *x) {
    x->next = t->removed;
    t->removed = x;
    if (++t->n_removed < MOST_REMOVED)
        return;
    /* what was taken out of a lookup's sight must be so before the count is read */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t passes = __atomic_load_n(t->gate.passes, __ATOMIC_RELAXED);
    if (t->left && t->left_at % 2 && t->left_at == passes)
        return;
    free_all(t->left);
    t->left = t->removed;
    t->left_at = passes;
    t->removed = NULL;
    t->n_removed = 0;
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
    bool last = g->entries == 1, lower = false;
    if (t->desc->overlapping) {
        ranking_remove(g, x);
        lower = !last && g->ranking[0]->priority < g->max_priority;
    }
    if (last) {
        close_gate(t);
        group_take_out(t, g);
        open_gate(t);
    } else {
        bool alone = link == &g->slots[at] && !x->next;
        SW_SHOW(*link, alone ? &sw_gone : x->next);
        g->gone += alone;
        if (lower)
            lower_priority(t, g, g->ranking[0]->priority);
    }
    g->entries--;
    struct sw_handle *h = &t->handles[(uint32_t)handle];
    h->entry = NULL;
    h->generation++;
    h->next_free = t->free_handle;
    t->free_handle = (uint32_t)handle;
    t->entries--;
    if (last)
        group_free(g);
    free_later(t, x);
    return 0;
}

void sw_table_default(struct sw_table *t, uint32_t action, const uint64_t *args) {
    close_gate(t);
    t->default_action = action;
    memcpy(t->default_args, args, t->desc->arg_words * sizeof *args);
    open_gate(t);
}
