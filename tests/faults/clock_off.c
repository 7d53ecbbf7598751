/* Preloaded: the process takes another moment for now, CLOCK_OFF seconds away. How time goes by stays as it is.
 *
 * libfaketime 0.9.10 does the same, but answers clock_nanosleep() until a moment of the monotonic clock with EINVAL,
 * which is how Python sleeps.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off(void) {
    const char *seconds = getenv("CLOCK_OFF");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = (int)syscall(SYS_gettimeofday, now, zone);
    if (!failed && now) now->tv_sec += off();
    return failed;
}

time_t time(time_t *now) {
    time_t seconds = (time_t)syscall(SYS_time, NULL) + off();
    if (now) *now = seconds;
    return seconds;
}
