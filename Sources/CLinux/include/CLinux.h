// Linux calls and constants that Swift cannot import: ioctl, thread names, eventfd, V4L2.
#ifndef LUCIDA_CLINUX_H
#define LUCIDA_CLINUX_H

#include "allocation.h"
#include "event.h"

#include <linux/videodev2.h>
#include <stdint.h>

/// Names the calling thread (at most 15 bytes are kept), as shown by `top -H`.
void clinux_set_thread_name(const char *name);

/// CLOCK_MONOTONIC in nanoseconds.
int64_t clinux_monotonic_nanoseconds(void);

#endif
