// Device calls: ioctl that survives signals, advisory locks, new v4l2loopback devices.
#include "CLinux.h"

#include <errno.h>
#include <string.h>
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

// The driver's own interface, of which no header is installed. The numbers of its requests changed
// in 0.14; the structure did not.
struct loopback_config {
    int32_t output_number;
    int32_t unused;
    char label[32];
    uint32_t width_min, width_max, height_min, height_max;
    int32_t buffers, openers, debug, announces_all;
};
#define LOOPBACK_ADD _IOW('~', 1, struct loopback_config)
#define LOOPBACK_ADD_UNTIL_0_13 0x4C80

int clinux_add_loopback(int control, int number, const char *label, int buffers) {
    struct loopback_config config = {.output_number = number, .unused = number, .buffers = buffers};
    strncpy(config.label, label, sizeof config.label - 1);
    int result = clinux_ioctl(control, LOOPBACK_ADD, &config);
    if (result == -ENOSYS || result == -ENOTTY || result == -EINVAL) {
        result = clinux_ioctl(control, LOOPBACK_ADD_UNTIL_0_13, &config);
    }
    return result;
}
