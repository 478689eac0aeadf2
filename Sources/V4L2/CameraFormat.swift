// What a camera offers, as values: the table from which a mode is chosen.

public import Video

/// One pixel format of a camera and the sizes it comes in.
public struct CameraFormat: Sendable, Equatable {
    /// The format's code.
    public var fourCC: FourCC
    /// The driver's words for it.
    public var description: String
    /// Sizes in the driver's order.
    public var sizes: [CameraSize]

    /// A format.
    public init(fourCC: FourCC, description: String = "", sizes: [CameraSize]) {
        self.fourCC = fourCC
        self.description = description
        self.sizes = sizes
    }
}

/// A size, or a range of sizes, with its frame rates.
public struct CameraSize: Sendable, Equatable {
    /// Pixels in a row.
    public var width: SteppedRange
    /// Rows.
    public var height: SteppedRange
    /// Rates; empty if the driver does not list them. Of a range of sizes: the rates at its largest.
    public var rates: [RateRange]

    /// A range of sizes.
    public init(width: SteppedRange, height: SteppedRange, rates: [RateRange]) {
        self.width = width
        self.height = height
        self.rates = rates
    }

    /// A single size with single rates, as most cameras list them.
    public init(_ width: Int, _ height: Int, _ rates: [FrameRate]) {
        self.init(
            width: SteppedRange(width), height: SteppedRange(height),
            rates: rates.map(RateRange.init))
    }
}

/// The numbers `minimum`, `minimum + step`, … up to `maximum`.
public struct SteppedRange: Sendable, Equatable {
    /// Smallest value.
    public var minimum: Int
    /// Largest value.
    public var maximum: Int
    /// Distance of neighbours, 1 or more.
    public var step: Int

    /// A range; a step below 1 is taken for 1.
    public init(minimum: Int, maximum: Int, step: Int) {
        self.minimum = minimum
        self.maximum = max(minimum, maximum)
        self.step = max(1, step)
    }

    /// A single value.
    public init(_ value: Int) { self.init(minimum: value, maximum: value, step: 1) }

    /// The value nearest to `wanted`.
    public func nearest(to wanted: Int) -> Int {
        let clamped = min(max(wanted, minimum), maximum)
        let below = minimum + (clamped - minimum) / step * step
        let above = below + step
        return above <= maximum && above - clamped < clamped - below ? above : below
    }
}

/// A frame rate, or all rates between two.
public struct RateRange: Sendable, Equatable {
    /// Lowest rate.
    public var minimum: FrameRate
    /// Highest rate.
    public var maximum: FrameRate

    /// A range.
    public init(minimum: FrameRate, maximum: FrameRate) {
        self.minimum = minimum
        self.maximum = maximum
    }

    /// A single rate.
    public init(_ rate: FrameRate) { self.init(minimum: rate, maximum: rate) }

    /// The rate nearest to `wanted`.
    public func nearest(to wanted: FrameRate) -> FrameRate {
        if wanted.framesPerSecond >= maximum.framesPerSecond { return maximum }
        return wanted.framesPerSecond <= minimum.framesPerSecond ? minimum : wanted
    }
}
