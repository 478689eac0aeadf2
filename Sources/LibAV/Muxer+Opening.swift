// Opening an output: container, encoder, header. Control thread.

internal import CLibAV
internal import Video

/// A container of the kind that options, extension or protocol ask for.
func allocateOutput(
    _ path: MediaPath, _ options: MuxerOptions
) throws(LibAVError) -> UnsafeMutablePointer<AVFormatContext> {
    var container: UnsafeMutablePointer<AVFormatContext>?
    let name = options.container ?? path.container
    LibAVLog.takeLastError()
    let code = avformat_alloc_output_context2(&container, nil, name, path.url)
    guard code >= 0, let opened = container else {
        throw LibAVError(
            operation: "write", code: name == nil ? clibav_error_muxer_not_found : code,
            file: path.name, detail: "no container for this name")
    }
    guard String(cString: opened.pointee.oformat.pointee.name) != "image2" else {
        avformat_free_context(container)
        throw LibAVError(
            operation: "write a video to", code: clibav_error_muxer_not_found, file: path.name,
            detail: "that is the name of a picture")
    }
    return opened
}

/// Opens the encoder that options and container ask for.
func videoEncoder(
    for container: UnsafeMutablePointer<AVFormatContext>, _ path: MediaPath, input: VideoFormat,
    _ options: MuxerOptions
) throws(LibAVError) -> Encoder {
    let codec = try findCodec(container.pointee.oformat, options.codec, file: path.name)
    let needsGlobalHeader = container.pointee.oformat.pointee.flags & AVFMT_GLOBALHEADER != 0
    return try Encoder(codec, input: input, file: path.name) { context in
        if needsGlobalHeader { context.pointee.flags |= AV_CODEC_FLAG_GLOBAL_HEADER }
        context.pointee.thread_count = Int32(clamping: options.threadCount)
        // A key frame every two seconds: the most that a killed writer loses of an MP4.
        let rate = min(240, max(1, input.frameRate.framesPerSecond))
        context.pointee.gop_size = Int32((2 * rate).rounded())
        // Frames in order: less delay, and the first one is shown at 0.
        context.pointee.max_b_frames = 0
        configure(context, options, isNetwork: path.isNetwork)
    }
}

private func configure(
    _ context: UnsafeMutablePointer<AVCodecContext>, _ options: MuxerOptions, isNetwork: Bool
) {
    let special = context.pointee.priv_data
    switch String(cString: context.pointee.codec.pointee.name) {
    case "libx264":
        av_opt_set(special, "preset", "veryfast", 0)
        if isNetwork { av_opt_set(special, "tune", "zerolatency", 0) }
        av_opt_set_double(special, "crf", Double(options.constantRateFactor), 0)
    case "ffv1":
        // Version 3 has checksums; every frame stands for itself.
        context.pointee.level = 3
        context.pointee.gop_size = 1
    case "mpeg4":
        context.pointee.flags |= AV_CODEC_FLAG_QSCALE
        context.pointee.global_quality = 3 * FF_QP2LAMBDA
    case "mjpeg": configureJPEG(context, quantizer: 3)
    case "libvpx", "libvpx-vp9":
        av_opt_set(special, "deadline", "realtime", 0)
        av_opt_set_int(special, "cpu-used", 8, 0)
        context.pointee.bit_rate = 4_000_000
    default: context.pointee.bit_rate = 4_000_000
    }
}

/// The encoder by choice, or the best that this libav has and the container takes.
private func findCodec(
    _ container: UnsafePointer<AVOutputFormat>, _ choice: MuxerOptions.Codec?, file: String
) throws(LibAVError) -> UnsafePointer<AVCodec> {
    // By name where libav would pick encoders of hardware that may not be there.
    let names: [String] =
        switch choice {
        case .h264: ["libx264", "libopenh264"]
        case .ffv1: ["ffv1"]
        case nil: ["libx264", "libopenh264", "mpeg4"]
        }
    let kind = String(cString: container.pointee.name)
    var isKnown = false
    for name in names {
        guard let codec = avcodec_find_encoder_by_name(name) else { continue }
        isKnown = true
        let answer = avformat_query_codec(container, codec.pointee.id, FF_COMPLIANCE_NORMAL)
        // Negative: libav does not know, which it says of MPEG transport streams.
        if answer == 1 || answer < 0 && kind.contains("mpegts") { return codec }
    }
    if choice == nil, container.pointee.video_codec != AV_CODEC_ID_NONE {
        return try findEncoder(container.pointee.video_codec, file: file)
    }
    throw LibAVError(
        operation: "write",
        code: isKnown ? clibav_error_invalid_argument : clibav_error_encoder_not_found,
        file: file,
        detail: isKnown
            ? "the container \(kind) takes no \(choice?.rawValue ?? "video")"
            : names.joined(separator: ", "))
}

/// The one stream of the container.
func addStream(
    to container: UnsafeMutablePointer<AVFormatContext>, of encoder: Encoder, rate: FrameRate,
    file: String
) throws(LibAVError) -> UnsafeMutablePointer<AVStream> {
    guard let stream = avformat_new_stream(container, nil) else {
        throw LibAVError(operation: "open", code: clibav_error_no_memory, file: file)
    }
    let context = encoder.context
    let code = avcodec_parameters_from_context(stream.pointee.codecpar, context)
    guard code >= 0 else { throw LibAVError(operation: "open", code: code, file: file) }
    stream.pointee.time_base = context.pointee.time_base
    stream.pointee.avg_frame_rate = context.pointee.framerate
    return stream
}

/// Opens the file or connection and writes the header.
func open(
    _ container: UnsafeMutablePointer<AVFormatContext>, _ path: MediaPath,
    _ interruption: Interruption
) throws(LibAVError) {
    var callback = interruption.callback
    var code: Int32 = 0
    LibAVLog.takeLastError()
    if container.pointee.oformat.pointee.flags & AVFMT_NOFILE == 0 {
        code = avio_open2(&container.pointee.pb, path.url, AVIO_FLAG_WRITE, &callback, nil)
    }
    if code >= 0 {
        // What is written is in the file, should the process be killed.
        container.pointee.flags |= AVFMT_FLAG_FLUSH_PACKETS
        var options: OpaquePointer?
        defer { av_dict_free(&options) }
        // Each muxer takes the options that it knows.
        av_dict_set(&options, "movflags", "frag_keyframe+empty_moov+default_base_moof", 0)
        av_dict_set(&options, "cluster_time_limit", "1000", 0)
        av_dict_set(&options, "flvflags", "no_duration_filesize", 0)
        code = avformat_write_header(container, &options)
    }
    guard code < 0 else { return }
    throw LibAVError(
        operation: "open", code: interruption.explain(code), file: path.name,
        detail: LibAVLog.takeLastError())
}

/// Closes the file or connection; negative if the last bytes were not written.
func closeFile(of container: UnsafeMutablePointer<AVFormatContext>) -> Int32 {
    guard container.pointee.oformat.pointee.flags & AVFMT_NOFILE == 0 else { return 0 }
    return avio_closep(&container.pointee.pb)
}

/// Frees a container whose trailer is written or was never due.
func close(_ container: inout UnsafeMutablePointer<AVFormatContext>?) {
    guard let opened = container else { return }
    _ = closeFile(of: opened)
    avformat_free_context(opened)
    container = nil
}
