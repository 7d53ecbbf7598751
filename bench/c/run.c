/* What Python calls: bring clients in, let them publish, let them be, take them away. */
#define _GNU_SOURCE
#include "clients.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

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
