// One libswscale context: the smallest unit that Scaler chains.

internal import CLibAV
internal import Video

/// A conversion between two fixed layouts.
final class Conversion {
    private let context: OpaquePointer
    private let rows: Int32

    /// Allocates tables and filters.
    ///
    /// - Throws: `LibAVError` if libswscale does not know the pair.
    init(from source: PictureLayout, to destination: PictureLayout) throws(LibAVError) {
        LibAVLog.takeOver()
        guard let context = sws_alloc_context() else {
            throw LibAVError(operation: "allocate a scaler", code: clibav_error_no_memory)
        }
        let object = UnsafeMutableRawPointer(context)
        let options: [(String, Int64)] = [
            ("srcw", Int64(source.width)), ("srch", Int64(source.height)),
            ("src_format", Int64(source.pixels.rawValue)),
            ("src_range", source.range == .full ? 1 : 0),
            ("dstw", Int64(destination.width)), ("dsth", Int64(destination.height)),
            ("dst_format", Int64(destination.pixels.rawValue)),
            ("dst_range", destination.range == .full ? 1 : 0),
            ("sws_flags", Int64(Self.flags(from: source, to: destination))),
        ]
        for (name, value) in options { av_opt_set_int(object, name, value, 0) }
        let code = sws_init_context(context, nil, nil)
        guard code >= 0 else {
            sws_freeContext(context)
            throw LibAVError(operation: "set up a conversion of pictures", code: code)
        }
        // Fails only where neither side is YCbCr, and then there is nothing to set.
        sws_setColorspaceDetails(
            context, sws_getCoefficients(source.matrix), source.range == .full ? 1 : 0,
            sws_getCoefficients(destination.matrix), destination.range == .full ? 1 : 0,
            0, 1 << 16, 1 << 16)
        self.context = context
        rows = Int32(source.height)
    }

    deinit { sws_freeContext(context) }

    /// Converts one picture.
    ///
    /// - Returns: whether libswscale did.
    /// - Realtime: safe
    func run(_ source: CLibAVPlanes, to destination: CLibAVPlanes) -> Bool {
        clibav_scale(context, source, rows, destination) > 0
    }

    /// Chosen by measurement on colour bars (largest error in levels) and by time, 640×360 and
    /// 1280×720. `SWS_FAST_BILINEAR` is out: it makes code at run time, which a hardened service
    /// (`MemoryDenyWriteExecute`) may not.
    private static func flags(from source: PictureLayout, to destination: PictureLayout) -> Int32 {
        let isSameSize = source.width == destination.width && source.height == destination.height
        let shrinks = source.width > destination.width || source.height > destination.height
        // An average over the pixels covered, which bilinear filters do more slowly.
        var flags = Int32(shrinks ? SWS_AREA : SWS_BILINEAR)
        // Same size to RGB without this flag runs vector code, 6 times as fast and 1 level less
        // accurate. That code skips the last columns and rows of sizes that it was not made for.
        let isVectorSize = destination.width % 8 == 0 && destination.height % 2 == 0
        if !(isSameSize && destination.isRGB && isVectorSize) { flags |= Int32(SWS_ACCURATE_RND) }
        if source.isRGB {
            flags |= Int32(SWS_FULL_CHR_H_INP)
            // Otherwise chroma is halved on the way from RGB to RGB, and luma is rounded down on the
            // way to packed 4:2:2 of the same size.
            if destination.isRGB || isSameSize { flags |= Int32(SWS_FULL_CHR_H_INT) }
        }
        return flags
    }
}
