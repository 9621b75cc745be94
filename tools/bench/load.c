// The load of the switch benchmark: sends the frames of a file over and over.
// Usage: load INTERFACE FILE FRAME_BYTES COUNT PPS BURST
// COUNT frames (0: until it is ended) at PPS frames per second (0: as fast as the interface takes
// them), BURST frames at a time. Prints how many were sent.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { MOST = 64 };

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t at_ns) {
    struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000),
                          .tv_nsec = (long)(at_ns % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load INTERFACE FILE FRAME_BYTES COUNT PPS BURST\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1);
    size_t frame_bytes = (size_t)atoi(argv[3]), burst = (size_t)atoi(argv[6]);
    uint64_t total = strtoull(argv[4], NULL, 10), pps = strtoull(argv[5], NULL, 10), sent = 0;
    struct stat info;
    int file = open(argv[2], O_RDONLY);
    if (file < 0 || fstat(file, &info) != 0) {
        perror(argv[2]);
        return 1;
    }
    char *frames = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    size_t count = (size_t)info.st_size / frame_bytes;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_ifindex = (int)if_nametoindex(argv[1])};
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (frames == MAP_FAILED || !count || burst < 1 || burst > MOST || fd < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror(argv[1]);
        return 1;
    }
    struct iovec vectors[MOST];
    struct mmsghdr messages[MOST] = {0};
    for (unsigned i = 0; i < MOST; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    uint64_t began = now_ns();
    for (size_t next = 0; !total || sent < total;) {
        size_t n = total && total - sent < burst ? (size_t)(total - sent) : burst;
        for (size_t i = 0; i < n; i++, next = (next + 1) % count)
            vectors[i] = (struct iovec){frames + next * frame_bytes, frame_bytes};
        if (pps)
            wait_until(began + sent * 1000000000 / pps);
        for (size_t at = 0; at < n;) {
            int done = sendmmsg(fd, messages + at, (unsigned)(n - at), 0);
            if (done <= 0) {
                perror("sendmmsg");
                return 1;
            }
            at += (size_t)done;
        }
        sent += n;
    }
    printf("%llu\n", (unsigned long long)sent);
    return 0;
}
