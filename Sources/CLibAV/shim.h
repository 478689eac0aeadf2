// libavcodec, libavformat, libavutil and libswscale as one module, with the macros that Swift
// cannot import as typed constants and functions.
#ifndef LUCIDA_CLIBAV_SHIM_H
#define LUCIDA_CLIBAV_SHIM_H

#include <errno.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

static const int clibav_error_again = AVERROR(EAGAIN);
static const int clibav_error_invalid_argument = AVERROR(EINVAL);
static const int clibav_error_timed_out = AVERROR(ETIMEDOUT);
static const int clibav_error_no_memory = AVERROR(ENOMEM);
static const int clibav_error_end_of_file = AVERROR_EOF;
static const int clibav_error_exit = AVERROR_EXIT;
static const int clibav_error_invalid_data = AVERROR_INVALIDDATA;
static const int clibav_error_stream_not_found = AVERROR_STREAM_NOT_FOUND;
static const int clibav_error_decoder_not_found = AVERROR_DECODER_NOT_FOUND;
static const int clibav_error_encoder_not_found = AVERROR_ENCODER_NOT_FOUND;
static const int clibav_error_protocol_not_found = AVERROR_PROTOCOL_NOT_FOUND;
static const int clibav_error_muxer_not_found = AVERROR_MUXER_NOT_FOUND;

static const int64_t clibav_no_timestamp = AV_NOPTS_VALUE;

/// libav's code of an `errno`.
static inline int clibav_error(int error) { return AVERROR(error); }

/// The `errno` of a libav code; meaningless for the codes that libav invented.
static inline int clibav_errno(int code) { return AVUNERROR(code); }

/// The planes of one picture: what AVFrame, av_image_alloc and libswscale agree on.
typedef struct CLibAVPlanes {
    uint8_t *data[4];
    int linesize[4];
} CLibAVPlanes;

/// Converts a whole picture; the rows made, or a negative code.
static inline int clibav_scale(
    struct SwsContext *context, CLibAVPlanes source, int height, CLibAVPlanes destination) {
    return sws_scale(
        context, (const uint8_t *const *)source.data, source.linesize, 0, height,
        destination.data, destination.linesize);
}

/// Allocates a picture whose rows may be overrun by SIMD code; bytes, or a negative code.
static inline int clibav_allocate(
    CLibAVPlanes *planes, int width, int height, enum AVPixelFormat pixels) {
    return av_image_alloc(planes->data, planes->linesize, width, height, pixels, 64);
}

/// The planes of a frame.
static inline CLibAVPlanes clibav_planes(const AVFrame *frame) {
    CLibAVPlanes planes;
    for (int i = 0; i < 4; i++) {
        planes.data[i] = frame->data[i];
        planes.linesize[i] = frame->linesize[i];
    }
    return planes;
}

/// The planes from pixel (x, y) on, both on the chroma grid of `pixels`.
static inline CLibAVPlanes clibav_offset(
    CLibAVPlanes planes, enum AVPixelFormat pixels, int x, int y) {
    const AVPixFmtDescriptor *description = av_pix_fmt_desc_get(pixels);
    for (int i = 0; i < 4; i++) {
        // The palette in plane 1 of PAL8 is no picture.
        if (!planes.data[i] || planes.linesize[i] == 0) continue;
        if (i == 1 && (description->flags & AV_PIX_FMT_FLAG_PAL)) continue;
        int shift = i == 1 || i == 2 ? description->log2_chroma_h : 0;
        planes.data[i] += (ptrdiff_t)(y >> shift) * planes.linesize[i];
        if (x > 0) planes.data[i] += av_image_get_linesize(pixels, x, i);
    }
    return planes;
}

#endif
