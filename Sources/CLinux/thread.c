// Thread names, affinity and the clock.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

void clinux_set_thread_name(const char *name) {
    // The kernel keeps 15 bytes and refuses longer names.
    char short_name[16];
    strncpy(short_name, name, sizeof short_name - 1);
    short_name[sizeof short_name - 1] = 0;
    pthread_setname_np(pthread_self(), short_name);
}

int64_t clinux_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int clinux_affinity(uint64_t *words, int count) {
    size_t bytes = (size_t)count * sizeof *words;
    memset(words, 0, bytes);
    return sched_getaffinity(0, bytes, (cpu_set_t *)words) == -1 ? -errno : 0;
}
