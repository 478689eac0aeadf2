// Device calls: ioctl that survives signals, advisory locks.
#include "CLinux.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/ioctl.h>

int clinux_ioctl(int descriptor, unsigned long request, void *argument) {
    int result;
    do {
        result = ioctl(descriptor, request, argument);
    } while (result == -1 && errno == EINTR);
    return result == -1 ? -errno : result;
}

int clinux_try_lock(int descriptor) {
    return flock(descriptor, LOCK_EX | LOCK_NB) == -1 ? -errno : 0;
}

int clinux_unlock(int descriptor) {
    return flock(descriptor, LOCK_UN) == -1 ? -errno : 0;
}
