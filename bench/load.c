/* The load generator's hot loop: many websocket clients on one core, in C so that it is never what is measured.

   Compiled at bench time and called through ctypes (bench/load.py). One process has one generator, so its state is
   static. Everything is non-blocking and runs on one epoll set; each call pumps it until its own work is done, and
   between calls nobody reads, so a caller that waits must call `load_idle`.

   What a message tells: its text starts with "@" and 16 hexadecimal digits, the CLOCK_MONOTONIC nanosecond at which it
   was *meant* to be sent. Both ends run on one machine, so now - then is its latency, waiting in a stalled generator
   or in a full socket included: nothing is omitted because the server was slow. "now" is read once a recv, after it.
   Each message's own stamp is used, no sampling. Within one connection the numbers must go up by one; what does not
   is counted as disorder. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 32768
#define CHUNK (256 * 1024)  /* one recv; more would fall out of the second-level cache before it is parsed */
#define MAX_FRAME (4 << 20) /* a `joined` of 500 long texts fits; more is a broken server */
#define BUCKETS 2048        /* 64 octaves of 32: each 3 % wide */
#define EVENTS 1024

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
} Connection;

typedef struct {
    int64_t delivered, disorder, acks, errors, closed, others, bytes;
    int64_t counted, counted_acks; /* those meant after the warm-up: what the histograms hold */
    int64_t sent, sent_counted;
    int64_t recvs;
    int64_t cpu_ns, wall_ns;
    int64_t max_ns, aborted, close_code;
    int64_t latency[BUCKETS], ack_latency[BUCKETS];
    char first_error[256];
} Result;

static Connection conns[MAX_CONNECTIONS];
static int epoll = -1;
static char *buffer;
static Result *into;
static Result nowhere;
static int64_t count_from; /* ns: messages meant earlier are warm-up */
static int open_now;       /* connections that got where they were going in this call */
static int failed_now;
static size_t stamp_at = 0, seq_at = 0;
static uint32_t mask_state = 0x9e3779b9u;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void record(int64_t *buckets, int64_t ns) {
    uint64_t v = ns < 32 ? 32 : (uint64_t)ns;
    int octave = 63 - __builtin_clzll(v);
    buckets[(uint64_t)octave * 32 + ((v >> (octave - 5)) & 31)]++;
}

/* --- frames ------------------------------------------------------------------------------------------------- */

static int queue_bytes(Connection *c, const char *data, size_t n) {
    if (c->out_start == c->out_end) c->out_start = c->out_end = 0;
    if (c->out_end + n > c->out_size) {
        if (c->out_start) {
            memmove(c->out, c->out + c->out_start, c->out_end - c->out_start);
            c->out_end -= c->out_start;
            c->out_start = 0;
        }
        if (c->out_end + n > c->out_size) {
            size_t size = c->out_size ? c->out_size : 1024;
            while (size < c->out_end + n) size *= 2;
            char *grown = realloc(c->out, size);
            if (!grown) return -1;
            c->out = grown;
            c->out_size = size;
        }
    }
    memcpy(c->out + c->out_end, data, n);
    c->out_end += n;
    return 0;
}

static void bury(Connection *c) {
    if (c->state == DEAD || c->state == FREE) return;
    if (c->state != OPEN) failed_now++;
    into->closed++;
    close(c->fd);
    c->fd = -1;
    c->state = DEAD;
}

static void flush_out(Connection *c) {
    while (c->out_start < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) bury(c);
            return;
        }
        c->out_start += (size_t)n;
    }
}

