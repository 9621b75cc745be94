#include "queue.h"

#include <stdlib.h>

/* One rate: when the next packet may go. */
struct limit {
    double us_per_unit; /* 0: no limit */
    bool bits;
    bool backlog; /* since the last packet something has waited all the time */
    double due_us;
};

struct fifo {
    struct sw_queued *first, *last;
    uint32_t n;
};

struct sw_shaper {
    struct fifo fifos[SW_QUEUES];
    struct limit limits[SW_QUEUES + 1]; /* the last is the port's */
    uint32_t n;
};

/* How far a port catches up that is late by its timer. */
#define MOST_LATE_US 50000

struct sw_shaper *sw_shaper_new(void) {
    return calloc(1, sizeof(struct sw_shaper));
}

void sw_shaper_rate(struct sw_shaper *s, uint32_t queue, struct sw_rate rate) {
    s->limits[queue] = (struct limit){
        .us_per_unit = rate.per_second ? 1e6 / (double)rate.per_second : 0, .bits = rate.bits};
}

bool sw_shaper_ended(const struct sw_shaper *s) {
    for (uint32_t i = 0; i <= SW_QUEUES; i++)
        if (s->limits[i].us_per_unit > 0)
            return false;
    return !s->n;
}

static struct sw_queued *pop(struct sw_shaper *s, struct fifo *f) {
    struct sw_queued *q = f->first;
    f->first = q->next;
    f->n--;
    s->n--;
    return q;
}

void sw_shaper_clear(struct sw_shaper *s) {
    for (uint32_t i = 0; s && i < SW_QUEUES; i++)
        while (s->fifos[i].n)
            free(pop(s, &s->fifos[i]));
}

void sw_shaper_free(struct sw_shaper *s) {
    sw_shaper_clear(s);
    free(s);
}

bool sw_shaper_put(struct sw_shaper *s, uint32_t queue, const uint8_t *headers, uint32_t header_len,
                   const uint8_t *payload, uint32_t payload_len) {
    struct fifo *f = &s->fifos[queue];
    if (f->n == SW_QUEUE_DEPTH)
        return false;
    struct sw_queued *q = malloc(sizeof *q + header_len + payload_len);
    if (!q)
        return false;
    q->next = NULL;
    q->len = header_len + payload_len;
    q->queue = queue;
    memcpy(q->data, headers, header_len);
    if (payload_len)
        memcpy(q->data + header_len, payload, payload_len);
    if (f->n)
        f->last->next = q;
    else
        f->first = q;
    f->last = q;
    f->n++;
    s->n++;
    return true;
}

/* Whether a packet may go; `waits` says that there is one. */
static bool due(struct limit *l, double now, bool waits) {
    if (l->us_per_unit <= 0 || (waits && l->due_us <= now))
        return true;
    l->backlog = waits;
    return false;
}

static void charge(struct limit *l, double now, uint32_t len) {
    /* what was idle starts anew; what is late by its timer keeps its rate */
    if (!l->backlog || now - l->due_us > MOST_LATE_US)
        l->due_us = now;
    l->due_us += l->us_per_unit * (l->bits ? 8.0 * len : 1.0);
    l->backlog = true;
}

struct sw_queued *sw_shaper_take(struct sw_shaper *s, uint64_t now_us) {
    double now = (double)now_us;
    struct sw_queued *taken = NULL;
    for (uint32_t i = 0; !s->n && i <= SW_QUEUES; i++)
        s->limits[i].backlog = false;
    if (!s->n || !due(&s->limits[SW_WHOLE_PORT], now, true))
        return NULL;
    for (uint32_t i = SW_QUEUES; i-- > 0;) {
        if (!due(&s->limits[i], now, s->fifos[i].n) || !s->fifos[i].n || taken)
            continue;
        taken = pop(s, &s->fifos[i]);
        charge(&s->limits[i], now, taken->len);
        charge(&s->limits[SW_WHOLE_PORT], now, taken->len);
    }
    return taken;
}

uint64_t sw_shaper_next(const struct sw_shaper *s) {
    double port = s->limits[SW_WHOLE_PORT].due_us, first = 0;
    bool found = false;
    for (uint32_t i = 0; i < SW_QUEUES; i++) {
        if (!s->fifos[i].n)
            continue;
        double at = s->limits[i].due_us > port ? s->limits[i].due_us : port;
        if (!found || at < first)
            first = at;
        found = true;
    }
    return found ? (uint64_t)first + 1 : 0;
}

uint32_t sw_shaper_depth(const struct sw_shaper *s, uint32_t queue) {
    return s->fifos[queue].n;
}
