// An event that one thread sets and another waits for, on a futex.
#ifndef LUCIDA_CLINUX_EVENT_H
#define LUCIDA_CLINUX_EVENT_H

#include <stdbool.h>
#include <stdint.h>

/// An auto-reset event: 0 idle, 1 set, 2 somebody sleeps. Use through the functions only.
typedef struct {
    uint32_t word;
} clinux_event;

/// Sets the event. A system call only if a thread sleeps on it. Never blocks.
void clinux_event_set(clinux_event *event);

/// Waits until the event is set, and resets it.
/// Returns whether it was set within the timeout. One waiting thread at a time.
bool clinux_event_wait(clinux_event *event, int64_t timeout_nanoseconds);

#endif
