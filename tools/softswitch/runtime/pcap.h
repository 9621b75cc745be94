/* What a port receives and sends, in files for tcpdump and Wireshark (pcap, microseconds). */
#ifndef SW_PCAP_H
#define SW_PCAP_H

#include <stdint.h>
#include <stdio.h>

struct sw_pcap {
    FILE *file; /* NULL: nothing is written */
    uint64_t failures;
};

/* Go on with a file, or begin it. 0 or a negative errno. */
int sw_pcap_open(struct sw_pcap *p, const char *path);
void sw_pcap_close(struct sw_pcap *p);

/* One frame in two parts. After a failure, such as a full disk, no more is written. */
void sw_pcap_write(struct sw_pcap *p, const void *a, uint32_t a_len, const void *b, uint32_t b_len);

/* Let readers see what has been written. */
void sw_pcap_flush(struct sw_pcap *p);

#endif
