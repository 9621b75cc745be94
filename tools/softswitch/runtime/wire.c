#include "wire.h"

#include <errno.h>
#include <stdlib.h>

struct sw_wire {
    uint32_t n_tables, last; /* the table of the last update: the next one is often of the same */
    struct sw_wire_table *tables;
    struct sw_wire_field *fields;
    struct sw_wire_action *actions;
    struct sw_wire_param *params;
};

/* --- description ------------------------------------------------------------------------------ */

static void *copy(const void *from, uint32_t n, size_t size) {
    void *to = malloc(n * size + 1);
    if (to && n)
        memcpy(to, from, n * size);
    return to;
}

void sw_wire_free(struct sw_wire *w) {
    if (!w)
        return;
    free(w->tables);
    free(w->fields);
    free(w->actions);
    free(w->params);
    free(w);
}

static bool describable(const struct sw_wire_table *t, const struct sw_wire_field *fields,
                        const struct sw_wire_action *actions) {
    const struct sw_table_desc *desc = &sw_program.tables[t->table];
    if (desc->key_words > SW_WIRE_WORDS || desc->arg_words > SW_WIRE_WORDS)
        return false;
    for (uint32_t i = t->first_field; i < t->first_field + t->n_fields; i++)
        if (fields[i].bit + fields[i].width > 64 * desc->key_words)
            return false;
    for (uint32_t i = t->first_action; i < t->first_action + t->n_actions; i++)
        if (actions[i].n_params > desc->arg_words)
            return false;
    return true;
}

int sw_wire_describe(struct sw_engine *e, uint32_t n_tables, const struct sw_wire_table *tables,
                     uint32_t n_fields, const struct sw_wire_field *fields, uint32_t n_actions,
                     const struct sw_wire_action *actions, uint32_t n_params,
                     const struct sw_wire_param *params) {
    for (uint32_t i = 0; i < n_tables; i++)
        if (tables[i].table >= sw_program.n_tables || !describable(&tables[i], fields, actions))
            return -EINVAL;
    for (uint32_t i = 0; i < n_params; i++)
        if (params[i].width > 64)
            return -EINVAL;
    struct sw_wire *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->n_tables = n_tables;
    w->tables = copy(tables, n_tables, sizeof *tables);
    w->fields = copy(fields, n_fields, sizeof *fields);
    w->actions = copy(actions, n_actions, sizeof *actions);
    w->params = copy(params, n_params, sizeof *params);
    if (!w->tables || !w->fields || !w->actions || !w->params) {
        sw_wire_free(w);
        return -ENOMEM;
    }
    sw_wire_free(e->wire);
    e->wire = w;
    return 0;
}

/* --- protobuf's wire format ------------------------------------------------------------------- */

/* A field's tag: number and type, in one byte where the number is below 16. */
#define TAG_VARINT(number) ((number) << 3)
#define TAG_BYTES(number) ((number) << 3 | 2)

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct bytes {
    const uint8_t *at, *end;
};

static bool ended(const struct bytes *b) {
    return b->at == b->end;
}

/* False for a number that is not in the fewest bytes, too long or cut off. */
static bool varint(struct bytes *b, uint64_t *value) {
    uint64_t v = 0;
    for (uint32_t shift = 0; shift < 64 && b->at < b->end; shift += 7) {
        uint8_t byte = *b->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        *value = v;
        return (byte || !shift) && (shift < 63 || byte == 1);
    }
    return false;
}

static bool number(struct bytes *b, uint64_t most, uint64_t *value) {
    return varint(b, value) && *value <= most;
}

/* Whether the next field has this tag, which is then behind. */
static bool tagged(struct bytes *b, uint8_t tag) {
    if (b->at == b->end || *b->at != tag)
        return false;
    b->at++;
    return true;
}

/* What a length and so many bytes give. */
static bool block(struct bytes *b, struct bytes *inner) {
    uint64_t len;
    if (!varint(b, &len) || len > (uint64_t)(b->end - b->at))
        return false;
    *inner = (struct bytes){b->at, b->at + len};
    b->at += len;
    return true;
}

