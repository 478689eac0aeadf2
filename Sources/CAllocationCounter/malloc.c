// Each function counts and hands on to glibc's own. `free` needs no counting and stays glibc's.
#include "CAllocationCounter.h"

#include <errno.h>
#include <stddef.h>

#include "CLinux.h"

void lucida_report_allocations(void) { clinux_allocations_are_reported(); }

// glibc exports its allocator under these names for exactly this use.
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    clinux_allocation_happened();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    clinux_allocation_happened();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    clinux_allocation_happened();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    clinux_allocation_happened();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    clinux_allocation_happened();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    clinux_allocation_happened();
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *made = __libc_memalign(alignment, size);
    if (made == NULL) return ENOMEM;
    *memory = made;
    return 0;
}
