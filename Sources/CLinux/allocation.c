// The counter behind allocation.h.
#include "allocation.h"

static _Thread_local bool is_counted;
// Atomic: added to by counted threads, read by any.
static int64_t allocation_count;
// Atomic: set once at start.
static bool is_reported;

void clinux_count_allocations_of_this_thread(void) { is_counted = true; }

void clinux_allocation_happened(void) {
    if (is_counted) __atomic_fetch_add(&allocation_count, 1, __ATOMIC_RELAXED);
}

void clinux_allocations_are_reported(void) {
    __atomic_store_n(&is_reported, true, __ATOMIC_RELAXED);
}

int64_t clinux_allocation_count(void) {
    if (!__atomic_load_n(&is_reported, __ATOMIC_RELAXED)) return -1;
    return __atomic_load_n(&allocation_count, __ATOMIC_RELAXED);
}
