#define _GNU_SOURCE
#include "io.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BATCH 64
#define PORTS 512
#define VLAN_TAG 4
#define FRAME_MAX 65536
/* Not a power of two, so that the starts of the buffers fall into different cache sets. */
#define FRAME_STRIDE (FRAME_MAX + 2048 + 64)
#define SOCKET_BUFFER (8 << 20)

struct port {
    struct sw_port_stats stats;
    char interface[IF_NAMESIZE];
    int fd;
    uint32_t pending;
    bool dirty;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH][2];
    uint8_t *headers; /* BATCH times header_bytes */
};

struct sw_io {
    struct port *ports[PORTS];
    struct port *dirty[PORTS];
    uint32_t n_dirty;
    int epoll, stop;
    bool running;
    pthread_t thread;
    uint8_t *frames;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_ll senders[BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        struct cmsghdr align;
    } controls[BATCH];
};

/* Statistics are read by other threads without a lock. */
static void add(uint64_t *counter, uint64_t n) {
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

int sw_io_create(struct sw_engine *e) {
    struct sw_io *io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->epoll = io->stop = -1;
    e->io = io;
    return 0;
}

void sw_io_destroy(struct sw_engine *e) {
    if (!e->io)
        return;
    sw_stop(e);
    for (uint32_t i = 0; i < PORTS; i++) {
        if (e->io->ports[i])
            free(e->io->ports[i]->headers);
        free(e->io->ports[i]);
    }
    free(e->io->frames);
    free(e->io);
}

/* --- sending
 * -------------------------------------------------------------------------------------- */

uint8_t *sw_io_begin(struct sw_engine *e, uint32_t port) {
    struct port *p = port < PORTS ? e->io->ports[port] : NULL;
    return p ? p->headers + p->pending * sw_program.header_bytes : NULL;
}

static void flush(struct port *p) {
    uint32_t at = 0;
    while (at < p->pending) {
        int sent = sendmmsg(p->fd, p->messages + at, p->pending - at, MSG_DONTWAIT);
        if (sent <= 0) {
            if (sent < 0 && errno == EINTR)
                continue;
            /* this one was refused; the others may pass */
            add(&p->stats.tx_failures, 1);
            at++;
            continue;
        }
        uint64_t bytes = 0;
        for (int i = 0; i < sent; i++)
            bytes += p->messages[at + (uint32_t)i].msg_len;
        add(&p->stats.tx_packets, (uint64_t)sent);
        add(&p->stats.tx_bytes, bytes);
        at += (uint32_t)sent;
    }
    p->pending = 0;
}

void sw_io_commit(struct sw_engine *e, uint32_t port, uint32_t header_len, const uint8_t *payload,
                  uint32_t payload_len) {
    struct sw_io *io = e->io;
    struct port *p = io->ports[port];
    struct iovec *part = p->parts[p->pending];
    part[0].iov_base = p->headers + p->pending * sw_program.header_bytes;
    part[0].iov_len = header_len;
    part[1].iov_base = (void *)(uintptr_t)payload;
    part[1].iov_len = payload_len;
    if (!p->dirty) {
        p->dirty = true;
        io->dirty[io->n_dirty++] = p;
    }
    if (++p->pending == BATCH)
        flush(p);
}

static void flush_all(struct sw_io *io) {
    for (uint32_t i = 0; i < io->n_dirty; i++) {
        flush(io->dirty[i]);
        io->dirty[i]->dirty = false;
    }
    io->n_dirty = 0;
}

/* --- receiving
 * ------------------------------------------------------------------------------------ */

static const struct tpacket_auxdata *auxdata(struct msghdr *m) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
            return (const struct tpacket_auxdata *)(const void *)CMSG_DATA(c);
    return NULL;
}

/* The kernel takes an outer VLAN tag out of the frame: put it back into the room before it. */
static uint8_t *restore_tag(uint8_t *frame, uint32_t *len, struct msghdr *m) {
    const struct tpacket_auxdata *aux = auxdata(m);
    if (!aux || !(aux->tp_status & TP_STATUS_VLAN_VALID) || *len < 2 * ETH_ALEN)
        return frame;
    uint16_t type = aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : ETH_P_8021Q;
    memmove(frame - VLAN_TAG, frame, 2 * ETH_ALEN);
    frame -= VLAN_TAG;
    sw_put16(frame + 2 * ETH_ALEN, type);
    sw_put16(frame + 2 * ETH_ALEN + 2, aux->tp_vlan_tci);
    *len += VLAN_TAG;
    return frame;
}

