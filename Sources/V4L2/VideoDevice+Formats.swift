// Formats, sizes and rates that a camera lists. Control thread.

internal import CLinux
internal import Video

extension VideoDevice {
    // Entries are bounded: a broken driver that never says "no more" must not hang us.
    private static let entriesMax = 256

    /// Everything the camera offers for capture, in the driver's order.
    ///
    /// - Parameters:
    ///   - width: at which width to ask for the rates of a range of sizes; its largest if nil. A driver that lists
    ///     no sizes, as those of many capture cards, is asked what it makes of this one, or of the one it has if nil.
    ///   - height: likewise.
    /// - Returns: an empty list if the driver lists nothing.
    public func cameraFormats(width: Int? = nil, height: Int? = nil) -> [CameraFormat] {
        var formats = [CameraFormat]()
        for index in 0..<Self.entriesMax {
            var entry = v4l2_fmtdesc()
            entry.index = UInt32(index)
            entry.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
            guard request(CLINUX_VIDIOC_ENUM_FMT, &entry) >= 0 else { break }
            let fourCC = FourCC(rawValue: entry.pixelformat)
            formats.append(
                CameraFormat(
                    fourCC: fourCC, description: text(entry.description),
                    sizes: sizes(of: fourCC, width: width, height: height)))
        }
        return formats
    }

    private func sizes(of fourCC: FourCC, width: Int?, height: Int?) -> [CameraSize] {
        var sizes = [CameraSize]()
        for index in 0..<Self.entriesMax {
            var entry = v4l2_frmsizeenum()
            entry.index = UInt32(index)
            entry.pixel_format = fourCC.rawValue
            guard request(CLINUX_VIDIOC_ENUM_FRAMESIZES, &entry) >= 0 else { break }
            let widths: SteppedRange
            let heights: SteppedRange
            if entry.type == CLINUX_V4L2_FRMSIZE_TYPE_DISCRETE {
                widths = SteppedRange(Int(entry.discrete.width))
                heights = SteppedRange(Int(entry.discrete.height))
            } else {
                let range = entry.stepwise
                widths = SteppedRange(
                    minimum: Int(range.min_width), maximum: Int(range.max_width),
                    step: Int(range.step_width))
                heights = SteppedRange(
                    minimum: Int(range.min_height), maximum: Int(range.max_height),
                    step: Int(range.step_height))
            }
            sizes.append(
                CameraSize(
                    width: widths, height: heights,
                    rates: rates(
                        of: fourCC, width: widths.nearest(to: width ?? .max),
                        height: heights.nearest(to: height ?? .max))))
            // A range stands alone.
            if entry.type != CLINUX_V4L2_FRMSIZE_TYPE_DISCRETE { break }
        }
        if sizes.isEmpty, let size = sizeTried(for: fourCC, width: width, height: height) {
            sizes.append(size)
        }
        return sizes
    }

    /// What the driver makes of a size (VIDIOC_TRY_FMT, which changes nothing): the listing of sizes is optional.
    private func sizeTried(for fourCC: FourCC, width: Int?, height: Int?) -> CameraSize? {
        var format = v4l2_format()
        format.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        let isKnown = request(CLINUX_VIDIOC_G_FMT, &format) >= 0
        guard isKnown || width != nil && height != nil else { return nil }
        let now = format.fmt.pix
        format.fmt.pix = v4l2_pix_format()
        format.fmt.pix.width = UInt32(clamping: width ?? Int(now.width))
        format.fmt.pix.height = UInt32(clamping: height ?? Int(now.height))
        format.fmt.pix.pixelformat = fourCC.rawValue
        format.fmt.pix.field = CLINUX_V4L2_FIELD_ANY
        guard request(CLINUX_VIDIOC_TRY_FMT, &format) >= 0,
            format.fmt.pix.pixelformat == fourCC.rawValue,
            format.fmt.pix.width > 0, format.fmt.pix.height > 0
        else { return nil }
        let (width, height) = (Int(format.fmt.pix.width), Int(format.fmt.pix.height))
        return CameraSize(
            width: SteppedRange(width), height: SteppedRange(height),
            rates: rates(of: fourCC, width: width, height: height))
    }

    private func rates(of fourCC: FourCC, width: Int, height: Int) -> [RateRange] {
        var rates = [RateRange]()
        for index in 0..<Self.entriesMax {
            var entry = v4l2_frmivalenum()
            entry.index = UInt32(index)
            entry.pixel_format = fourCC.rawValue
            entry.width = UInt32(width)
            entry.height = UInt32(height)
            guard request(CLINUX_VIDIOC_ENUM_FRAMEINTERVALS, &entry) >= 0 else { break }
            if entry.type == CLINUX_V4L2_FRMIVAL_TYPE_DISCRETE {
                if let rate = FrameRate(interval: entry.discrete) { rates.append(RateRange(rate)) }
                continue
            }
            // The shortest interval is the highest rate.
            if let fastest = FrameRate(interval: entry.stepwise.min),
                let slowest = FrameRate(interval: entry.stepwise.max)
            {
                rates.append(RateRange(minimum: slowest, maximum: fastest))
            }
            break
        }
        return rates
    }
}

extension FrameRate {
    /// The rate of a V4L2 interval in seconds; nil if either part is 0, as broken drivers say.
    init?(interval: v4l2_fract) {
        guard interval.numerator > 0, interval.denominator > 0 else { return nil }
        self.init(Int(interval.denominator), Int(interval.numerator))
    }

    /// The V4L2 interval in seconds.
    var interval: v4l2_fract {
        v4l2_fract(
            numerator: UInt32(clamping: denominator), denominator: UInt32(clamping: numerator))
    }
}
