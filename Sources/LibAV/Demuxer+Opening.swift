// Opening an input: what may be slow, fail or be hostile. Control thread.

internal import CLibAV
internal import Video

/// Opens the container and reads as much as it takes to know its streams.
///
/// - Throws: `LibAVError` naming the file.
func openInput(
    _ path: MediaPath, _ interruption: Interruption
) throws(LibAVError) -> UnsafeMutablePointer<AVFormatContext> {
    let isLiteral = try path.checkReadable()
    var container = avformat_alloc_context()
    container?.pointee.interrupt_callback = interruption.callback
    var options: OpaquePointer?
    defer { av_dict_free(&options) }
    // A file called `50%d.png` is that file, not a series.
    if isLiteral { av_dict_set(&options, "pattern_type", "none", 0) }
    LibAVLog.takeLastError()
    // Frees the container when it fails.
    var code = avformat_open_input(&container, path.url, nil, &options)
    guard code >= 0, let opened = container else {
        throw LibAVError(
            operation: "open", code: interruption.explain(code), file: path.name,
            detail: LibAVLog.takeLastError())
    }
    code = findStreams(of: opened)
    guard code >= 0 else {
        // libav asks it until the container is closed.
        withExtendedLifetime(interruption) { avformat_close_input(&container) }
        throw LibAVError(
            operation: "read", code: interruption.explain(code), file: path.name,
            detail: LibAVLog.takeLastError())
    }
    return opened
}

/// Looks into the streams with decoders that obey our limits.
private func findStreams(of container: UnsafeMutablePointer<AVFormatContext>) -> Int32 {
    let count = Int(container.pointee.nb_streams)
    var options = [OpaquePointer?](repeating: nil, count: count)
    for i in 0..<count {
        av_dict_set_int(&options[i], "max_pixels", pixelCountMax, 0)
        av_dict_set_int(&options[i], "threads", 1, 0)
    }
    let code = options.withUnsafeMutableBufferPointer {
        avformat_find_stream_info(container, count > 0 ? $0.baseAddress : nil)
    }
    for i in 0..<count { av_dict_free(&options[i]) }
    return code
}

/// The best video stream of a container, its decoder and what it looks like.
struct VideoStream {
    let stream: UnsafeMutablePointer<AVStream>
    let codec: UnsafeMutablePointer<AVCodecContext>
    let width: Int
    let height: Int
    /// Quarter turns clockwise that make the picture upright: 0 to 3.
    let turns: Int
    let frameRate: FrameRate

    init(
        of container: UnsafeMutablePointer<AVFormatContext>, file: String,
        _ interruption: Interruption
    ) throws(LibAVError) {
        let index = av_find_best_stream(container, AVMEDIA_TYPE_VIDEO, -1, -1, nil, 0)
        guard index >= 0, let stream = container.pointee.streams[Int(index)],
            let parameters = stream.pointee.codecpar
        else {
            throw LibAVError(
                operation: "use", code: interruption.explain(clibav_error_stream_not_found),
                file: file, detail: "there is no video in it")
        }
        let (width, height) = (Int(parameters.pointee.width), Int(parameters.pointee.height))
        guard width > 0, height > 0 else {
            throw LibAVError(
                operation: "read", code: clibav_error_invalid_data, file: file,
                detail: "the size of the picture is unknown")
        }
        guard Int64(width) * Int64(height) <= pixelCountMax else {
            throw LibAVError(
                operation: "use", code: clibav_error_invalid_argument, file: file,
                detail: "\(width)×\(height) is more than 8192×8192 pixels")
        }
        for i in 0..<Int(container.pointee.nb_streams) where i != Int(index) {
            container.pointee.streams[i]?.pointee.discard = AVDISCARD_ALL
        }
        codec = try openDecoder(parameters.pointee.codec_id, parameters: parameters, file: file) {
            $0.pointee.pkt_timebase = stream.pointee.time_base
            // A JPEG that breaks off would otherwise come out half grey or green, and count as good.
            if parameters.pointee.codec_id == AV_CODEC_ID_MJPEG {
                $0.pointee.err_recognition = AV_EF_EXPLODE | AV_EF_BITSTREAM | AV_EF_BUFFER
            }
        }
        self.stream = stream
        turns = Self.turns(of: stream)
        let aspect = av_guess_sample_aspect_ratio(container, stream, nil).pixelAspect
        let shown = max(1, Int((Double(width) * aspect).rounded()))
        (self.width, self.height) = turns % 2 == 1 ? (height, shown) : (shown, height)
        let rate = av_guess_frame_rate(container, stream, nil)
        let isSane = rate.num > 0 && rate.den > 0 && rate.num / rate.den <= 1000
        frameRate = isSane ? FrameRate(Int(rate.num), Int(rate.den)) : FrameRate(30)
    }

    /// From the display matrix that phones write.
    private static func turns(of stream: UnsafeMutablePointer<AVStream>) -> Int {
        var size = 0
        guard let data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size),
            size >= 9 * MemoryLayout<Int32>.size
        else { return 0 }
        // libav gives the angle counter-clockwise.
        let angle = data.withMemoryRebound(to: Int32.self, capacity: 9) {
            -av_display_rotation_get($0)
        }
        guard angle.isFinite else { return 0 }
        return ((Int((angle / 90).rounded()) % 4) + 4) % 4
    }
}

/// Turns an RGB24 picture by quarters clockwise. An odd number swaps width and height.
///
/// - Realtime: safe
func turn(_ picture: FrameBuffer, by turns: Int, into output: FrameBuffer) {
    let (width, height) = (output.format.width, output.format.height)
    let source = picture.plane(0)
    let stride = picture.strides[0]
    // The source pixel of the output's top left one, and the steps right and down.
    let (lastRow, lastColumn) = ((picture.format.height - 1) * stride, stride - 3)
    let (start, right, down) =
        switch turns {
        case 1: (lastRow, -stride, 3)
        case 2: (lastRow + lastColumn, -3, -stride)
        case 3: (lastColumn, stride, -3)
        default: (0, 3, stride)
        }
    for y in 0..<height {
        var from = source + start + y * down
        var to = output.plane(0) + y * output.strides[0]
        for _ in 0..<width {
            (to[0], to[1], to[2]) = (from[0], from[1], from[2])
            from += right
            to += 3
        }
    }
}
