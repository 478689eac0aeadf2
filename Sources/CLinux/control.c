// Signals and connections as descriptors that poll(2) waits for; descriptors as messages.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
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

// Room for one descriptor beside the bytes, aligned as unix(7) wants it.
union rights {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr alignment;
};

int clinux_send_message(int socket, const void *bytes, int count, int descriptor,
                        const void *address, unsigned int address_length) {
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = (size_t)count};
    union rights rights;
    memset(&rights, 0, sizeof rights);
    struct msghdr message = {.msg_name = (void *)address, .msg_namelen = address_length,
                             .msg_iov = &data, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = rights.bytes;
        message.msg_controllen = sizeof rights.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
    if (sent == -1) return -errno;
    return sent == count ? 0 : -EMSGSIZE;
}

int clinux_receive_message(int socket, void *bytes, int count, int *descriptor) {
    struct iovec data = {.iov_base = bytes, .iov_len = (size_t)count};
    union rights rights;
    // Room for one descriptor and no padding: a second one would fit into that and be ours to close.
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = rights.bytes,
                             .msg_controllen = CMSG_LEN(sizeof(int))};
    *descriptor = -1;
    ssize_t received;
    do {
        received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received == -1 && errno == EINTR);
    if (received == -1) return -errno;
    // One fits; the kernel closes those that did not.
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
    }
    return (int)received;
}
