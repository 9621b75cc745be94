// The yardstick of the switch benchmark: moves frames from one interface to another and does
// nothing else. A TPACKET_V3 receive ring, whose blocks the kernel hands over when they are full or
// a millisecond old, and sendmmsg() straight out of the ring. Usage: forwarder FROM TO
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { BATCH = 64, BLOCK_BYTES = 1 << 16, BLOCKS = 64, FRAME_BYTES = 2048 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int open_interface(const char *name, int protocol, struct tpacket_req3 *ring) {
    int fd = socket(AF_PACKET, SOCK_RAW, 0), version = TPACKET_V3, on = 1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons((uint16_t)protocol),
                                  .sll_ifindex = (int)if_nametoindex(name)};
    if (fd < 0 || !address.sll_ifindex)
        die(name);
    if (ring && (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
                 setsockopt(fd, SOL_PACKET, PACKET_RX_RING, ring, sizeof *ring) ||
                 setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on)))
        die("receive ring");
    if (bind(fd, (struct sockaddr *)&address, sizeof address))
        die(name);
    return fd;
}

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];

static void send_all(int to, unsigned count) {
    for (unsigned sent = 0; sent < count;) {
        int step = sendmmsg(to, messages + sent, count - sent, 0);
        sent += step > 0 ? (unsigned)step : 1;
    }
}

static void forward(struct tpacket_block_desc *block, int to) {
    struct tpacket3_hdr *frame = (void *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
    unsigned waiting = 0;
    for (uint32_t n = block->hdr.bh1.num_pkts; n > 0; n--) {
        vectors[waiting] = (struct iovec){(uint8_t *)frame + frame->tp_mac, frame->tp_snaplen};
        if (++waiting == BATCH) {
            send_all(to, waiting);
            waiting = 0;
        }
        frame = (void *)((uint8_t *)frame + frame->tp_next_offset);
    }
    send_all(to, waiting);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: forwarder FROM TO\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, 9);
    struct tpacket_req3 ring = {.tp_block_size = BLOCK_BYTES,
                                .tp_block_nr = BLOCKS,
                                .tp_frame_size = FRAME_BYTES,
                                .tp_frame_nr = BLOCKS * (BLOCK_BYTES / FRAME_BYTES),
                                .tp_retire_blk_tov = 1};
    int from = open_interface(argv[1], ETH_P_ALL, &ring), to = open_interface(argv[2], 0, NULL);
    uint8_t *map =
        mmap(NULL, (size_t)BLOCK_BYTES * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
    if (map == MAP_FAILED)
        die("mmap");
    for (unsigned i = 0; i < BATCH; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    for (unsigned at = 0;; at = (at + 1) % BLOCKS) {
        struct tpacket_block_desc *block = (void *)(map + (size_t)at * BLOCK_BYTES);
        while (
            !(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
            struct pollfd wait = {.fd = from, .events = POLLIN};
            poll(&wait, 1, -1);
        }
        forward(block, to);
        __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
}