static void receive(struct sw_engine *e, struct port *p) {
    struct sw_io *io = e->io;
    for (uint32_t i = 0; i < BATCH; i++) {
        io->messages[i].msg_hdr.msg_controllen = sizeof io->controls[i].bytes;
        io->messages[i].msg_hdr.msg_namelen = sizeof io->senders[i];
    }
    /* an error (the interface went down) is cleared by being read; the socket stays */
    int n = recvmmsg(p->fd, io->messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t bytes = 0, packets = 0;
    if (n <= 0)
        return;
    sw_lock(e);
    for (int i = 0; i < n; i++) {
        struct msghdr *m = &io->messages[i].msg_hdr;
        uint32_t len = io->messages[i].msg_len;
        if (io->senders[i].sll_pkttype == PACKET_OUTGOING)
            continue;
        if (m->msg_flags & MSG_TRUNC) {
            add(&p->stats.rx_oversize, 1);
            continue;
        }
        uint8_t *frame = restore_tag(io->parts[i].iov_base, &len, m);
        packets++;
        bytes += len;
        sw_program.receive(e, frame, len, p->stats.port);
    }
    sw_unlock(e);
    add(&p->stats.rx_packets, packets);
    add(&p->stats.rx_bytes, bytes);
    flush_all(io);
}

static void *run(void *argument) {
    struct sw_engine *e = argument;
    struct epoll_event events[BATCH];
    for (;;) {
        int n = epoll_wait(e->io->epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return NULL;
            receive(e, events[i].data.ptr);
        }
    }
}

/* --- ports and thread
 * ----------------------------------------------------------------------------- */

int sw_port_add(struct sw_engine *e, uint32_t port, const char *interface) {
    struct sw_io *io = e->io;
    if (port >= SW_DROP_PORT)
        return -ERANGE;
    if (io->running)
        return -EBUSY;
    if (io->ports[port])
        return -EEXIST;
    if (strlen(interface) >= IF_NAMESIZE || !if_nametoindex(interface))
        return -ENODEV;
    struct port *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->headers = malloc((size_t)BATCH * sw_program.header_bytes + 1);
    if (!p->headers) {
        free(p);
        return -ENOMEM;
    }
    strcpy(p->interface, interface);
    p->stats.port = port;
    p->fd = -1;
    for (uint32_t i = 0; i < BATCH; i++) {
        p->messages[i].msg_hdr.msg_iov = p->parts[i];
        p->messages[i].msg_hdr.msg_iovlen = 2;
    }
    io->ports[port] = p;
    return 0;
}

static int option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}

static int open_socket(const char *interface) {
    struct sockaddr_ll address = {.sll_family = AF_PACKET};
    struct packet_mreq promiscuous = {.mr_type = PACKET_MR_PROMISC};
    int index = (int)if_nametoindex(interface);
    if (!index)
        return -ENODEV;
    /* protocol 0: nothing is received before bind() names the interface */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    address.sll_ifindex = promiscuous.mr_ifindex = index;
    address.sll_protocol = __builtin_bswap16(ETH_P_ALL);
    int rc = option(fd, SOL_PACKET, PACKET_AUXDATA, 1);
    if (!rc)
        rc = option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    /* larger buffers need privileges beyond raw sockets in some containers: not fatal */
    if (option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER))
        option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
    if (option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER))
        option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
    if (!rc && setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous))
        rc = -errno;
    if (!rc && bind(fd, (struct sockaddr *)&address, sizeof address))
        rc = -errno;
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

/* The kernel forgets its count when asked: keep the sum. */
static void collect_drops(struct port *p) {
    struct tpacket_stats stats;
    socklen_t len = sizeof stats;
    if (p->fd >= 0 && !getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
        p->stats.rx_kernel_drops += stats.tp_drops;
}

static void close_all(struct sw_io *io) {
    for (uint32_t i = 0; i < PORTS; i++) {
        struct port *p = io->ports[i];
        if (p && p->fd >= 0) {
            collect_drops(p);
            close(p->fd);
            p->fd = -1;
            p->stats.up = 0;
        }
    }
    if (io->epoll >= 0)
        close(io->epoll);
    if (io->stop >= 0)
        close(io->stop);
    io->epoll = io->stop = -1;
}

static int prepare_frames(struct sw_io *io) {
    if (io->frames)
        return 0;
    io->frames = malloc((size_t)BATCH * FRAME_STRIDE);
    if (!io->frames)
        return -ENOMEM;
    for (uint32_t i = 0; i < BATCH; i++) {
        struct msghdr *m = &io->messages[i].msg_hdr;
        io->parts[i].iov_base = io->frames + (size_t)i * FRAME_STRIDE + VLAN_TAG;
        io->parts[i].iov_len = FRAME_MAX;
        m->msg_iov = &io->parts[i];
        m->msg_iovlen = 1;
        m->msg_control = io->controls[i].bytes;
        m->msg_name = &io->senders[i];
    }
    return 0;
}

static int watch(struct sw_io *io, int fd, void *tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    return epoll_ctl(io->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_all(struct sw_io *io, uint32_t *port) {
    int rc = prepare_frames(io);
    io->epoll = epoll_create1(EPOLL_CLOEXEC);
    io->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!rc && (io->epoll < 0 || io->stop < 0))
        rc = -errno;
    if (!rc)
        rc = watch(io, io->stop, NULL);
    for (uint32_t i = 0; !rc && i < PORTS; i++) {
        struct port *p = io->ports[i];
        if (!p)
            continue;
        *port = i;
        p->fd = open_socket(p->interface);
        rc = p->fd < 0 ? p->fd : watch(io, p->fd, p);
        p->stats.up = !rc;
    }
    return rc;
}

int sw_start(struct sw_engine *e, uint32_t *port) {
    struct sw_io *io = e->io;
    sigset_t all, before;
    *port = UINT32_MAX;
    if (io->running)
        return -EBUSY;
    int rc = open_all(io, port);
    if (!rc) {
        /* signals belong to the process's other threads */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = -pthread_create(&io->thread, NULL, run, e);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (rc) {
        close_all(io);
        return rc;
    }
    pthread_setname_np(io->thread, "softswitch-io");
    io->running = true;
    return 0;
}

int sw_stop(struct sw_engine *e) {
    struct sw_io *io = e->io;
    uint64_t one = 1;
    if (!io->running)
        return 0;
    while (write(io->stop, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(io->thread, NULL);
    io->running = false;
    close_all(io);
    return 0;
}

int sw_port_stats_read(struct sw_engine *e, struct sw_port_stats *out, uint32_t max) {
    int n = 0;
    sw_lock(e);
    for (uint32_t i = 0; i < PORTS; i++) {
        struct port *p = e->io->ports[i];
        if (!p)
            continue;
        collect_drops(p);
        if ((uint32_t)n < max)
            out[n] = p->stats;
        n++;
    }
    sw_unlock(e);
    return n;
}