/* A masked frame, as RFC 6455 wants it of a client: servers pay for unmasking as they do in life. */
static void queue_frame(Connection *c, int opcode, const char *payload, size_t n) {
    char frame[1024 + 14];
    size_t head = 2;
    if (n > 1024) abort();
    frame[0] = (char)(0x80 | opcode);
    if (n < 126) {
        frame[1] = (char)(0x80 | n);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(n >> 8);
        frame[3] = (char)(n & 255);
        head = 4;
    }
    mask_state ^= mask_state << 13;
    mask_state ^= mask_state >> 17;
    mask_state ^= mask_state << 5;
    unsigned char mask[4];
    memcpy(mask, &mask_state, 4);
    memcpy(frame + head, mask, 4);
    head += 4;
    for (size_t i = 0; i < n; i++) frame[head + i] = (char)(payload[i] ^ mask[i & 3]);
    queue_bytes(c, frame, head + n);
}

static int hex_value(const char *p, int64_t *value) {
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        unsigned char d = (unsigned char)p[i];
        unsigned x = d <= '9' ? (unsigned)(d - '0') : (unsigned)(d - 'a' + 10);
        if (x > 15) return -1;
        v = v << 4 | x;
    }
    *value = (int64_t)v;
    return 0;
}

/* The offset just behind `mark`, guessing that it stands where it stood in the last frame. */
static size_t find(const char *p, size_t n, const char *mark, size_t mark_size, size_t *guess) {
    if (*guess >= mark_size && *guess <= n && memcmp(p + *guess - mark_size, mark, mark_size) == 0) return *guess;
    char *at = memmem(p, n, mark, mark_size);
    if (!at) return 0;
    return *guess = (size_t)(at - p) + mark_size;
}

static void on_message(Connection *c, const char *p, size_t n, int64_t now) {
    into->delivered++;
    size_t at = find(p, n, "\"seq\":", 6, &seq_at);
    if (at) {
        int64_t seq = 0;
        while (at < n && p[at] >= '0' && p[at] <= '9') seq = seq * 10 + (p[at++] - '0');
        if (c->seq >= 0 && seq != c->seq + 1) into->disorder++;
        c->seq = seq;
    }
    int64_t meant;
    at = find(p, n, "\"@", 2, &stamp_at);
    if (!at || at + 16 > n || hex_value(p + at, &meant) < 0) return;
    int64_t ns = now - meant;
    if (ns > into->max_ns) into->max_ns = ns;
    if (meant >= count_from) {
        into->counted++;
        record(into->latency, ns);
    }
}

static int acked[MAX_CONNECTIONS]; /* publishers whose ack came in this round, for closed loops */
static int acked_count;

static void on_ack(Connection *c, const char *p, size_t n, int64_t now) {
    static size_t nonce_at = 0;
    int64_t meant;
    into->acks++;
    size_t at = find(p, n, "\"nonce\":\"", 9, &nonce_at);
    if (at && at + 16 <= n && hex_value(p + at, &meant) == 0 && meant >= count_from) {
        into->counted_acks++;
        record(into->ack_latency, now - meant);
    }
    if (c->publisher >= 0 && acked_count < MAX_CONNECTIONS) acked[acked_count++] = c->publisher;
}

#define STARTS(p, n, s) ((n) >= sizeof(s) - 1 && memcmp(p, s, sizeof(s) - 1) == 0)

static void on_frame(Connection *c, int opcode, const char *p, size_t n, int64_t now) {
    if (opcode == 8) {
        if (!into->close_code && n >= 2) into->close_code = (unsigned char)p[0] << 8 | (unsigned char)p[1];
        bury(c);
    } else if (opcode == 9) {
        queue_frame(c, 10, p, n);
        flush_out(c);
    } else if (opcode == 1) {
        if (STARTS(p, n, "{\"t\":\"message\"")) {
            on_message(c, p, n, now);
        } else if (STARTS(p, n, "{\"t\":\"ack\"")) {
            on_ack(c, p, n, now);
        } else if (STARTS(p, n, "{\"t\":\"ping\"")) {
            queue_frame(c, 1, "{\"t\":\"pong\"}", 12);
            flush_out(c);
        } else if (STARTS(p, n, "{\"t\":\"joined\"")) {
            into->others++;
            c->seq = -1;
            if (c->state == WAITING && --c->waits <= 0) {
                c->state = OPEN;
                open_now++;
                record(into->latency, now - c->since);
            }
        } else if (STARTS(p, n, "{\"t\":\"error\"")) {
            into->errors++;
            if (!into->first_error[0]) {
                size_t m = n < sizeof into->first_error - 1 ? n : sizeof into->first_error - 1;
                memcpy(into->first_error, p, m);
            }
        } else {
            into->others++;
        }
    }
}