static bool tagged_block(struct bytes *b, uint8_t tag, struct bytes *inner) {
    return tagged(b, tag) && block(b, inner);
}

/* A number with a tag that is not 0, as which it would have been left out. */
static bool tagged_number(struct bytes *b, uint8_t tag, uint64_t most, uint64_t *value) {
    return tagged(b, tag) && number(b, most, value) && *value;
}

static bool skip_field(struct bytes *b, uint64_t tag) {
    struct bytes inner;
    uint64_t value;
    switch (tag & 7) {
    case VARINT:
        return varint(b, &value);
    case BYTES:
        return block(b, &inner);
    case FIXED32:
    case FIXED64: {
        ptrdiff_t size = (tag & 7) == FIXED32 ? 4 : 8;
        if (b->end - b->at < size)
            return false;
        b->at += size;
        return true;
    }
    default:
        return false;
    }
}

/* --- values ----------------------------------------------------------------------------------- */

/* A canonical byte string that fits the width, into words that are 0 there. Fields of up to 64 bits
 * lie within one word, wider ones begin at a word's bit 0. */
static bool value(struct bytes *b, uint8_t tag, uint32_t width, uint64_t *words, uint32_t bit) {
    struct bytes v;
    if (!tagged_block(b, tag, &v) || ended(&v))
        return false;
    size_t n = (size_t)(v.end - v.at), most = (width + 7) / 8;
    if (n > most || (n == most && width % 8 && v.at[0] >> width % 8) || (!v.at[0] && n > 1))
        return false;
    for (; v.at < v.end; v.at++) {
        uint32_t at = bit + 8 * (uint32_t)(v.end - v.at - 1);
        words[at / 64] |= (uint64_t)*v.at << at % 64;
    }
    return true;
}

/* The first `n` of the bits of a field that is `width` wide. */
static void set_prefix(uint64_t *words, uint32_t bit, uint32_t width, uint32_t n) {
    for (uint32_t i = bit + width - n; i < bit + width; i++)
        words[i / 64] |= 1ull << i % 64;
}

/* --- entries ---------------------------------------------------------------------------------- */

struct entry {
    const struct sw_wire_table *described;
    uint64_t key[SW_WIRE_WORDS], mask[SW_WIRE_WORDS], args[SW_WIRE_WORDS + 1];
    uint32_t priority; /* as the table wants it */
    uint32_t action;
};

static bool only_value(struct bytes *b, uint8_t tag, const struct sw_wire_field *f,
                       struct entry *x) {
    struct bytes m;
    set_prefix(x->mask, f->bit, f->width, f->width);
    return tagged_block(b, tag, &m) && value(&m, TAG_BYTES(1), f->width, x->key, f->bit) &&
           ended(&m);
}

static bool ternary(struct bytes *b, const struct sw_wire_field *f, struct entry *x) {
    struct bytes m;
    if (!tagged_block(b, TAG_BYTES(3), &m) || !value(&m, TAG_BYTES(1), f->width, x->key, f->bit))
        return false;
    struct bytes rest = m, mask; /* of all zeros it would be left out */
    return value(&m, TAG_BYTES(2), f->width, x->mask, f->bit) && ended(&m) &&
           tagged_block(&rest, TAG_BYTES(2), &mask) && *mask.at;
}

static bool lpm(struct bytes *b, const struct sw_wire_field *f, struct entry *x) {
    struct bytes m;
    uint64_t length;
    if (!tagged_block(b, TAG_BYTES(4), &m) || !value(&m, TAG_BYTES(1), f->width, x->key, f->bit) ||
        !tagged_number(&m, TAG_VARINT(2), f->width, &length) || !ended(&m))
        return false;
    set_prefix(x->mask, f->bit, f->width, (uint32_t)length);
    if (x->described->order == SW_WIRE_PREFIX)
        x->priority = (uint32_t)length;
    return true;
}

