// Signals and connections as descriptors that poll(2) waits for.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

int clinux_signal_descriptor(const void *signals) {
    const int descriptor = signalfd(-1, (const sigset_t *)signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return descriptor == -1 ? -errno : descriptor;
}

int clinux_accept(int listener) {
    const int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return descriptor == -1 ? -errno : descriptor;
}