/* --- reading -------------------------------------------------------------------------------------------------- */

static int keep_tail(Connection *c, const char *p, size_t n) {
    if (n > c->keep_size) {
        char *grown = realloc(c->keep, n + 256);
        if (!grown) return -1;
        c->keep = grown;
        c->keep_size = n + 256;
    }
    memcpy(c->keep, p, n);
    c->kept = n;
    return 0;
}

static const char **scripts;
static const int *script_sizes, *script_waits;

static void speak(Connection *c) { /* upgraded: send the script, or be done */
    if (script_sizes && script_sizes[c->script]) {
        queue_bytes(c, scripts[c->script], (size_t)script_sizes[c->script]);
        flush_out(c);
    }
    if (c->state == DEAD) return;
    c->waits = script_waits ? script_waits[c->script] : 0;
    if (c->waits > 0) {
        c->state = WAITING;
    } else {
        c->state = OPEN;
        open_now++;
        record(into->latency, now_ns() - c->since);
    }
}

static void on_readable(Connection *c) {
    if (c->kept > MAX_FRAME) { bury(c); return; }
    if (c->kept) memcpy(buffer, c->keep, c->kept);
    ssize_t got = recv(c->fd, buffer + c->kept, CHUNK, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) bury(c);
        return;
    }
    int64_t now = now_ns();
    into->recvs++;
    into->bytes += got;
    char *p = buffer, *end = buffer + c->kept + got;
    c->kept = 0;
    if (c->state == UPGRADING) {
        char *head = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
        if (!head) { keep_tail(c, p, (size_t)(end - p)); return; }
        if (!STARTS(p, (size_t)(end - p), "HTTP/1.1 101")) {
            if (!into->first_error[0]) memcpy(into->first_error, p, end - p < 80 ? (size_t)(end - p) : 80);
            bury(c);
            return;
        }
        p = head + 4;
        speak(c);
    }
    while (end - p >= 2 && c->state != DEAD) {
        size_t n = (unsigned char)p[1] & 127, head = 2;
        if (n == 126) {
            if (end - p < 4) break;
            n = (size_t)(unsigned char)p[2] << 8 | (unsigned char)p[3];
            head = 4;
        } else if (n == 127) {
            if (end - p < 10) break;
            n = 0;
            for (int i = 2; i < 10; i++) n = n << 8 | (unsigned char)p[i];
            head = 10;
        }
        if (n > MAX_FRAME) { bury(c); return; }
        if ((size_t)(end - p) < head + n) break;
        on_frame(c, p[0] & 15, p + head, n, now);
        p += head + n;
    }
    if (c->state != DEAD && end > p) keep_tail(c, p, (size_t)(end - p));
}

/* Sleep to the next tick, then read all that is ready. Sleeping in epoll_wait instead would wake this core for every
   single write of the server: 8 us a message here and as much there, in wake-ups that clients on other machines
   would not cost. The price is up to a tick of latency, the same for every server. */
#define TICK 500000 /* ns */
static int64_t tick_ns = TICK;

static void pump(int64_t wait_ns) {
    struct epoll_event events[EVENTS];
    static int64_t next_tick;
    int64_t now = now_ns(), until = now + wait_ns;
    if (wait_ns > tick_ns) until = now + tick_ns;
    if (until < next_tick) until = next_tick;
    next_tick = until > now ? until + tick_ns : now + tick_ns;
    struct timespec t = {until / 1000000000, until % 1000000000};
    if (until > now) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    int n = epoll_wait(epoll, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        Connection *c = &conns[events[i].data.u32];
        if (c->state == CONNECTING) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) { bury(c); continue; }
            c->state = UPGRADING;
            struct epoll_event e = {.events = EPOLLIN, .data.u32 = events[i].data.u32};
            epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
            flush_out(c);
        } else if (c->state != DEAD && c->state != FREE) {
            on_readable(c);
        }
    }
}

