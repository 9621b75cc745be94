#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define VLAN_TAG 4
#define BLOCK (1u << 16)
/* Not a power of two, so that the slots' beginnings fall into different cache sets. */
#define SLOT 1984u
#define PER_BLOCK (BLOCK / SLOT)
#define LINE 64

static struct tpacket2_hdr *slot(const struct sw_ring *r, uint32_t i) {
    uint32_t at = r->at + i;
    return (struct tpacket2_hdr *)(void *)r->slots[at < r->n ? at : at - r->n];
}

int sw_ring_open(struct sw_ring *r, int fd, uint32_t frames) {
    struct tpacket_req request = {.tp_block_size = BLOCK, .tp_frame_size = SLOT};
    int version = TPACKET_V2, room = SW_RING_ROOM, on = 1;
    request.tp_block_nr = (frames + PER_BLOCK - 1) / PER_BLOCK;
    request.tp_frame_nr = request.tp_block_nr * PER_BLOCK;
    memset(r, 0, sizeof *r);
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(fd, SOL_PACKET, PACKET_RESERVE, &room, sizeof room) ||
        setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &on, sizeof on) ||
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
        return -errno;
    r->slots = malloc(request.tp_frame_nr * sizeof *r->slots);
    if (!r->slots)
        return -ENOMEM;
    r->bytes = (size_t)request.tp_block_nr * BLOCK;
    void *map = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        int rc = -errno;
        free(r->slots);
        r->slots = NULL;
        return rc;
    }
    r->map = map;
    r->fd = fd;
    r->n = request.tp_frame_nr;
    for (uint32_t i = 0; i < r->n; i++)
        r->slots[i] = r->map + (size_t)(i / PER_BLOCK) * BLOCK + (size_t)(i % PER_BLOCK) * SLOT;
    return 0;
}

void sw_ring_close(struct sw_ring *r) {
    if (r->map)
        munmap(r->map, r->bytes);
    free(r->slots);
    memset(r, 0, sizeof *r);
}

uint32_t sw_ring_waiting(const struct sw_ring *r, uint32_t most) {
    uint32_t n = 0;
    if (most > r->n)
        most = r->n;
    while (n < most && __atomic_load_n(&slot(r, n)->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)
        n++;
    return n;
}

void sw_ring_prefetch(const struct sw_ring *r, uint32_t i) {
    const uint8_t *at = (const uint8_t *)slot(r, i);
    for (uint32_t line = 0; line < 4; line++)
        __builtin_prefetch(at + line * LINE);
}

static uint8_t *restore_tag(uint8_t *frame, uint32_t *len, const struct tpacket2_hdr *h) {
    if (!(h->tp_status & TP_STATUS_VLAN_VALID) || *len < 2 * ETH_ALEN)
        return frame;
    uint16_t type = h->tp_status & TP_STATUS_VLAN_TPID_VALID ? h->tp_vlan_tpid : ETH_P_8021Q;
    memmove(frame - VLAN_TAG, frame, 2 * ETH_ALEN);
    frame -= VLAN_TAG;
    sw_put16(frame + 2 * ETH_ALEN, type);
    sw_put16(frame + 2 * ETH_ALEN + 2, h->tp_vlan_tci);
    *len += VLAN_TAG;
    return frame;
}

struct sw_frame sw_ring_frame(const struct sw_ring *r, uint32_t i, uint8_t *room) {
    struct tpacket2_hdr *h = slot(r, i);
    struct sw_frame frame = {.len = h->tp_len};
    if (h->tp_snaplen == h->tp_len) {
        frame.data = (uint8_t *)h + h->tp_mac;
    } else if (h->tp_status & TP_STATUS_COPY) {
        uint8_t *data = room + SW_RING_ROOM;
        ssize_t len = recv(r->fd, data, SW_RING_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
        frame.queued = true;
        if (len >= 0 && len <= SW_RING_FRAME_MAX) {
            frame.len = (uint32_t)len;
            frame.data = data;
        }
    }
    if (frame.data)
        frame.data = restore_tag(frame.data, &frame.len, h);
    return frame;
}

void sw_ring_release(struct sw_ring *r, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        __atomic_store_n(&slot(r, i)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    r->at = r->at + n < r->n ? r->at + n : r->at + n - r->n;
}
