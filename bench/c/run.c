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
    count_into(NULL, 0);
    for (int i = 0; i < MAX_CONNECTIONS; i++) conns[i].fd = -1;
    return epoll < 0 || !buffer ? -1 : 0;
}

static void dial(int i, int port, const char *request, int group) {
    Connection *c = &conns[i];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = CONNECTING;
    c->kept = c->out_start = c->out_end = 0;
    c->seq = -1;
    c->publisher = -1;
    c->group = group;
    c->resumes = 0;
    if (c->fd < 0) { c->state = OPEN; bury(c); failed_now++; return; }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    queue_bytes(c, request, strlen(request));
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) { bury(c); return; }
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = (uint32_t)i};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

/* Connections first..first+n-1 on their way to OPEN, at most `in_flight` at a time: dialled and upgraded if `request` is
   given, then script i is sent (`sizes[i]` bytes) and `waits[i]` joined frames are waited for. With positions[i] >= 0
   it resumes behind that number, and is there when it has all up to the head it is told. */
typedef struct {
    int first, n, port, group, in_flight;
    const char *request, **texts;
    const int *sizes, *waits;
    const int64_t *positions;
    int64_t at_ns; /* of a run, when it begins */
} Talk;

#define DIALS 8 /* in one step, 50 us each: who dials a thousand in a row reads nothing meanwhile, and then counts as late
                    what came in time */

static int talk_next;

static void talk_begin(const Talk *talk) {
    scripts = talk->texts;
    script_sizes = talk->sizes;
    script_waits = talk->waits;
    script_positions = talk->positions;
    talk_next = open_now = failed_now = 0;
}

static void talk_step(const Talk *talk) {
    for (int n = 0; n < DIALS && talk_next < talk->n && talk_next - open_now - failed_now < talk->in_flight; n++) {
        int i = talk->first + talk_next;
        Connection *c = &conns[i];
        c->script = talk_next++;
        c->since = now_ns();
        if (talk->request) {
            dial(i, talk->port, talk->request, talk->group);
        } else if (c->state == OPEN) {
            speak(c);
        } else {
            failed_now++;
        }
    }
}

static int talk_done(const Talk *talk) { return open_now + failed_now >= talk->n; }

static void talk_end(void) {
    scripts = NULL;
    script_sizes = script_waits = NULL;
    script_positions = NULL;
}

/* Let a talk happen and nothing else; returns how many got there. */
int load_talk(const Talk *talk, int64_t timeout_ns, Result *result) {
    int64_t start = now_ns(), cpu = cpu_ns();
    if (talk->first < 0 || talk->first + talk->n > MAX_CONNECTIONS || talk->group < 0 || talk->group >= GROUPS) return -1;
    count_into(result, 0);
    count_from = INT64_MAX;
    talk_begin(talk);
    while (!talk_done(talk) && now_ns() - start < timeout_ns) {
        talk_step(talk);
        pump(5000000);
    }
    result->wall_ns = now_ns() - start;
    result->cpu_ns = cpu_ns() - cpu;
    talk_end();
    count_into(NULL, 0);
    return open_now;
}

/* Close connections; with a reset, so that no TIME_WAIT of ours eats the ports of the next round. */
void load_close(int first, int n, int reset) {
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
    count_into(result, 0);
    count_from = 0;
    while ((left = end - now_ns()) > 0) pump(left);
    result->wall_ns = ns;
    result->cpu_ns = cpu_ns() - cpu;
    count_into(NULL, 0);
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
    int64_t late_ns;            /* a delivery this late is counted as late */
    const Talk *wave;           /* who else comes meanwhile, or NULL */
} Plan;

static void retry(const Plan *plan) { /* what a full socket held back */
    for (int i = 0; i < plan->publishers; i++) {
        Connection *c = &conns[plan->connections[i]];
        if (c->state == OPEN && c->out_start < c->out_end) flush_out(c);
    }
}

/* Send as planned and count what comes: result[i] is group i's; what is sent counts in the first. */
int load_run(const Plan *plan, Result *result) {
    int64_t start = now_ns() + 1000000, cpu = cpu_ns(), from = now_ns();
    int64_t end = start + plan->run_ns, last_late_check = start, stop;
    double period = plan->closed_loop ? 0 : 1e9 / plan->rate;
    int waved = 0;
    count_into(result, 1);
    tick_ns = plan->tick_ns;
    run_from = start;
    late_ns = plan->late_ns;
    count_from = start + plan->warm_ns;
    for (int i = 0; i < plan->publishers; i++) conns[plan->connections[i]].publisher = i;
    acked_count = 0;
    if (plan->closed_loop) {
        for (int i = 0; i < plan->publishers; i++) acked[acked_count++] = i;
    }
    for (;;) {
        int64_t now = now_ns(), wait = 2000000;
        int first = (int)(result->sent % plan->publishers), touched = 0, over = now >= end;
        if (over && plan->closed_loop) break;
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
        if (over) break; /* after what was planned before the end, however late we are */
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
        if (plan->wave && now - start >= plan->wave->at_ns) {
            if (!waved++) talk_begin(plan->wave);
            talk_step(plan->wave);
        }
        pump(wait);
    }
    stop = now_ns() + plan->drain_ns;
    while (!result->aborted && now_ns() < stop &&
           (result->delivered < result->sent * plan->members || (plan->wave && !talk_done(plan->wave)))) {
        if (plan->wave) talk_step(plan->wave);
        pump(1000000);
        retry(plan);
    }
    if (plan->wave) talk_end();
    for (int i = 0; i < plan->publishers; i++) conns[plan->connections[i]].publisher = -1;
    tick_ns = TICK;
    result->wall_ns = now_ns() - from;
    result->cpu_ns = cpu_ns() - cpu;
    count_into(NULL, 0);
    return result->aborted ? -1 : 0;
}

size_t load_result_size(void) { return sizeof(Result); }
