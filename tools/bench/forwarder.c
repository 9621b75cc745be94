// The yardstick of the switch benchmark: moves frames from one interface to another and does
// nothing else. Usage: forwarder FROM TO
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, FRAME_BYTES = 2048, BUFFER_BYTES = 4 << 20 };

static int open_interface(const char *name) {
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(name)};
    int size = BUFFER_BYTES, on = 1;
    if (fd < 0 || !address.sll_ifindex ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror(name);
        exit(1);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    return fd;
}

int main(int argc, char **argv) {
    static unsigned char frames[BATCH][FRAME_BYTES];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
    if (argc != 3) {
        fprintf(stderr, "usage: forwarder FROM TO\n");
        return 2;
    }
    int from = open_interface(argv[1]), to = open_interface(argv[2]);
    for (;;) {
        memset(messages, 0, sizeof messages);
        for (int i = 0; i < BATCH; i++) {
            vectors[i] = (struct iovec){frames[i], FRAME_BYTES};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int count = recvmmsg(from, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) {
            vectors[i].iov_len = messages[i].msg_len;
        }
        for (int sent = 0; sent < count;) {
            int step = sendmmsg(to, messages + sent, (unsigned)(count - sent), 0);
            sent += step > 0 ? step : 1;
        }
    }
}
