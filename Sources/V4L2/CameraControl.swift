// A camera control as a value: its name, what it accepts, and how a setting is understood.

/// One control of a camera, such as `power_line_frequency`.
public struct CameraControl: Sendable, Equatable {
    /// What kind of value it takes.
    public enum Kind: Sendable, Equatable {
        /// A whole number of the range, in steps.
        case integer
        /// On or off.
        case boolean
        /// One of the listed items.
        case menu([MenuItem])
        /// Does something when set, has no value.
        case button
        /// A set of bits.
        case bitmask
    }

    /// An entry of a menu: 0 is `Disabled`, 1 is `50 Hz`.
    public struct MenuItem: Sendable, Equatable {
        /// The value to set.
        public var index: Int
        /// The driver's words for it.
        public var label: String

        /// An entry.
        public init(index: Int, label: String) {
            self.index = index
            self.label = label
        }
    }

    /// V4L2's number.
    public var id: UInt32
    /// The driver's words: `Power Line Frequency`.
    public var label: String
    /// Kind of value.
    public var kind: Kind
    /// Smallest value.
    public var minimum: Int
    /// Largest value.
    public var maximum: Int
    /// Distance of allowed values.
    public var step: Int
    /// What the driver starts with.
    public var defaultValue: Int
    /// Whether it can only be read.
    public var isReadOnly: Bool
    /// Whether another control (an automatic) overrides it at present.
    public var isInactive: Bool

    /// A control.
    public init(
        id: UInt32, label: String, kind: Kind, minimum: Int, maximum: Int, step: Int = 1,
        defaultValue: Int = 0, isReadOnly: Bool = false, isInactive: Bool = false
    ) {
        self.id = id
        self.label = label
        self.kind = kind
        self.minimum = minimum
        self.maximum = maximum
        self.step = step
        self.defaultValue = defaultValue
        self.isReadOnly = isReadOnly
        self.isInactive = isInactive
    }

    /// The name it is set by.
    public var name: String { Self.name(of: label) }

    /// `Power Line Frequency` → `power_line_frequency`, the rule of v4l2-ctl: lower case, and one
    /// underscore for whatever lies between letters and digits.
    public static func name(of label: String) -> String {
        var name = ""
        var isBetween = false
        for byte in label.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"):
                if isBetween { name += "_" }
                isBetween = false
                name += Character(Unicode.Scalar(byte)).lowercased()
            default:
                isBetween = !name.isEmpty
            }
        }
        return name
    }

    /// What it accepts, for messages: `0 to 255`, `0 (Disabled), 1 (50 Hz) or 2 (60 Hz)`.
    public var allowed: String {
        switch kind {
        case .integer: "\(minimum) to \(maximum)" + (step > 1 ? " in steps of \(step)" : "")
        case .boolean: "true or false"
        case .bitmask: "a whole number"
        case .button: "any value"
        case .menu(let items): items.map { "\($0.index) (\($0.label))" }.joined(separator: ", ")
        }
    }

    /// The number to set for `value`.
    ///
    /// - Throws: `V4L2Error` that lists what is allowed.
    public func number(for value: ControlValue, device: String) throws(V4L2Error) -> Int {
        if isReadOnly {
            throw V4L2Error(
                operation: "set the control \(name)", errno: 0, device: device,
                advice: "it can only be read")
        }
        if let number = accepted(value) { return number }
        throw V4L2Error(
            operation: "set the control \(name) to \(value)", errno: 0, device: device,
            advice: "it takes \(allowed)")
    }

    private func accepted(_ value: ControlValue) -> Int? {
        switch (kind, value) {
        case (.button, _): return 0
        case (.boolean, .boolean(let isOn)): return isOn ? 1 : 0
        case (.boolean, .text(let text)):
            return ["true": 1, "on": 1, "1": 1, "false": 0, "off": 0, "0": 0][text.lowercased()]
        case (.menu(let items), .text(let text)):
            let wanted = Self.name(of: text)
            return items.first { Self.name(of: $0.label) == wanted }?.index
                ?? Int(text).flatMap { number in items.first { $0.index == number }?.index }
        case (.menu(let items), .integer(let number)):
            return items.first { $0.index == number }?.index
        case (_, .text(let text)):
            return Int(text).flatMap { accepted(.integer($0)) }
        case (.bitmask, .integer(let number)):
            return UInt32(exactly: number) != nil ? number : nil
        case (_, .integer(let number)):
            guard number >= minimum, number <= maximum else { return nil }
            return (number - minimum).isMultiple(of: max(1, step)) ? number : nil
        case (_, .boolean): return nil
        }
    }
}

/// A setting as a config file gives it.
public enum ControlValue: Sendable, Equatable, CustomStringConvertible {
    /// A whole number.
    case integer(Int)
    /// True or false.
    case boolean(Bool)
    /// The label of a menu item, or a number or truth value in words.
    case text(String)

    /// As it was written.
    public var description: String {
        switch self {
        case .integer(let number): "\(number)"
        case .boolean(let isOn): "\(isOn)"
        case .text(let text): "\"\(text)\""
        }
    }
}
