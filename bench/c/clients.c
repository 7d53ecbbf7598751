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
#include "clients.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 1024

Connection conns[MAX_CONNECTIONS];
int epoll = -1;
char *buffer;
Result *groups[GROUPS];
Result nowhere;
int64_t run_from, late_ns;
int64_t count_from;
int64_t tick_ns = TICK;
int open_now, failed_now;
int acked[MAX_CONNECTIONS];
int acked_count;
const char **scripts;
const int *script_sizes, *script_waits;
const int64_t *script_positions;
static size_t stamp_at, seq_at; /* where a message's stamp and number stood last time */
static uint32_t mask_state = 0x9e3779b9u;

void count_into(Result *first, int step) {
    for (int i = 0; i < GROUPS; i++) groups[i] = first ? first + i * step : &nowhere;
}

/* --- frames ------------------------------------------------------------------------------------------------- */

int queue_bytes(Connection *c, const char *data, size_t n) {
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

void bury(Connection *c) {
    if (c->state == DEAD || c->state == FREE) return;
    if (c->state != OPEN) failed_now++;
    groups[c->group]->closed++;
    close(c->fd);
    c->fd = -1;
    c->state = DEAD;
}

void flush_out(Connection *c) {
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
void queue_frame(Connection *c, int opcode, const char *payload, size_t n) {
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

static void arrived(Connection *c, int64_t now) { /* where its script ends */
    if (c->state != WAITING || c->waits > 0 || (c->resumes && c->seq < c->until)) return;
    c->state = OPEN;
    open_now++;
    record(groups[c->group]->entry, now - c->since);
}

static void on_message(Connection *c, const char *p, size_t n, int64_t now) {
    Result *into = groups[c->group];
    into->delivered++;
    size_t at = find(p, n, "\"seq\":", 6, &seq_at);
    if (at) {
        int64_t seq = 0;
        while (at < n && p[at] >= '0' && p[at] <= '9') seq = seq * 10 + (p[at++] - '0');
        if (c->seq >= 0 && seq != c->seq + 1) into->disorder++;
        c->seq = seq;
    }
    if (c->state == WAITING) { /* still what it missed */
        into->caught++;
        arrived(c, now);
        return;
    }
    int64_t meant;
    at = find(p, n, "\"@", 2, &stamp_at);
    if (!at || at + 16 > n || hex_value(p + at, &meant) < 0) return;
    int64_t ns = now - meant;
    if (meant < count_from) { /* of the warm-up, or of a run before */
        if (meant >= run_from && ns > into->max_ns) into->max_ns = ns;
        return;
    }
    if (ns > into->max_ns) into->max_ns = ns;
    if (ns > late_ns) {
        into->late++;
        into->late_at_ns = now - run_from;
    }
    into->counted++;
    record(into->latency, ns);
}

/* What a `joined` brings to who resumes: every message behind its position, in order. */
static void on_joined(Connection *c, const char *p, size_t n, int64_t now) {
    Result *into = groups[c->group];
    into->others++;
    if (c->waits > 0) c->waits--;
    if (!c->resumes) {
        c->seq = -1;
    } else {
        const char *end = p + n, *head = memmem(p, n, "\"head\":", 7), *list = memmem(p, n, "\"messages\":[", 12);
        if (memmem(p, n, "\"gap\":true", 10)) into->gaps++;
        if (head) c->until = strtoll(head + 7, NULL, 10);
        while (list && (list = memmem(list, (size_t)(end - list), "{\"seq\":", 7))) {
            int64_t seq = strtoll(list + 7, NULL, 10);
            if (seq != c->seq + 1) into->disorder++;
            c->seq = seq;
            into->caught++;
            list += 7;
        }
    }
    arrived(c, now);
}

static void on_ack(Connection *c, const char *p, size_t n, int64_t now) {
    static size_t nonce_at = 0;
    int64_t meant;
    groups[c->group]->acks++;
    size_t at = find(p, n, "\"nonce\":\"", 9, &nonce_at);
    if (at && at + 16 <= n && hex_value(p + at, &meant) == 0 && meant >= count_from) {
        groups[c->group]->counted_acks++;
        record(groups[c->group]->ack_latency, now - meant);
    }
    if (c->publisher >= 0 && acked_count < MAX_CONNECTIONS) acked[acked_count++] = c->publisher;
}

#define STARTS(p, n, s) ((n) >= sizeof(s) - 1 && memcmp(p, s, sizeof(s) - 1) == 0)

static void on_frame(Connection *c, int opcode, const char *p, size_t n, int64_t now) {
    if (opcode == 8) {
        if (!groups[c->group]->close_code && n >= 2) groups[c->group]->close_code = (unsigned char)p[0] << 8 | (unsigned char)p[1];
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
            on_joined(c, p, n, now);
        } else if (STARTS(p, n, "{\"t\":\"error\"")) {
            groups[c->group]->errors++;
            if (!groups[c->group]->first_error[0]) {
                size_t m = n < sizeof groups[c->group]->first_error - 1 ? n : sizeof groups[c->group]->first_error - 1;
                memcpy(groups[c->group]->first_error, p, m);
            }
        } else {
            groups[c->group]->others++;
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

void speak(Connection *c) { /* upgraded: send the script, or be done */
    if (script_sizes && script_sizes[c->script]) {
        queue_bytes(c, scripts[c->script], (size_t)script_sizes[c->script]);
        flush_out(c);
    }
    if (c->state == DEAD) return;
    c->waits = script_waits ? script_waits[c->script] : 0;
    c->resumes = script_positions && script_positions[c->script] >= 0;
    if (c->resumes) c->seq = c->until = script_positions[c->script];
    c->state = WAITING;
    arrived(c, now_ns());
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
    groups[c->group]->recvs++;
    groups[c->group]->bytes += got;
    char *p = buffer, *end = buffer + c->kept + got;
    c->kept = 0;
    if (c->state == UPGRADING) {
        char *head = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
        if (!head) { keep_tail(c, p, (size_t)(end - p)); return; }
        if (!STARTS(p, (size_t)(end - p), "HTTP/1.1 101")) {
            if (!groups[c->group]->first_error[0]) memcpy(groups[c->group]->first_error, p, end - p < 80 ? (size_t)(end - p) : 80);
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
void pump(int64_t wait_ns) {
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
