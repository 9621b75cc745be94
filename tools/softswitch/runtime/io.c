#define _GNU_SOURCE
#include "io.h"
#include "port.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PORTS 512
#define PREFETCH 4
#define ROUNDS 4 /* batches of one port before the others get their turn */
/* Slots of the receive rings: all ports share them, but no port has more or less than these. */
#define SLOTS 16384
#define SLOTS_MOST 8192
#define SLOTS_LEAST 512
#define NICE (-20)
#define AGE_INTERVAL_MS 250
#define AGE_PAUSE_MS 1 /* within one look at all entries */
#define MOST_INJECTED 4096

/* A packet that the control side hands in. */
struct injected {
    struct injected *next;
    uint64_t id;
    uint32_t port, len;
    bool mark; /* no packet: report that what came before is done */
    uint8_t data[];
};

struct sw_io {
    struct sw_port *ports[PORTS];
    struct sw_port *dirty[PORTS];
    uint32_t n_dirty;
    int epoll, stop, wake, timer; /* from create to destroy */
    pthread_mutex_t control;      /* start, stop, new ports; taken before the engine's lock */
    pthread_mutex_t inject_lock;  /* nothing is taken while it is held */
    struct injected *first, **last;
    uint32_t n_injected; /* waiting */
    uint32_t n_shaped;   /* ports with a rate */
    bool running;        /* written with both `control` and `inject_lock` */
    pthread_t thread;
    uint8_t *queued; /* room for a frame that is longer than a ring's slot */
};

