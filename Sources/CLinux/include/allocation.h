// Counts the heap allocations of the data plane's threads, so that "none per frame" is a measured
// figure. The counting itself needs the program's malloc to report: see CAllocationCounter.
#ifndef LUCIDA_CLINUX_ALLOCATION_H
#define LUCIDA_CLINUX_ALLOCATION_H

#include <stdbool.h>
#include <stdint.h>

/// From now on this thread's allocations are counted. Called by every RealtimeThread.
void clinux_count_allocations_of_this_thread(void);

/// Called by the interposed malloc for each allocation. Any thread.
void clinux_allocation_happened(void);

/// Says that the program's malloc reports; without it the count means nothing.
void clinux_allocations_are_reported(void);

/// Allocations of all counted threads so far, or -1 if the program's malloc does not report.
int64_t clinux_allocation_count(void);

#endif