/* --- what Python calls ------------------------------------------------------------------------------------------ */

int load_start(void) {
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    buffer = malloc(MAX_FRAME + 2 * CHUNK);
    into = &nowhere;
    for (int i = 0; i < MAX_CONNECTIONS; i++) conns[i].fd = -1;
    return epoll < 0 || !buffer ? -1 : 0;
}

static void dial(int i, int port, const char *request) {
    Connection *c = &conns[i];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = CONNECTING;
    c->kept = c->out_start = c->out_end = 0;
    c->seq = -1;
    c->publisher = -1;
    if (c->fd < 0) { c->state = OPEN; bury(c); failed_now++; return; }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    queue_bytes(c, request, strlen(request));
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) { bury(c); return; }
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = (uint32_t)i};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

/* Bring connections first..first+n-1 to OPEN, at most `in_flight` at a time: dial and upgrade them if `request` is
   given, then send script i (`sizes[i]` bytes) and wait for `waits[i]` joined frames. Returns how many got there. */
int load_talk(int first, int n, int port, const char *request, const char **texts, const int *sizes,
              const int *waits, int in_flight, int64_t timeout_ns, Result *result) {
    int next = 0;
    int64_t start = now_ns(), cpu = cpu_ns();
    if (first < 0 || first + n > MAX_CONNECTIONS) return -1;
    into = result;
    scripts = texts;
    script_sizes = sizes;
    script_waits = waits;
    count_from = 0;
    open_now = failed_now = 0;
    while (open_now + failed_now < n && now_ns() - start < timeout_ns) {
        while (next < n && next - open_now - failed_now < in_flight) {
            Connection *c = &conns[first + next];
            c->script = next;
            c->since = now_ns();
            if (request) {
                dial(first + next, port, request);
            } else if (c->state == OPEN) {
                speak(c);
            } else {
                failed_now++;
            }
            next++;
        }
        pump(5000000);
    }
    result->wall_ns = now_ns() - start;
    result->cpu_ns = cpu_ns() - cpu;
    scripts = NULL;
    script_sizes = script_waits = NULL;
    into = &nowhere;
    return open_now;
}