static int watch(struct sw_io *io, int fd, void *tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    return epoll_ctl(io->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int sw_io_create(struct sw_engine *e) {
    struct sw_io *io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->last = &io->first;
    pthread_mutex_init(&io->control, NULL);
    pthread_mutex_init(&io->inject_lock, NULL);
    e->io = io;
    io->epoll = epoll_create1(EPOLL_CLOEXEC);
    io->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    io->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    io->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (io->epoll < 0 || io->stop < 0 || io->wake < 0 || io->timer < 0)
        return -errno;
    int rc = watch(io, io->stop, &io->stop);
    if (!rc)
        rc = watch(io, io->wake, &io->wake);
    return rc ? rc : watch(io, io->timer, &io->timer);
}

static struct injected *take_injected(struct sw_io *io) {
    pthread_mutex_lock(&io->inject_lock);
    struct injected *list = io->first;
    io->first = NULL;
    io->last = &io->first;
    io->n_injected = 0;
    pthread_mutex_unlock(&io->inject_lock);
    return list;
}

static void drop_injected(struct sw_io *io) {
    struct injected *list = take_injected(io);
    while (list) {
        struct injected *next = list->next;
        free(list);
        list = next;
    }
}

void sw_io_destroy(struct sw_engine *e) {
    if (!e->io)
        return;
    sw_stop(e);
    for (uint32_t i = 0; i < PORTS; i++)
        sw_port_free(e->io->ports[i]);
    drop_injected(e->io);
    const int fds[] = {e->io->epoll, e->io->stop, e->io->wake, e->io->timer};
    for (uint32_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&e->io->inject_lock);
    pthread_mutex_destroy(&e->io->control);
    free(e->io->queued);
    free(e->io);
}

/* --- sending
 * -------------------------------------------------------------------------------------- */

uint8_t *sw_io_begin(struct sw_engine *e, uint32_t port) {
    struct sw_port *p = port < PORTS ? e->io->ports[port] : NULL;
    return p ? p->headers + p->pending * sw_program.header_bytes : NULL;
}

void sw_io_commit(struct sw_engine *e, uint32_t port, uint32_t queue, uint32_t header_len,
                  const uint8_t *payload, uint32_t payload_len) {
    struct sw_io *io = e->io;
    struct sw_port *p = io->ports[port];
    if (p->shaper) {
        const uint8_t *headers = p->headers + p->pending * sw_program.header_bytes;
        if (!sw_shaper_put(p->shaper, queue, headers, header_len, payload, payload_len)) {
            e->drops.queue_full++;
            p->queues[queue].drops++;
        }
        return;
    }
    p->queues[queue].packets++;
    p->queues[queue].bytes += header_len + payload_len;
    struct iovec *part = p->parts[p->pending];
    part[0].iov_base = p->headers + p->pending * sw_program.header_bytes;
    part[0].iov_len = header_len;
    part[1].iov_base = (void *)(uintptr_t)payload;
    part[1].iov_len = payload_len;
    if (!p->dirty) {
        p->dirty = true;
        io->dirty[io->n_dirty++] = p;
    }
    if (++p->pending == SW_BATCH)
        sw_port_flush(p);
}

static void flush_all(struct sw_io *io) {
    for (uint32_t i = 0; i < io->n_dirty; i++) {
        sw_port_flush(io->dirty[i]);
        io->dirty[i]->dirty = false;
    }
    io->n_dirty = 0;
}

/* --- receiving
 * ------------------------------------------------------------------------------------ */

/* One batch; returns its size. */
static uint32_t receive_batch(struct sw_engine *e, struct sw_port *p) {
    struct sw_io *io = e->io;
    uint32_t n = sw_ring_waiting(&p->ring, SW_BATCH);
    uint64_t bytes = 0, packets = 0;
    if (!n)
        return 0;
    for (uint32_t i = 0; i < n && i < PREFETCH; i++)
        sw_ring_prefetch(&p->ring, i);
    sw_begin(e);
    for (uint32_t i = 0; i < n; i++) {
        if (i + PREFETCH < n)
            sw_ring_prefetch(&p->ring, i + PREFETCH);
        struct sw_frame frame = sw_ring_frame(&p->ring, i, io->queued);
        if (!frame.data) {
            sw_stat(&p->stats.rx_oversize, 1);
            continue;
        }
        packets++;
        bytes += frame.len;
        sw_pcap_write(&p->received, frame.data, frame.len, NULL, 0);
        sw_program.receive(e, frame.data, frame.len, p->stats.port);
        if (frame.queued)
            flush_all(io); /* while its bytes are there */
    }
    sw_end(e);
    sw_stat(&p->stats.rx_packets, packets);
    sw_stat(&p->stats.rx_bytes, bytes);
    flush_all(io);
    sw_pcap_flush(&p->received);
    sw_ring_release(&p->ring, n);
    return n;
}

static void receive(struct sw_engine *e, struct sw_port *p, uint32_t events) {
    /* that the interface went down is told by an error once; the socket stays */
    int error;
    socklen_t len = sizeof error;
    if (events & EPOLLERR)
        getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    for (uint32_t i = 0; i < ROUNDS; i++)
        if (!receive_batch(e, p))
            break;
}

/* --- what the control side hands in
 * --------------------------------------------------------------- */

void sw_io_wake(struct sw_engine *e) {
    uint64_t one = 1;
    while (write(e->io->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static int hand_in(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len,
                   uint64_t id, bool mark) {
    struct sw_io *io = e->io;
    struct injected *fresh = malloc(sizeof *fresh + len + 1);
    if (!fresh)
        return -ENOMEM;
    *fresh = (struct injected){.id = id, .port = port, .len = len, .mark = mark};
    if (len)
        memcpy(fresh->data, data, len);
    pthread_mutex_lock(&io->inject_lock);
    int rc = !io->running ? -ENETDOWN : io->n_injected == MOST_INJECTED && !mark ? -EAGAIN : 0;
    if (!rc) {
        *io->last = fresh;
        io->last = &fresh->next;
        io->n_injected += !mark;
    }
    pthread_mutex_unlock(&io->inject_lock);
    if (rc)
        free(fresh);
    else
        sw_io_wake(e);
    return rc;
}

int sw_inject(struct sw_engine *e, uint32_t port, const uint8_t *data, uint32_t len, uint64_t id) {
    return hand_in(e, port, data, len, id, false);
}

int sw_inject_mark(struct sw_engine *e, uint64_t mark) {
    return hand_in(e, 0, NULL, 0, mark, true);
}

static void receive_injected(struct sw_engine *e) {
    struct sw_io *io = e->io;
    struct injected *list = take_injected(io);
    while (list) {
        struct injected *one = list;
        list = one->next;
        if (one->mark) {
            sw_events_add(&e->events, SW_EVENT_MARK, &one->id, sizeof one->id, NULL, 0);
            free(one);
            continue;
        }
        sw_begin(e);
        e->injected = one->id;
        sw_program.receive(e, one->data, one->len, one->port);
        e->injected = 0;
        sw_end(e);
        flush_all(io); /* while its bytes are there */
        free(one);
    }
}

/* --- ports with a rate
 * ---------------------------------------------------------------------------- */

static void set_timer(struct sw_io *io, uint64_t at_us) {
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_us / 1000000),
                                           .tv_nsec = (long)(at_us % 1000000) * 1000}};
    timerfd_settime(io->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void count_shaped(struct sw_io *io, int more) {
    __atomic_store_n(&io->n_shaped, io->n_shaped + (uint32_t)more, __ATOMIC_RELAXED);
}

static void end_shaper(struct sw_io *io, struct sw_port *p) {
    sw_shaper_free(p->shaper);
    p->shaper = NULL;
    count_shaped(io, -1);
}

/* Send what is due; the timer is set to when the next packet is. */
static void send_shaped(struct sw_engine *e) {
    struct sw_io *io = e->io;
    uint64_t next = 0;
    sw_lock(e);
    for (uint32_t i = 0; i < PORTS; i++) {
        struct sw_port *p = io->ports[i];
        if (!p || !p->shaper)
            continue;
        uint64_t now_us = sw_clock_us();
        struct sw_queued *q;
        while ((q = sw_shaper_take(p->shaper, now_us)))
            sw_port_send(p, q);
        sw_pcap_flush(&p->sent);
        uint64_t at = sw_shaper_next(p->shaper);
        if (at && (!next || at < next))
            next = at;
        if (sw_shaper_ended(p->shaper))
            end_shaper(io, p);
    }
    sw_unlock(e);
    set_timer(io, next);
}

static int set_rate(struct sw_engine *e, struct sw_port *p, uint32_t queue, struct sw_rate rate) {
    if (!p->shaper && !rate.per_second)
        return 0;
    if (!p->shaper) {
        p->shaper = sw_shaper_new();
        if (!p->shaper)
            return -ENOMEM;
        count_shaped(e->io, 1);
    }
    sw_shaper_rate(p->shaper, queue, rate); /* what waits keeps its place */
    if (sw_shaper_ended(p->shaper))
        end_shaper(e->io, p);
    return 0;
}

int sw_port_rate(struct sw_engine *e, uint32_t port, uint32_t queue, uint64_t per_second,
                 uint32_t bits) {
    struct sw_rate rate = {.per_second = per_second, .bits = bits != 0};
    sw_lock(e);
    struct sw_port *p = port < PORTS ? e->io->ports[port] : NULL;
    int rc = !p || queue > SW_WHOLE_PORT ? -ENOENT : set_rate(e, p, queue, rate);
    sw_unlock(e);
    sw_io_wake(e);
    return rc;
}

int sw_queue_stats_read(struct sw_engine *e, uint32_t port, struct sw_queue_stats *out) {
    sw_lock(e);
    const struct sw_port *p = port < PORTS ? e->io->ports[port] : NULL;
    for (uint32_t i = 0; p && i < SW_QUEUES; i++) {
        out[i] = p->queues[i];
        out[i].waiting = p->shaper ? sw_shaper_depth(p->shaper, i) : 0;
    }
    sw_unlock(e);
    return p ? 0 : -ENOENT;
}

uint32_t sw_queue_depth(const struct sw_engine *e, uint32_t port, uint64_t queue) {
    const struct sw_port *p = port < PORTS ? e->io->ports[port] : NULL;
    return p && p->shaper && !e->sink ? sw_shaper_depth(p->shaper, (uint32_t)queue) : 0;
}

/* --- the thread
 * ----------------------------------------------------------------------------------- */

static void clear(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* Packets come in bursts. As a batch thread this one does not take its core from the sender at the
 * first of them, which would cost a switch of threads for every packet; and what else runs on a
 * busy machine gives way at the next tick, before the receive rings are full. That takes a
 * privilege; without it packets share the processor with everybody else. */
static void set_priority(void) {
    struct sched_param none = {0};
    sched_setscheduler(0, SCHED_BATCH, &none);
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
}

static void *run(void *argument) {
    struct sw_engine *e = argument;
    struct sw_io *io = e->io;
    struct epoll_event events[SW_BATCH];
    uint64_t aged_us = 0;
    bool aged = true;
    set_priority();
    for (;;) {
        bool ages = __atomic_load_n(&e->ageing, __ATOMIC_RELAXED);
        int n = epoll_wait(io->epoll, events, SW_BATCH,
                           !ages  ? -1
                           : aged ? AGE_INTERVAL_MS
                                  : AGE_PAUSE_MS);
        for (int i = 0; i < n; i++) {
            void *tag = events[i].data.ptr;
            if (tag == &io->stop) {
                clear(io->stop);
                return NULL;
            }
            if (tag == &io->wake) {
                clear(io->wake);
                receive_injected(e);
            } else if (tag == &io->timer) {
                clear(io->timer);
            } else {
                receive(e, tag, events[i].events);
            }
        }
        if (__atomic_load_n(&io->n_shaped, __ATOMIC_RELAXED))
            send_shaped(e);
        if (ages && (!aged || sw_clock_us() - aged_us >= AGE_INTERVAL_MS * 1000)) {
            aged = sw_age(e);
            aged_us = sw_clock_us();
        }
    }
}

/* --- ports and thread
 * ----------------------------------------------------------------------------- */

static int new_port(struct sw_engine *e, uint32_t port, const char *interface) {
    if (strlen(interface) >= IF_NAMESIZE || !if_nametoindex(interface))
        return -ENODEV;
    struct sw_port *p = sw_port_new(port, interface);
    if (!p)
        return -ENOMEM;
    sw_lock(e);
    e->io->ports[port] = p;
    sw_unlock(e);
    return 0;
}

int sw_port_add(struct sw_engine *e, uint32_t port, const char *interface) {
    struct sw_io *io = e->io;
    if (port >= SW_DROP_PORT)
        return -ERANGE;
    pthread_mutex_lock(&io->control);
    int rc = io->running ? -EBUSY : io->ports[port] ? -EEXIST : new_port(e, port, interface);
    pthread_mutex_unlock(&io->control);
    return rc;
}

static void close_all(struct sw_io *io) {
    for (uint32_t i = 0; i < PORTS; i++) {
        struct sw_port *p = io->ports[i];
        if (p && p->fd >= 0) {
            sw_port_count_drops(p);
            sw_port_close(p);
            p->stats.up = 0;
        }
        if (p)
            sw_shaper_clear(p->shaper);
    }
}

static uint32_t slots_per_port(const struct sw_io *io) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < PORTS; i++)
        n += io->ports[i] != NULL;
    uint32_t share = SLOTS / (n ? n : 1);
    return share > SLOTS_MOST ? SLOTS_MOST : share > SLOTS_LEAST ? share : SLOTS_LEAST;
}

static int open_all(struct sw_io *io, uint32_t *port) {
    uint32_t slots = slots_per_port(io);
    if (!io->queued)
        io->queued = malloc(SW_RING_ROOM + SW_RING_FRAME_MAX);
    int rc = io->queued ? 0 : -ENOMEM;
    for (uint32_t i = 0; !rc && i < PORTS; i++) {
        struct sw_port *p = io->ports[i];
        if (!p)
            continue;
        *port = i;
        rc = sw_port_open(p, slots);
        if (!rc)
            rc = watch(io, p->fd, p);
        p->stats.up = !rc;
    }
    return rc;
}

static void set_running(struct sw_io *io, bool running) {
    pthread_mutex_lock(&io->inject_lock);
    io->running = running;
    pthread_mutex_unlock(&io->inject_lock);
}

static int start(struct sw_engine *e, uint32_t *port) {
    struct sw_io *io = e->io;
    sigset_t all, before;
    sw_lock(e);
    int rc = open_all(io, port);
    sw_unlock(e);
    if (!rc) {
        /* signals belong to the process's other threads */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = -pthread_create(&io->thread, NULL, run, e);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (rc) {
        sw_lock(e);
        close_all(io);
        sw_unlock(e);
        return rc;
    }
    pthread_setname_np(io->thread, "softswitch-io");
    set_running(io, true);
    return 0;
}

int sw_start(struct sw_engine *e, uint32_t *port) {
    struct sw_io *io = e->io;
    *port = UINT32_MAX;
    pthread_mutex_lock(&io->control);
    int rc = io->running ? -EBUSY : start(e, port);
    pthread_mutex_unlock(&io->control);
    return rc;
}

int sw_stop(struct sw_engine *e) {
    struct sw_io *io = e->io;
    uint64_t one = 1;
    pthread_mutex_lock(&io->control);
    if (io->running) {
        set_running(io, false);
        while (write(io->stop, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(io->thread, NULL);
        drop_injected(io);
        sw_lock(e);
        close_all(io);
        sw_unlock(e);
    }
    pthread_mutex_unlock(&io->control);
    return 0;
}

int sw_port_pcap(struct sw_engine *e, uint32_t port, const char *in, const char *out) {
    struct sw_io *io = e->io;
    pthread_mutex_lock(&io->control);
    struct sw_port *p = port < PORTS ? io->ports[port] : NULL;
    int rc = !p ? -ENOENT : io->running || p->received.file ? -EBUSY : 0;
    if (!rc)
        rc = sw_pcap_open(&p->received, in);
    if (!rc)
        rc = sw_pcap_open(&p->sent, out);
    pthread_mutex_unlock(&io->control);
    return rc;
}

int sw_port_stats_read(struct sw_engine *e, struct sw_port_stats *out, uint32_t max) {
    int n = 0;
    sw_lock(e);
    for (uint32_t i = 0; i < PORTS; i++) {
        struct sw_port *p = e->io->ports[i];
        if (!p)
            continue;
        sw_port_count_drops(p);
        p->stats.pcap_failures = p->received.failures + p->sent.failures;
        if ((uint32_t)n < max)
            out[n] = p->stats;
        n++;
    }
    sw_unlock(e);
    return n;
}
