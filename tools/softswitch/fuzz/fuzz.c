/* A coverage-guided fuzzer of a pipeline, linked into it in place of a main program.
 *
 * The compiler has put a call of __sanitizer_cov_trace_pc into every basic block. A packet that
 * takes an edge, or takes it so often, as none before is worth keeping and changing further.
 * Everything follows from the seed.
 */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>

#define MAP_SIZE (1u << 15)
#define MOST_BYTES 2048
#define MOST_CHANGES 6
#define BLIND __attribute__((no_sanitize_coverage))

static uint8_t edges[MAP_SIZE];
static uintptr_t previous;

void __sanitizer_cov_trace_pc(void);

BLIND void __sanitizer_cov_trace_pc(void) {
    /* relative to this function, so that it is the same in every run */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)__sanitizer_cov_trace_pc;
    uintptr_t mixed = (here * 0x9e3779b97f4a7c15ull) >> 40;
    uint8_t *edge = &edges[(mixed ^ previous) % MAP_SIZE];
    *edge = (uint8_t)(*edge + (*edge != 255));
    previous = mixed >> 1;
}

struct input {
    uint32_t port, len;
    uint8_t *data;
};

struct inputs {
    struct input *of;
    uint32_t n, room;
};

static BLIND uint64_t draw(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1dull;
}

static BLIND uint32_t below(uint64_t *state, uint32_t limit) {
    return limit ? (uint32_t)((draw(state) >> 32) % limit) : 0;
}

static BLIND bool keep(struct inputs *all, uint32_t port, const uint8_t *data, uint32_t len) {
    if (all->n == all->room) {
        uint32_t room = all->room ? all->room * 2 : 256;
        struct input *of = realloc(all->of, room * sizeof *of);
        if (!of)
            return false;
        all->of = of;
        all->room = room;
    }
    uint8_t *copy = malloc(len + 1);
    if (!copy)
        return false;
    memcpy(copy, data, len);
    all->of[all->n++] = (struct input){port, len, copy};
    return true;
}

static BLIND void forget(struct inputs *all) {
    for (uint32_t i = 0; i < all->n; i++)
        free(all->of[i].data);
    free(all->of);
}

static BLIND uint32_t change(uint64_t *rng, const struct inputs *all, uint8_t *b, uint32_t len) {
    static const uint8_t telling[] = {0, 1, 4, 5, 6, 17, 47, 64, 127, 128, 255, 0x81, 0x86, 0x65};
    uint32_t at = below(rng, len), n = 1 + below(rng, 8);
    switch (below(rng, 8)) {
    case 0:
        if (len)
            b[at] ^= (uint8_t)(1u << below(rng, 8));
        break;
    case 1:
        if (len)
            b[at] = (uint8_t)draw(rng);
        break;
    case 2:
        if (len)
            b[at] = telling[below(rng, sizeof telling)];
        break;
    case 3:
        if (len)
            b[at] = (uint8_t)(b[at] + below(rng, 9) - 4);
        break;
    case 4: /* cut */
        return below(rng, len + 1);
    case 5: /* take some bytes out */
        if (at + n > len)
            break;
        memmove(b + at, b + at + n, len - at - n);
        return len - n;
    case 6: /* put some in */
        if (len + n > MOST_BYTES)
            break;
        memmove(b + at + n, b + at, len - at);
        for (uint32_t i = 0; i < n; i++)
            b[at + i] = (uint8_t)draw(rng);
        return len + n;
    default: { /* the rest of another one */
        const struct input *other = &all->of[below(rng, all->n)];
        uint32_t from = below(rng, other->len + 1), more = other->len - from;
        if (at + more > MOST_BYTES)
            break;
        memcpy(b + at, other->data + from, more);
        return at + more;
    }
    }
    return len;
}

/* How often, in classes that matter: once, twice, a few times, many times. */
static BLIND uint8_t class_of(uint8_t count) {
    return count < 3 ? count : count < 8 ? 4 : count < 32 ? 8 : 16;
}

