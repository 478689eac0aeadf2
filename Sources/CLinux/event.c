// The futex event: see futex(2). Orderings: a set releases what the setter wrote before it, a
// successful wait acquires it.
#define _GNU_SOURCE
#include "event.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { IDLE = 0, SET = 1, SLEEPING = 2 };

void clinux_event_set(clinux_event *event) {
    if (__atomic_exchange_n(&event->word, SET, __ATOMIC_ACQ_REL) == SLEEPING) {
        syscall(SYS_futex, &event->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

// Takes the event if it is set.
static bool take(clinux_event *event) {
    uint32_t expected = SET;
    return __atomic_compare_exchange_n(&event->word, &expected, IDLE, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

bool clinux_event_wait(clinux_event *event, int64_t timeout_nanoseconds) {
    if (take(event)) return true;
    if (timeout_nanoseconds <= 0) return false;

    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t deadline = now.tv_sec * 1000000000 + now.tv_nsec + timeout_nanoseconds;
    for (;;) {
        uint32_t expected = IDLE;
        __atomic_compare_exchange_n(&event->word, &expected, SLEEPING, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t left = deadline - (now.tv_sec * 1000000000 + now.tv_nsec);
        if (left > 0) {
            struct timespec relative = {left / 1000000000, left % 1000000000};
            syscall(SYS_futex, &event->word, FUTEX_WAIT_PRIVATE, SLEEPING, &relative, NULL, 0);
        }
        if (take(event)) return true;
        if (left <= 0) {
            // Nobody sleeps any more. If the event was set just now, it is ours after all.
            expected = SLEEPING;
            __atomic_compare_exchange_n(&event->word, &expected, IDLE, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED);
            return take(event);
        }
    }
}
