#define _GNU_SOURCE
#include "port.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <unistd.h>

#define SOCKET_BUFFER (8 << 20)

struct sw_port *sw_port_new(uint32_t number, const char *interface) {
    struct sw_port *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->headers = malloc((size_t)SW_BATCH * sw_program.header_bytes + 1);
    if (!p->headers) {
        free(p);
        return NULL;
    }
    strcpy(p->interface, interface);
    p->stats.port = number;
    p->fd = p->out = -1;
    for (uint32_t i = 0; i < SW_BATCH; i++) {
        p->messages[i].msg_hdr.msg_iov = p->parts[i];
        p->messages[i].msg_hdr.msg_iovlen = 2;
    }
    return p;
}

void sw_port_free(struct sw_port *p) {
    if (!p)
        return;
    free(p->headers);
    sw_shaper_free(p->shaper);
    sw_pcap_close(&p->received);
    sw_pcap_close(&p->sent);
    free(p);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}

static int packet_socket(void) {
    /* protocol 0: nothing is received before bind() says what */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static int bind_to(int fd, int index, uint16_t protocol) {
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_ifindex = index, .sll_protocol = __builtin_bswap16(protocol)};
    return bind(fd, (struct sockaddr *)&address, sizeof address) ? -errno : 0;
}

static int set_up(struct sw_port *p, int index, uint32_t slots) {
    struct packet_mreq promiscuous = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    int rc = option(p->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    /* larger buffers need privileges beyond raw sockets in some containers: not fatal */
    if (option(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER))
        option(p->fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
    if (option(p->out, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER))
        option(p->out, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
    if (!rc &&
        setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous))
        rc = -errno;
    if (!rc)
        rc = sw_ring_open(&p->ring, p->fd, slots);
    if (!rc)
        rc = bind_to(p->out, index, 0);
    return rc ? rc : bind_to(p->fd, index, ETH_P_ALL);
}

void sw_port_close(struct sw_port *p) {
    sw_ring_close(&p->ring);
    if (p->fd >= 0)
        close(p->fd);
    if (p->out >= 0)
        close(p->out);
    p->fd = p->out = -1;
}

int sw_port_open(struct sw_port *p, uint32_t slots) {
    int index = (int)if_nametoindex(p->interface);
    if (!index)
        return -ENODEV;
    p->fd = packet_socket();
    p->out = packet_socket();
    int rc = p->fd < 0 ? p->fd : p->out < 0 ? p->out : set_up(p, index, slots);
    if (rc)
        sw_port_close(p);
    return rc;
}

/* The kernel forgets its count when asked: keep the sum. */
void sw_port_count_drops(struct sw_port *p) {
    struct tpacket_stats stats;
    socklen_t len = sizeof stats;
    if (p->fd >= 0 && !getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
        p->stats.rx_kernel_drops += stats.tp_drops;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void capture_sent(struct sw_port *p, uint32_t at, uint32_t n) {
    for (uint32_t i = at; i < at + n; i++) {
        const struct iovec *part = p->parts[i];
        sw_pcap_write(&p->sent, part[0].iov_base, (uint32_t)part[0].iov_len, part[1].iov_base,
                      (uint32_t)part[1].iov_len);
    }
    sw_pcap_flush(&p->sent);
}

void sw_port_flush(struct sw_port *p) {
    uint32_t at = 0;
    while (at < p->pending) {
        int sent = sendmmsg(p->out, p->messages + at, p->pending - at, MSG_DONTWAIT);
        if (sent <= 0) {
            if (sent < 0 && errno == EINTR)
                continue;
            /* this one was refused; the others may pass */
            sw_stat(&p->stats.tx_failures, 1);
            at++;
            continue;
        }
        uint64_t bytes = 0;
        for (int i = 0; i < sent; i++)
            bytes += p->messages[at + (uint32_t)i].msg_len;
        if (p->sent.file)
            capture_sent(p, at, (uint32_t)sent);
        sw_stat(&p->stats.tx_packets, (uint64_t)sent);
        sw_stat(&p->stats.tx_bytes, bytes);
        at += (uint32_t)sent;
    }
    p->pending = 0;
}

void sw_port_send(struct sw_port *p, struct sw_queued *q) {
    p->queues[q->queue].packets++;
    p->queues[q->queue].bytes += q->len;
    if (send(p->out, q->data, q->len, MSG_DONTWAIT) == (ssize_t)q->len) {
        sw_stat(&p->stats.tx_packets, 1);
        sw_stat(&p->stats.tx_bytes, q->len);
        sw_pcap_write(&p->sent, q->data, q->len, NULL, 0);
    } else {
        sw_stat(&p->stats.tx_failures, 1);
    }
    free(q);
}
