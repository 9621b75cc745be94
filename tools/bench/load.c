// The load of the switch benchmark: sends the frames of a file over and over, as fast as the
// interface takes them, until it is ended. Usage: load INTERFACE FILE FRAME_BYTES
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { BATCH = 64 };

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: load INTERFACE FILE FRAME_BYTES\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    size_t frame_bytes = (size_t)atoi(argv[3]);
    struct stat info;
    int file = open(argv[2], O_RDONLY);
    if (file < 0 || fstat(file, &info) != 0) {
        perror(argv[2]);
        return 1;
    }
    char *frames = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    size_t count = (size_t)info.st_size / frame_bytes;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(argv[1])};
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (frames == MAP_FAILED || count < BATCH || fd < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror(argv[1]);
        return 1;
    }
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH] = {0};
    for (size_t next = 0;;) {
        for (int i = 0; i < BATCH; i++, next = (next + 1) % count) {
            vectors[i] = (struct iovec){frames + next * frame_bytes, frame_bytes};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        sendmmsg(fd, messages, BATCH, 0);
    }
}
