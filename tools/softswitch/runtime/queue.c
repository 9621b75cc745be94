#include "queue.h"

#include <stdlib.h>

struct fifo {
    struct sw_queued *first, *last;
    uint32_t n;
};

struct sw_shaper {
    struct fifo fifos[SW_QUEUES];
    double interval_us;
    double due_us; /* when the port is free again */
    bool backlog;  /* since then something has waited all the time */
    uint32_t n;
};

/* How far a port catches up that is late by its timer. */
#define MOST_LATE_US 50000

struct sw_shaper *sw_shaper_new(uint64_t pps) {
    struct sw_shaper *s = calloc(1, sizeof *s);
    if (s)
        sw_shaper_rate(s, pps);
    return s;
}

void sw_shaper_rate(struct sw_shaper *s, uint64_t pps) {
    s->interval_us = pps ? 1e6 / (double)pps : 0;
    s->due_us = 0;
}

bool sw_shaper_ended(const struct sw_shaper *s) {
    return s->interval_us == 0 && !s->n;
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

struct sw_queued *sw_shaper_take(struct sw_shaper *s, uint64_t now_us) {
    double now = (double)now_us;
    if (!s->n || s->due_us > now) {
        s->backlog = s->n;
        return NULL;
    }
    /* a port that was idle starts anew; one that is late by its timer keeps its rate */
    if (!s->backlog || now - s->due_us > MOST_LATE_US)
        s->due_us = now;
    s->due_us += s->interval_us;
    s->backlog = true;
    for (uint32_t i = SW_QUEUES; i-- > 0;)
        if (s->fifos[i].n)
            return pop(s, &s->fifos[i]);
    return NULL;
}

uint64_t sw_shaper_next(const struct sw_shaper *s) {
    return s->n ? (uint64_t)s->due_us + 1 : 0;
}

uint32_t sw_shaper_depth(const struct sw_shaper *s, uint32_t queue) {
    return s->fifos[queue].n;
}
