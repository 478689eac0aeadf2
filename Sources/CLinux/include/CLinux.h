// Linux calls and constants that Swift cannot import: ioctl, thread names, a futex event, V4L2, mallopt.
#ifndef LUCIDA_CLINUX_H
#define LUCIDA_CLINUX_H

#include "allocation.h"
#include "event.h"

#include <linux/videodev2.h>
#include <malloc.h>
#include <stdint.h>

/// Names the calling thread (at most 15 bytes are kept), as shown by `top -H`.
void clinux_set_thread_name(const char *name);

/// Processors that the calling thread may run on, as bits of `words`, 64 processors each. Returns 0
/// or -errno: -EINVAL if this kernel has more processors than there are bits.
int clinux_affinity(uint64_t *words, int count);

/// CLOCK_MONOTONIC in nanoseconds.
int64_t clinux_monotonic_nanoseconds(void);

/// ioctl that goes on after a signal. Returns its result, or -errno.
int clinux_ioctl(int descriptor, unsigned long request, void *argument);

/// A descriptor that can be read while a signal of `signals`, a sigset_t, is pending. Closed at exec.
/// Returns it, or -errno.
int clinux_signal_descriptor(const void *signals);

/// accept4(2) of a listening Unix socket, neither blocking nor inherited. Returns the descriptor,
/// or -errno.
int clinux_accept(int listener);

/// Sends `count` bytes and, unless it is negative, a descriptor over a Unix socket: to `address`, or
/// to the peer if that is NULL. Raises no SIGPIPE. Returns 0 or -errno.
int clinux_send_message(int socket, const void *bytes, int count, int descriptor,
                        const void *address, unsigned int address_length);

/// Receives what clinux_send_message sent, without waiting. `descriptor` is -1 if none came, else
/// the caller's, closed at exec. Returns the number of bytes, 0 at the end, or -errno.
int clinux_receive_message(int socket, void *bytes, int count, int *descriptor);

/// Makes a v4l2loopback device that offers capture alone once it is written to (exclusive_caps).
/// `control`: /dev/v4l2loopback, which drivers from 0.13 on have, open. `number`: of /dev/videoN,
/// or -1 for any. `label`: cut after 31 bytes. Returns the device's number, or -errno.
int clinux_add_loopback(int control, int number, const char *label, int buffers);

/// Takes the advisory lock of an open file without waiting. Returns 0 or -errno.
int clinux_try_lock(int descriptor);

/// Gives the advisory lock back. Returns 0 or -errno.
int clinux_unlock(int descriptor);

// Requests and flags of <linux/videodev2.h>: macros with casts, which Swift does not import.
// The names are V4L2's with the prefix CLINUX_.
#define CLINUX_REQUEST(name) static const unsigned long CLINUX_##name = name;
CLINUX_REQUEST(VIDIOC_QUERYCAP)
CLINUX_REQUEST(VIDIOC_ENUM_FMT)
CLINUX_REQUEST(VIDIOC_ENUM_FRAMESIZES)
CLINUX_REQUEST(VIDIOC_ENUM_FRAMEINTERVALS)
CLINUX_REQUEST(VIDIOC_G_FMT)
CLINUX_REQUEST(VIDIOC_S_FMT)
CLINUX_REQUEST(VIDIOC_TRY_FMT)
CLINUX_REQUEST(VIDIOC_S_PARM)
CLINUX_REQUEST(VIDIOC_G_PARM)
CLINUX_REQUEST(VIDIOC_G_INPUT)
CLINUX_REQUEST(VIDIOC_REQBUFS)
CLINUX_REQUEST(VIDIOC_QUERYBUF)
CLINUX_REQUEST(VIDIOC_QBUF)
CLINUX_REQUEST(VIDIOC_DQBUF)
CLINUX_REQUEST(VIDIOC_STREAMON)
CLINUX_REQUEST(VIDIOC_STREAMOFF)
CLINUX_REQUEST(VIDIOC_QUERYCTRL)
CLINUX_REQUEST(VIDIOC_QUERYMENU)
CLINUX_REQUEST(VIDIOC_G_CTRL)
CLINUX_REQUEST(VIDIOC_S_CTRL)
CLINUX_REQUEST(VIDIOC_SUBSCRIBE_EVENT)
CLINUX_REQUEST(VIDIOC_UNSUBSCRIBE_EVENT)
CLINUX_REQUEST(VIDIOC_DQEVENT)
#undef CLINUX_REQUEST

