#include "event.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MOST_BYTES (8u << 20)

int sw_events_init(struct sw_events *q) {
    pthread_mutex_init(&q->lock, NULL);
    q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return q->fd < 0 ? -errno : 0;
}

void sw_events_destroy(struct sw_events *q) {
    free(q->data);
    if (q->fd >= 0)
        close(q->fd);
    pthread_mutex_destroy(&q->lock);
}

static bool reserve(struct sw_events *q, size_t more) {
    size_t capacity = q->capacity ? q->capacity : 4096;
    if (q->used + more > MOST_BYTES)
        return false;
    while (capacity < q->used + more)
        capacity *= 2;
    if (capacity == q->capacity)
        return true;
    uint8_t *data = realloc(q->data, capacity);
    if (!data)
        return false;
    q->data = data;
    q->capacity = capacity;
    return true;
}

void sw_events_add(struct sw_events *q, uint32_t kind, const void *a, size_t a_len, const void *b,
                   size_t b_len) {
    uint32_t head[2] = {kind, (uint32_t)(a_len + b_len)};
    size_t size = (sizeof head + a_len + b_len + 7) / 8 * 8;
    uint64_t one = 1;
    pthread_mutex_lock(&q->lock);
    bool first = q->used == 0, room = reserve(q, size);
    if (room) {
        uint8_t *at = q->data + q->used;
        memcpy(at, head, sizeof head);
        if (a_len)
            memcpy(at + sizeof head, a, a_len);
        if (b_len)
            memcpy(at + sizeof head + a_len, b, b_len);
        q->used += size;
    } else {
        q->lost++;
    }
    pthread_mutex_unlock(&q->lock);
    while (room && first && write(q->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void sw_events_take(struct sw_events *q, uint8_t **data, size_t *len) {
    uint64_t count;
    while (read(q->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&q->lock);
    *data = q->data;
    *len = q->used;
    q->data = NULL;
    q->used = q->capacity = 0;
    pthread_mutex_unlock(&q->lock);
}

uint64_t sw_events_lost(struct sw_events *q) {
    pthread_mutex_lock(&q->lock);
    uint64_t lost = q->lost;
    pthread_mutex_unlock(&q->lock);
    return lost;
}
