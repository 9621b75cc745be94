#define _GNU_SOURCE
#include "pcap.h"

#include <errno.h>
#include <stdbool.h>
#include <time.h>

#define MAGIC 0xa1b2c3d4
#define LINKTYPE_ETHERNET 1
#define SNAP_LENGTH 262144

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snap_length, link_type;
};

struct record_header {
    uint32_t seconds, microseconds, captured, length;
};

int sw_pcap_open(struct sw_pcap *p, const char *path) {
    const struct file_header header = {MAGIC, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_ETHERNET};
    p->file = fopen(path, "abe");
    if (!p->file)
        return -errno;
    if (ftell(p->file) == 0 && fwrite(&header, sizeof header, 1, p->file) != 1) {
        int rc = -errno;
        sw_pcap_close(p);
        return rc ? rc : -EIO;
    }
    sw_pcap_flush(p);
    return p->file ? 0 : -EIO;
}

void sw_pcap_close(struct sw_pcap *p) {
    if (p->file)
        fclose(p->file);
    p->file = NULL;
}

static void fail(struct sw_pcap *p) {
    p->failures++;
    sw_pcap_close(p);
}

static bool put(struct sw_pcap *p, const void *data, uint32_t len) {
    return !len || fwrite(data, len, 1, p->file) == 1; /* without length there may be no data */
}

void sw_pcap_write(struct sw_pcap *p, const void *a, uint32_t a_len, const void *b,
                   uint32_t b_len) {
    struct timespec now;
    if (!p->file)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct record_header header = {(uint32_t)now.tv_sec, (uint32_t)(now.tv_nsec / 1000),
                                         a_len + b_len, a_len + b_len};
    if (!put(p, &header, sizeof header) || !put(p, a, a_len) || !put(p, b, b_len))
        fail(p);
}

void sw_pcap_flush(struct sw_pcap *p) {
    if (p->file && fflush(p->file))
        fail(p);
}