/* A FieldMatch after its field_id. */
static bool match(struct bytes *b, const struct sw_wire_field *f, struct entry *x) {
    switch (f->kind) {
    case SW_WIRE_EXACT:
        return only_value(b, TAG_BYTES(2), f, x) && ended(b);
    case SW_WIRE_TERNARY:
        return ternary(b, f, x) && ended(b);
    case SW_WIRE_LPM:
        return lpm(b, f, x) && ended(b);
    default:
        return only_value(b, TAG_BYTES(7), f, x) && ended(b);
    }
}

static bool key(struct bytes *b, const struct sw_wire *w, struct entry *x) {
    const struct sw_wire_field *f = w->fields + x->described->first_field;
    const struct sw_wire_field *last = f + x->described->n_fields;
    uint32_t words = sw_program.tables[x->described->table].key_words;
    struct bytes m;
    uint64_t id;
    memset(x->key, 0, words * sizeof *x->key);
    memset(x->mask, 0, words * sizeof *x->mask);
    while (tagged_block(b, TAG_BYTES(2), &m)) {
        if (!tagged_number(&m, TAG_VARINT(1), UINT32_MAX, &id))
            return false;
        for (; f < last && f->id != id; f++)
            if (f->kind == SW_WIRE_EXACT)
                return false;
        if (f == last || !match(&m, f++, x))
            return false;
    }
    for (; f < last; f++)
        if (f->kind == SW_WIRE_EXACT)
            return false;
    uint64_t outside = 0;
    for (uint32_t i = 0; i < words; i++)
        outside |= x->key[i] & ~x->mask[i];
    return !outside;
}

static bool params(struct bytes *b, const struct sw_wire *w, const struct sw_wire_action *a,
                   struct entry *x) {
    const struct sw_wire_param *p = w->params + a->first_param;
    uint32_t words = sw_program.tables[x->described->table].arg_words;
    memset(x->args, 0, (words + 1) * sizeof *x->args);
    for (uint32_t i = 0; i < a->n_params; i++) {
        struct bytes one;
        uint64_t id;
        if (!tagged_block(b, TAG_BYTES(4), &one) ||
            !tagged_number(&one, TAG_VARINT(2), UINT32_MAX, &id) || id != p[i].id ||
            !value(&one, TAG_BYTES(3), p[i].width, x->args + i, 0) || !ended(&one))
            return false;
    }
    x->action = a->action;
    return ended(b);
}

/* A TableAction. */
static bool action(struct bytes *b, const struct sw_wire *w, struct entry *x) {
    const struct sw_wire_action *a = w->actions + x->described->first_action;
    const struct sw_wire_action *last = a + x->described->n_actions;
    struct bytes direct;
    uint64_t id;
    if (!tagged_block(b, TAG_BYTES(1), &direct) || !ended(b) ||
        !tagged_number(&direct, TAG_VARINT(1), UINT32_MAX, &id))
        return false;
    while (a < last && a->id != id)
        a++;
    return a < last && params(&direct, w, a, x);
}

static const struct sw_wire_table *described(struct sw_wire *w, uint64_t id) {
    for (uint32_t i = 0; i < w->n_tables; i++, w->last = (w->last + 1) % w->n_tables)
        if (w->tables[w->last].id == id)
            return &w->tables[w->last];
    return NULL;
}

/* A TableEntry. For a DELETE its action does not matter. */
static bool entry(struct bytes *b, struct sw_wire *w, uint64_t kind, struct entry *x) {
    struct bytes given;
    uint64_t n;
    if (!tagged_number(b, TAG_VARINT(1), UINT32_MAX, &n))
        return false;
    x->described = described(w, n);
    x->priority = 0;
    if (!x->described || !key(b, w, x))
        return false;
    if (tagged_block(b, TAG_BYTES(3), &given)) {
        if (kind != SW_WIRE_DELETE && !action(&given, w, x))
            return false;
    } else if (kind != SW_WIRE_DELETE) {
        return false;
    }
    if (x->described->order == SW_WIRE_PRIORITY) {
        if (!tagged_number(b, TAG_VARINT(4), INT32_MAX, &n))
            return false;
        x->priority = (uint32_t)n;
    }
    /* the controller's metadata, which are kept with the rest */
    if (tagged(b, TAG_VARINT(5)) && (!varint(b, &n) || !n))
        return false;
    if (tagged_block(b, TAG_BYTES(11), &given) && ended(&given))
        return false;
    return ended(b);
}