/* Whether the last packet did what none before has done. */
static BLIND bool is_new(uint8_t *seen) {
    bool found = false;
    for (uint32_t i = 0; i < MAP_SIZE; i += 8) {
        uint64_t eight;
        memcpy(&eight, edges + i, 8);
        for (uint32_t j = i; eight && j < i + 8; j++) {
            uint8_t of = class_of(edges[j]);
            found |= (of & ~seen[j]) != 0;
            seen[j] |= of;
        }
    }
    return found;
}

static BLIND bool run_one(struct sw_engine *e, uint8_t *seen, uint32_t port, const uint8_t *data,
                          uint32_t len) {
    const uint8_t *out;
    size_t out_len, events_len;
    uint8_t *events;
    uint8_t *exact = malloc(len ? len : 1); /* of its own, so that every byte beyond is caught */
    if (!exact)
        return false;
    memcpy(exact, data, len);
    memset(edges, 0, sizeof edges);
    previous = 0;
    sw_process(e, port, exact, len, &out, &out_len);
    bool found = is_new(seen);
    free(exact);
    sw_take_events(e, &events, &events_len);
    sw_free(events);
    return found;
}

/* Records as sw_process() writes them: port, length, bytes. */
static BLIND int read_inputs(struct inputs *all, const uint8_t *data, size_t len) {
    for (size_t at = 0; at + 8 <= len;) {
        uint32_t head[2];
        memcpy(head, data + at, sizeof head);
        at += sizeof head;
        if (head[1] > len - at)
            return -EINVAL;
        if (head[1] <= MOST_BYTES && !keep(all, head[0], data + at, head[1]))
            return -ENOMEM;
        at += head[1];
    }
    return all->n ? 0 : -EINVAL;
}

static BLIND int write_inputs(const struct inputs *all, uint32_t first, uint8_t **out,
                              size_t *out_len) {
    size_t size = 0, at = 0;
    for (uint32_t i = first; i < all->n; i++)
        size += 8 + all->of[i].len;
    uint8_t *data = malloc(size + 1);
    if (!data)
        return -ENOMEM;
    for (uint32_t i = first; i < all->n; i++) {
        const struct input *one = &all->of[i];
        memcpy(data + at, &one->port, 4);
        memcpy(data + at + 4, &one->len, 4);
        memcpy(data + at + 8, one->data, one->len);
        at += 8 + one->len;
    }
    *out = data;
    *out_len = size;
    return 0;
}

/* Run n packets made from those in `known`. `seen` has MAP_SIZE bytes and is carried on; *fresh are
 * the packets worth keeping, the caller's to sw_free(). */
int sw_fuzz(struct sw_engine *e, uint64_t seed, uint64_t n, const uint8_t *known, size_t known_len,
            uint8_t *seen, uint8_t **fresh, size_t *fresh_len);

BLIND int sw_fuzz(struct sw_engine *e, uint64_t seed, uint64_t n, const uint8_t *known,
                  size_t known_len, uint8_t *seen, uint8_t **fresh, size_t *fresh_len) {
    static uint8_t packet[MOST_BYTES];
    struct inputs all = {0};
    uint64_t rng = seed * 2 + 1;
    int rc = read_inputs(&all, known, known_len);
    uint32_t given = all.n;
    for (uint32_t i = 0; !rc && i < given && n; i++, n--)
        run_one(e, seen, all.of[i].port, all.of[i].data, all.of[i].len);
    for (; !rc && n; n--) {
        const struct input *from = &all.of[below(&rng, all.n)];
        uint32_t port = from->port, len = from->len;
        memcpy(packet, from->data, len);
        for (uint32_t i = 1 + below(&rng, MOST_CHANGES); i; i--)
            len = change(&rng, &all, packet, len);
        if (!below(&rng, 16))
            port = below(&rng, SW_DROP_PORT);
        if (run_one(e, seen, port, packet, len) && !keep(&all, port, packet, len))
            rc = -ENOMEM;
    }
    if (!rc)
        rc = write_inputs(&all, given, fresh, fresh_len);
    forget(&all);
    return rc;
}