/* Close connections; with a reset, so that no TIME_WAIT of ours eats the ports of the next round. */
void load_close(int first, int n, int reset) {
    into = &nowhere;
    for (int i = first; i < first + n && i < MAX_CONNECTIONS; i++) {
        Connection *c = &conns[i];
        struct linger hard = {1, 0};
        if (c->fd >= 0) {
            if (reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(c->fd);
        }
        free(c->keep);
        free(c->out);
        memset(c, 0, sizeof *c);
        c->fd = -1;
    }
}

/* Read and answer pings for a while. */
void load_idle(int64_t ns, Result *result) {
    int64_t end = now_ns() + ns, cpu = cpu_ns(), left;
    into = result;
    while ((left = end - now_ns()) > 0) pump(left);
    result->wall_ns = ns;
    result->cpu_ns = cpu_ns() - cpu;
    into = &nowhere;
}

static void publish(Connection *c, const char *room, int64_t meant, int64_t number, int text_size) {
    char text[1024];
    int n = snprintf(text, sizeof text, "{\"t\":\"send\",\"room\":\"%s\",\"nonce\":\"%016llx%08llx\",\"text\":\"@%016llx ",
                     room, (unsigned long long)meant, (unsigned long long)number, (unsigned long long)meant);
    for (int i = 18; i < text_size; i++) text[n++] = (char)('a' + (i + number) % 26);
    text[n++] = '"';
    text[n++] = '}';
    queue_frame(c, 1, text, (size_t)n);
}

typedef struct {
    int publishers, members;    /* members: deliveries that one send must give */
    const int *connections;     /* of the publishers */
    const char **rooms;         /* each publisher's */
    int text_size, closed_loop; /* closed loop: one send in flight a publisher, the next when its ack is here */
    double rate;                /* sends a second, all publishers together; of an open loop */
    int64_t warm_ns, run_ns;    /* the first warm_ns of run_ns are not counted */
    int64_t drain_ns;           /* how long what is under way may take after the last send */
    int64_t tick_ns;            /* how long reading may wait so that more can be read at once; 0 spins */
    int64_t abort_ns;           /* a delivery this late ends the run: the server is past its limit */
} Plan;

static void retry(const Plan *plan) { /* what a full socket held back */
    for (int i = 0; i < plan->publishers; i++) {
        Connection *c = &conns[plan->connections[i]];
        if (c->state == OPEN && c->out_start < c->out_end) flush_out(c);
    }
}

/* Send as planned and count what comes. */
int load_run(const Plan *plan, Result *result) {
    int64_t start = now_ns() + 1000000, cpu = cpu_ns(), from = now_ns();
    int64_t end = start + plan->run_ns, last_late_check = start, stop;
    double period = plan->closed_loop ? 0 : 1e9 / plan->rate;
    into = result;
    tick_ns = plan->tick_ns;
    count_from = start + plan->warm_ns;
    for (int i = 0; i < plan->publishers; i++) conns[plan->connections[i]].publisher = i;
    acked_count = 0;
    if (plan->closed_loop) {
        for (int i = 0; i < plan->publishers; i++) acked[acked_count++] = i;
    }
    for (;;) {
        int64_t now = now_ns(), wait = 2000000;
        int first = (int)(result->sent % plan->publishers), touched = 0;
        if (now >= end) break;
        if (plan->closed_loop) {
            int ready = acked_count;
            acked_count = 0;
            for (int i = 0; i < ready; i++) {
                Connection *c = &conns[plan->connections[acked[i]]];
                if (c->state != OPEN) continue;
                now = now_ns();
                publish(c, plan->rooms[acked[i]], now, result->sent, plan->text_size);
                result->sent++;
                if (now >= count_from) result->sent_counted++;
                flush_out(c);
            }
        } else {
            int64_t due;
            while ((due = start + (int64_t)((double)result->sent * period)) <= now && due < end) {
                int i = (int)(result->sent % plan->publishers);
                Connection *c = &conns[plan->connections[i]];
                if (c->state == OPEN) publish(c, plan->rooms[i], due, result->sent, plan->text_size);
                result->sent++;
                if (due >= count_from) result->sent_counted++;
                touched++;
            }
            wait = due - now;
            if (wait > 2000000) wait = 2000000;
            if (wait < 0) wait = 0;
        }
        if (touched > plan->publishers) touched = plan->publishers;
        for (int i = 0; i < touched; i++) {
            Connection *c = &conns[plan->connections[(first + i) % plan->publishers]];
            if (c->state == OPEN) flush_out(c);
        }
        retry(plan);
        if (now - last_late_check > 50000000) { /* 50 ms */
            last_late_check = now;
            if (!plan->closed_loop) {
                int64_t old = (int64_t)((double)(now - plan->abort_ns - start) / period);
                if (old * plan->members > result->delivered) result->aborted = 1;
            }
            if (result->max_ns > plan->abort_ns) result->aborted = 1;
            if (result->aborted) break;
        }
        pump(wait);
    }
    stop = now_ns() + plan->drain_ns;
    while (!result->aborted && now_ns() < stop && result->delivered < result->sent * plan->members) {
        pump(1000000);
        retry(plan);
    }
    for (int i = 0; i < plan->publishers; i++) conns[plan->connections[i]].publisher = -1;
    tick_ns = TICK;
    result->wall_ns = now_ns() - from;
    result->cpu_ns = cpu_ns() - cpu;
    into = &nowhere;
    return result->aborted ? -1 : 0;
}

size_t load_result_size(void) { return sizeof(Result); }
