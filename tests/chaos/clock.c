/*
 * What libfaketime leaves out: cnd_timedwait, which librdkafka waits with, until a moment of the
 * clock that jumps. Preloaded before it, so that a wait behaves as one of the kernel does when that
 * clock is set: it ends when the clock shows the moment, be that at once or in an hour.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

static const long LOOK_NS = 20 * 1000 * 1000;

static int before(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    for (;;) {
        struct timespec now, look;
        clock_gettime(CLOCK_REALTIME, &now);
        if (!before(&now, until)) {
            return thrd_timedout;
        }
        look = now;
        look.tv_nsec += LOOK_NS;
        if (look.tv_nsec >= 1000000000) {
            look.tv_nsec -= 1000000000;
            look.tv_sec += 1;
        }
        int ended = pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex,
                                           before(&look, until) ? &look : until);
        if (ended != ETIMEDOUT) {
            return ended == 0 ? thrd_success : thrd_error;
        }
    }
}