#define CLINUX_FLAG(name) static const uint32_t CLINUX_##name = (uint32_t)name;
CLINUX_FLAG(V4L2_BUF_TYPE_VIDEO_CAPTURE)
CLINUX_FLAG(V4L2_BUF_TYPE_VIDEO_OUTPUT)
CLINUX_FLAG(V4L2_MEMORY_MMAP)
CLINUX_FLAG(V4L2_FIELD_ANY)
CLINUX_FLAG(V4L2_FIELD_NONE)
CLINUX_FLAG(V4L2_CAP_VIDEO_CAPTURE)
CLINUX_FLAG(V4L2_CAP_VIDEO_OUTPUT)
CLINUX_FLAG(V4L2_CAP_STREAMING)
CLINUX_FLAG(V4L2_CAP_META_CAPTURE)
CLINUX_FLAG(V4L2_CAP_DEVICE_CAPS)
CLINUX_FLAG(V4L2_CAP_TIMEPERFRAME)
CLINUX_FLAG(V4L2_BUF_FLAG_ERROR)
CLINUX_FLAG(V4L2_BUF_FLAG_TIMESTAMP_MASK)
CLINUX_FLAG(V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC)
CLINUX_FLAG(V4L2_FRMSIZE_TYPE_DISCRETE)
CLINUX_FLAG(V4L2_FRMSIZE_TYPE_CONTINUOUS)
CLINUX_FLAG(V4L2_FRMSIZE_TYPE_STEPWISE)
CLINUX_FLAG(V4L2_FRMIVAL_TYPE_DISCRETE)
CLINUX_FLAG(V4L2_COLORSPACE_REC709)
CLINUX_FLAG(V4L2_COLORSPACE_JPEG)
CLINUX_FLAG(V4L2_COLORSPACE_SRGB)
CLINUX_FLAG(V4L2_YCBCR_ENC_601)
CLINUX_FLAG(V4L2_YCBCR_ENC_709)
CLINUX_FLAG(V4L2_QUANTIZATION_DEFAULT)
CLINUX_FLAG(V4L2_QUANTIZATION_FULL_RANGE)
CLINUX_FLAG(V4L2_QUANTIZATION_LIM_RANGE)
CLINUX_FLAG(V4L2_PIX_FMT_PRIV_MAGIC)
CLINUX_FLAG(V4L2_CTRL_FLAG_NEXT_CTRL)
CLINUX_FLAG(V4L2_CTRL_FLAG_DISABLED)
CLINUX_FLAG(V4L2_CTRL_FLAG_READ_ONLY)
CLINUX_FLAG(V4L2_CTRL_FLAG_WRITE_ONLY)
CLINUX_FLAG(V4L2_CTRL_FLAG_INACTIVE)
CLINUX_FLAG(V4L2_CTRL_TYPE_INTEGER)
CLINUX_FLAG(V4L2_CTRL_TYPE_BOOLEAN)
CLINUX_FLAG(V4L2_CTRL_TYPE_MENU)
CLINUX_FLAG(V4L2_CTRL_TYPE_INTEGER_MENU)
CLINUX_FLAG(V4L2_CTRL_TYPE_BUTTON)
CLINUX_FLAG(V4L2_CTRL_TYPE_BITMASK)
CLINUX_FLAG(V4L2_EVENT_SOURCE_CHANGE)
CLINUX_FLAG(V4L2_EVENT_SRC_CH_RESOLUTION)
CLINUX_FLAG(V4L2_EVENT_PRIVATE_START)
CLINUX_FLAG(V4L2_EVENT_SUB_FL_SEND_INITIAL)
#undef CLINUX_FLAG

#endif
