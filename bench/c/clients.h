/* The generator's clients: what clients.c keeps of them, and what run.c does with them. */
#ifndef CLIENTS_H
#define CLIENTS_H
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MAX_CONNECTIONS 32768
#define CHUNK (256 * 1024)  /* one recv; more would fall out of the second-level cache before it is parsed */
#define MAX_FRAME (4 << 20) /* a `joined` of 500 long texts fits; more is a broken server */
#define BUCKETS 2048        /* 64 octaves of 32: each 3 % wide */
#define TICK 500000         /* ns that reading may wait, see pump */
#define GROUPS 3            /* connections are counted apart by group; the first is the one that is measured */

enum state { FREE, CONNECTING, UPGRADING, WAITING, OPEN, DEAD };

typedef struct {
    int fd;
    enum state state;
    int waits;             /* `joined` frames still to come before it counts as open */
    int script;            /* which script it is to send once upgraded */
    int64_t since;         /* ns, when it began to connect or to talk */
    char *keep;            /* the tail of a chunk: a frame that is not whole yet */
    size_t kept, keep_size;
    char *out;             /* what the kernel did not take yet */
    size_t out_start, out_end, out_size;
    int64_t seq;           /* the last message's number, -1 before the first */
    int publisher;         /* index among the publishers of this run, or -1 */
    int group;             /* whose result counts it */
    int resumes;           /* it came with a position: what it missed is checked number by number */
    int64_t until;         /* ...up to this number, the head it was told */
} Connection;

typedef struct {
    int64_t delivered, disorder, acks, errors, closed, others, bytes;
    int64_t counted, counted_acks; /* those meant after the warm-up: what the histograms hold */
    int64_t sent, sent_counted;
    int64_t recvs;
    int64_t cpu_ns, wall_ns;
    int64_t max_ns, aborted, close_code;
    int64_t caught, gaps;          /* messages that resumes brought, and those told that some are gone */
    int64_t late, late_at_ns;      /* deliveries later than late_ns, and how far into the run the last of them came */
    int64_t latency[BUCKETS], ack_latency[BUCKETS];
    int64_t entry[BUCKETS];        /* from dialling, or from the script's sending, to where the script ends */
    char first_error[256];
} Result;

extern Connection conns[MAX_CONNECTIONS];
extern int epoll;
extern char *buffer;
extern Result *groups[GROUPS]; /* where what is seen is counted */
extern Result nowhere;
extern int64_t run_from, late_ns;
extern int64_t count_from; /* ns: messages meant earlier are warm-up */
extern int64_t tick_ns;
extern int open_now;       /* connections that got where they were going in this call */
extern int failed_now;
extern int acked[MAX_CONNECTIONS]; /* publishers whose ack came in this round, for closed loops */
extern int acked_count;
extern const char **scripts;       /* of this call: what each connection says once it is upgraded, */
extern const int *script_sizes;    /* its bytes, */
extern const int *script_waits;    /* the `joined` frames it then waits for, */
extern const int64_t *script_positions; /* and the number it resumes behind, -1 when it does not */

int queue_bytes(Connection *c, const char *data, size_t n);
void queue_frame(Connection *c, int opcode, const char *payload, size_t n);
void flush_out(Connection *c);
void bury(Connection *c);
void speak(Connection *c);
void pump(int64_t wait_ns);
void count_into(Result *first, int step); /* group i into first[i * step]; NULL: nowhere */

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void record(int64_t *buckets, int64_t ns) {
    uint64_t v = ns < 32 ? 32 : (uint64_t)ns;
    int octave = 63 - __builtin_clzll(v);
    buckets[(uint64_t)octave * 32 + ((v >> (octave - 5)) & 31)]++;
}

#endif