/* --- updates ---------------------------------------------------------------------------------- */

static bool insert(struct sw_engine *e, const struct entry *x, uint64_t now_us, uint64_t *handle) {
    struct sw_table *t = &e->tables[x->described->table];
    if (x->described->limit && t->entries >= x->described->limit)
        return false;
    return !sw_table_add(t, x->key, x->mask, x->priority, x->action, x->args, now_us, handle);
}

static bool modify(struct sw_engine *e, const struct entry *x, uint64_t now_us, uint64_t *handle) {
    struct sw_table *t = &e->tables[x->described->table];
    if (x->described->metered || !sw_table_find(t, x->key, x->mask, x->priority, handle, 1))
        return false;
    struct sw_entry *found = sw_table_entry(t, *handle);
    if (found->idle_ms)
        return false;
    if (found->action == x->action &&
        !memcmp(found->args, x->args, t->desc->arg_words * sizeof *x->args))
        return true;
    if (sw_table_change(t, *handle, x->action, x->args))
        return false;
    if (x->described->ages) { /* as when a timeout is set: its clock starts anew */
        sw_lock(e);
        found->hit_us = now_us;
        sw_unlock(e);
    }
    return true;
}

static bool apply(struct sw_engine *e, const struct entry *x, uint32_t kind, uint64_t now_us,
                  uint64_t *handle) {
    struct sw_table *t = &e->tables[x->described->table];
    if (kind == SW_WIRE_INSERT)
        return insert(e, x, now_us, handle);
    if (kind == SW_WIRE_MODIFY)
        return modify(e, x, now_us, handle);
    return sw_table_find(t, x->key, x->mask, x->priority, handle, 1) && !sw_remove(e, t, *handle);
}

/* An Update. */
static bool update(struct sw_engine *e, struct bytes b, uint64_t now_us,
                   struct sw_wire_taken *taken, struct bytes *where) {
    struct bytes entity;
    struct entry x;
    uint64_t kind;
    if (!tagged_number(&b, TAG_VARINT(1), SW_WIRE_DELETE, &kind) ||
        !tagged_block(&b, TAG_BYTES(2), &entity) || !ended(&b) ||
        !tagged_block(&entity, TAG_BYTES(2), where) || !ended(&entity))
        return false;
    struct bytes rest = *where;
    sw_edit(e);
    bool done =
        entry(&rest, e->wire, kind, &x) && apply(e, &x, (uint32_t)kind, now_us, &taken->handle);
    sw_edited(e);
    if (done) {
        taken->table = x.described->id;
        taken->kind = (uint32_t)kind;
    }
    return done;
}

int sw_wire_write(struct sw_engine *e, const uint8_t *data, uint32_t len, uint32_t *at,
                  uint32_t skip, uint32_t most, struct sw_wire_taken *out) {
    struct bytes b = {data + *at, data + len};
    uint64_t now_us = sw_now_us(e);
    uint32_t n = 0;
    while (n < most && !ended(&b)) {
        struct bytes one, where;
        uint64_t tag;
        bool ok = varint(&b, &tag);
        if (ok && tag != TAG_BYTES(4)) {
            ok = skip_field(&b, tag);
        } else if (ok && block(&b, &one)) {
            if (skip)
                skip--;
            else if (!e->wire || !update(e, one, now_us, &out[n], &where))
                break;
            else {
                out[n].at = (uint32_t)(where.at - data);
                out[n++].len = (uint32_t)(where.end - where.at);
            }
        } else {
            ok = false;
        }
        if (!ok)
            break;
        *at = (uint32_t)(b.at - data);
    }
    return (int)n;
}
