// libavcodec, libavformat, libavutil and libswscale as one module, with the macros that Swift
// cannot import as typed constants and functions.
#ifndef LUCIDA_CLIBAV_SHIM_H
#define LUCIDA_CLIBAV_SHIM_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#endif
